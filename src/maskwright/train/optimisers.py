"""What turns a gradient into a change of the weights.

::

    weights of convolutions between features     muon: an orthogonal step
    shifts, scales, first and last layers        AdamW, also with muon
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maskwright.train_config import Optimiser

SLOTS = ("exp_avg", "exp_avg_sq", "step", "momentum_buffer", "momentum")
"""What optimisers keep of a weight, by the names in a checkpoint."""

RATE_RATIO = 20.0
"""How many times the learning rate an orthogonal step is long; 10 and 25 were about as good."""

_MOMENTUM = 0.95
_NESTEROV_MOMENTUM = 0.99
_ITERATIONS = 5
# Of an odd polynomial that pulls every singular value from (0, 1] towards 1 within few rounds.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
# Fewer rows or input channels hardly make a matrix: the image's channels, the classes.
_FEWEST = 8


def build_optimisers(
    network: nn.Module,
    name: Optimiser,
    *,
    learning_rate: float,
    weight_decay: float,
    precision: str = "float32",
) -> tuple[torch.optim.Optimizer, ...]:
    """The optimisers of a network, each with its own weights.

    Args:
        network: The network.
        name: ``adamw``, ``muon`` or ``sgd``.
        learning_rate: The first rate; see :func:`set_rate`.
        weight_decay: Share of the weights of matrices that a step of rate 1 takes away.
        precision: Number format of the matrix products of ``muon``.

    Example:
        >>> layers = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3))
        >>> made = build_optimisers(layers, "muon", learning_rate=2e-3, weight_decay=0.01)
        >>> [type(optimiser).__name__ for optimiser in made]
        ['AdamW', 'Muon']
    """
    trained = list(network.parameters())
    matrices = [p for p in trained if p.ndim > 1 and min(p.shape[:2]) >= _FEWEST]
    if name != "muon" or not matrices:
        return (_plain(trained, name, learning_rate, weight_decay),)
    orthogonal = {id(p) for p in matrices}
    others = [p for p in trained if id(p) not in orthogonal]
    muon = Muon(
        matrices,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32,
    )
    return (_plain(others, "adamw", learning_rate, weight_decay), muon)


def set_rate(optimisers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Let all take steps of a learning rate, each in its own measure."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate * group.get("ratio", 1.0)


def _plain(
    weights: Sequence[nn.Parameter], name: Optimiser, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=_NESTEROV_MOMENTUM, nesterov=True)
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal, so that every direction is learnt equally fast.

    M ← 0.95 M + 0.05 G;  W ← (1 − r λ) W − r √max(1, rows / columns) · UVᵀ

    where UΣVᵀ is 0.05 G + 0.95 M as a matrix with a row for each output channel, r twenty times the
    learning rate, and UVᵀ is approached by five rounds of a Newton-Schulz iteration.

    Args:
        weights: Weights of convolutions, of at least two axes.
        learning_rate: The first rate, before the ratio.
        weight_decay: λ.
        dtype: Number format of the matrix products.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks",
    kellerjordan.github.io/posts/muon, convolutions flattened as there.
    """

    def __init__(
        self,
        weights: Sequence[nn.Parameter],
        *,
        learning_rate: float,
        weight_decay: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._dtype = dtype
        defaults: dict[str, Any] = {
            "lr": learning_rate * RATE_RATIO,
            "weight_decay": weight_decay,
            "ratio": RATE_RATIO,
        }
        super().__init__(weights, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step along the gradients.

        Args:
            closure: Not used.
        """
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.shape[0], weight[0].numel()].append(weight)
            for (rows, columns), weights in alike.items():
                rate = float(group["lr"])
                moved = [self._direction(weight) for weight in weights]
                flat = torch.stack([m.reshape(rows, columns) for m in moved])
                steps = orthogonalised(flat, self._dtype)
                length = rate * max(1.0, rows / columns) ** 0.5
                torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
                shaped = [s.view(w.shape) for s, w in zip(steps, weights, strict=True)]
                torch._foreach_add_(weights, shaped, alpha=-length)

    def _direction(self, weight: Tensor) -> Tensor:
        """Nesterov's look ahead along the running mean of the gradient."""
        gradient = weight.grad
        slots = self.state[weight]
        if "momentum" not in slots:
            slots["momentum"] = torch.zeros_like(weight)
        momentum: Tensor = slots["momentum"]
        if gradient is None:
            return momentum
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        return gradient.lerp(momentum, _MOMENTUM)


def orthogonalised(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The nearest matrices whose singular values are about 1: between 0.7 and 1.2.

    X ← a X + (b XXᵀ + c (XXᵀ)²) X, five times, from X = M / ‖M‖.

    Args:
        matrices: Shape ``(N, rows, columns)``.
        dtype: Number format of the products.

    Returns:
        float32, same shape; a matrix of zeros stays zero.

    Source: Bernstein and Newhouse 2024, arXiv 2409.20325, with the coefficients of Jordan et al.

    Example:
        >>> found = orthogonalised(torch.tensor([[[3.0, 0.0], [0.0, 0.5]]]))
        >>> bool((torch.linalg.svdvals(found) > 0.6).all())
        True
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-12)).to(dtype)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()
