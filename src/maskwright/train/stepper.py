"""One update of the weights: the patches of a step become a batch, the batch a smaller loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskwright.config import TrainConfig
from maskwright.data.augment import apply_augmentation, draw_augmentation
from maskwright.data.labelmap import IGNORED
from maskwright.data.sampler import SHARE_PARTS, Patches
from maskwright.data.weightmap import loss_maps, separate
from maskwright.errors import RunError, TrainingError
from maskwright.nn.blocks import crop
from maskwright.nn.checkpoint import load_tensors
from maskwright.nn.loss_target import Target, class_shares
from maskwright.nn.ranks import ALONE, Ranks
from maskwright.nn.shared_norm import PartDropout, share_statistics
from maskwright.nn.unet import UNet, build_unet, memory_format
from maskwright.train.distributed import Passes
from maskwright.train.objective import Objective
from maskwright.train.optimisers import SLOTS, build_optimisers, set_rate
from maskwright.train.schedule import average_decay

# Class ids fill one byte. The number of the object, or the class that shares the pixel with its
# share, is kept above it, so that both move as one.
_CLASS_BITS = 8


@dataclass(frozen=True)
class StepResult:
    """What one update reports: the loss and the mean soft Dice of its patches."""

    loss: float
    dice: float


class Stepper:
    """Network, optimiser and running average; does one update at a time.

    Args:
        network: The network to train; moved to the memory order.
        config: The training settings.
        layout: ``contiguous`` or ``channels_last``.
        precision: ``float32`` or ``bfloat16`` for the convolutions; weights stay float32.
        pixels_per_class: Pixels of each class in the training images, for balanced classes.
        contained: Class whose presence in a patch is the patch's image label, 1 with and 0
            without; by default patches bring their image's label.
        compiled: ``code`` or ``graphs`` where PyTorch shall write code for the network.
        ranks: The processes that share each batch; each prepares its own part.
    """

    def __init__(
        self,
        network: UNet,
        config: TrainConfig,
        layout: str,
        precision: str,
        *,
        pixels_per_class: Sequence[int] | None = None,
        contained: int | None = None,
        compiled: str = "none",
        ranks: Ranks = ALONE,
    ) -> None:
        self.config = config
        self.ranks = ranks
        self.format = memory_format(layout, network.config.dims)
        self.precision = precision
        self.network = network.to(memory_format=self.format)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.device = next(network.parameters()).device
        self._border_px = tuple(axis.border_loss for axis in network.axes)
        self.objective = Objective(
            config, network.config, pixels_per_class=pixels_per_class, ranks=ranks
        )
        self.network.checkpointing = config.checkpointing
        self._dropout = PartDropout(network.config.dropout)
        if ranks.count * config.accumulate > 1 and network.config.dropout:
            network.dropout = self._dropout
        if not ranks.alone:
            share_statistics(self.network)
        used = not network.config.image_classes or config.image_loss > 0
        self._passes = Passes(self.network, ranks, all_used=used)
        if compiled != "none":
            self._passes.compile("reduce-overhead" if compiled == "graphs" else "default")
        self._contained = contained
        self.optimisers = self._fresh_optimisers()
        self.first_step = 0

    def _fresh_optimisers(self) -> tuple[torch.optim.Optimizer, ...]:
        return build_optimisers(
            self.network,
            self.config.optimiser,
            learning_rate=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            precision=self.precision,
        )

    def renew(self, number: int, step: int) -> None:
        """Begin again with other fresh weights, and with nothing that the optimisers kept.

        Args:
            number: Which of several networks it is, from 0; decides the weights with the seed.
            step: Finished updates of all networks.
        """
        fresh = build_unet(self.network.config, seed=self.config.seed + number).state_dict()
        self.network.load_state_dict(fresh)
        self.average.load_state_dict(fresh)
        self.optimisers = self._fresh_optimisers()
        self.first_step = step

    def prepare(self, patches: Patches, step: int) -> tuple[Tensor, Target]:
        """A batch as tensors on the device, augmented; seed and step decide how.

        Where the loss weighs gaps between objects, objects that touch are parted in the truth: a
        gap that is not there cannot be learnt.
        """
        image = torch.from_numpy(patches.image_BCS).to(self.device)
        truth = torch.from_numpy(patches.truth_BS)
        more_BS = patches.objects_BS if patches.blend_BS is None else patches.blend_BS
        if more_BS is not None:
            truth = truth.int() | torch.from_numpy(more_BS).int() << _CLASS_BITS
        generator = torch.Generator().manual_seed(_step_seed(self.config.seed, step))
        rows = image.shape[0]
        drawn = draw_augmentation(
            self.config.augment,
            rows * self.ranks.count,
            generator,
            patch_px=truth.shape[1:],
            spacing_mm=patches.spacing_mm,
        )
        drawn = drawn.part(slice(rows * self.ranks.rank, rows * (self.ranks.rank + 1)))
        image, truth = apply_augmentation(drawn, image, truth.to(self.device))
        truth = crop(truth, self._border_px)
        above = None
        if more_BS is not None:
            above = truth >> _CLASS_BITS
            truth = (truth & ((1 << _CLASS_BITS) - 1)).to(torch.uint8)
        valid = None
        if (patches.truth_BS == IGNORED).any():
            valid = truth != IGNORED
            truth = truth.masked_fill(~valid, 0)
        labels = self._image_labels(truth, patches)
        shared = patches.blend_BS is not None
        target = self._target(truth, None if shared else above)
        if above is not None and shared:
            shares = shared_truth(truth, above, self.network.config.classes)
            target = replace(target, truth=shares)
        return image, replace(target, valid=valid, image_labels=labels)

    def _target(self, truth_BS: Tensor, numbers_BS: Tensor | None) -> Target:
        """The truth, and the maps that the loss needs."""
        loss, objects_BS = self.objective.loss, None
        if not loss.needed_maps:
            return Target(truth_BS)
        if numbers_BS is not None:
            objects_BS = numbers_BS.numpy(force=True)
            parted_BS = np.stack([separate(objects) for objects in objects_BS])
            gaps_BS = torch.from_numpy((objects_BS > 0) & (parted_BS == 0))
            truth_BS = truth_BS.masked_fill(gaps_BS.to(self.device), 0)
            objects_BS = parted_BS
        maps = loss_maps(
            loss.needed_maps,
            truth_BS.numpy(force=True),
            classes=self.network.config.classes,
            settings=self.config.loss_settings,
            objects=objects_BS,
        )
        tensors = {name: torch.from_numpy(values) for name, values in maps.items()}
        return Target(truth_BS, **{name: t.to(self.device) for name, t in tensors.items()})

    def _image_labels(self, truth_BS: Tensor, patches: Patches) -> Tensor | None:
        if not self.network.config.image_classes:
            return None
        if self._contained is not None:
            return (truth_BS == self._contained).flatten(1).any(1).long()
        if patches.image_labels_B is None:
            return None
        return torch.from_numpy(patches.image_labels_B).to(self.device)

    def update(self, image_BCS: Tensor, target: Target, step: int, rate: float) -> StepResult:
        """One update of the weights and of their average.

        Raises:
            TrainingError: When the loss or the gradient is not finite; no weight was changed.
            RunError: ``rank-lost`` when another process has ended; nothing was changed.
        """
        kept = [] if self.ranks.alone else [b.clone() for b in self.network.buffers()]
        try:
            with self.ranks.reaching():
                value, dice = self._gradients(image_BCS, target, step)
        except RunError:
            for buffer, before in zip(self.network.buffers(), kept, strict=True):
                buffer.copy_(before)
            raise
        set_rate(self.optimisers, rate)
        norm = float(
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        )
        if not math.isfinite(norm):
            raise _not_finite("gradient", norm, step)
        for optimiser in self.optimisers:
            optimiser.step()
        self._update_average(step)
        return StepResult(value, dice)

    def _gradients(self, image_BCS: Tensor, target: Target, step: int) -> tuple[float, float]:
        """Loss and soft Dice of the batch, its parts one after the other; leaves the gradients."""
        self.network.train()
        self.network.zero_grad(set_to_none=True)
        parts = self.config.accumulate
        rows = len(image_BCS) // parts
        image_BCS = image_BCS.contiguous(memory_format=self.format)
        self._dropout.parts = parts * self.ranks.count
        value = dice = 0.0
        for number in range(parts):
            own = slice(number * rows, (number + 1) * rows)
            torch.manual_seed(_step_seed(self.config.seed, step))  # dropout
            self._dropout.number = self.ranks.rank * parts + number
            with self._passes.gradients(last=number == parts - 1):
                with torch.autocast(
                    self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
                ):
                    outputs = self._passes(image_BCS[own])
                loss, dice_K = self.objective(outputs, target.part(own))
                found = float(loss.detach())
                if not math.isfinite(found):
                    raise _not_finite("loss", found, step)
                # Gradients are averaged over the processes, of which each has its part alone.
                share = loss * (self.ranks.count / parts)
                share.backward()  # type: ignore[no-untyped-call]
            value += found / parts
            dice += float(dice_K.mean()) / parts
        return value, dice

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        weight = 1 - average_decay(step - self.first_step, self.config.average)
        pairs = zip(
            self.average.state_dict().values(), self.network.state_dict().values(), strict=True
        )
        floating = [(a, n) for a, n in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floating], [n for _, n in floating], weight)

    def state(self) -> dict[str, Tensor]:
        """All tensors needed to go on, under ``network.``, ``average.`` and ``optimiser.``."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            slots = self._slots(parameter)
            tensors |= {
                f"optimiser.{name}.{key}": slot
                for key, slot in slots.items()
                if isinstance(slot, Tensor)
            }
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], *, subject: str) -> None:
        """Take over what :meth:`state` gave."""
        for part, module in (("network.", self.network), ("average.", self.average)):
            chosen = {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
            load_tensors(module, chosen, subject=subject)
        for name, parameter in self.network.named_parameters():
            slots = {
                key: tensors[f"optimiser.{name}.{key}"]
                for key in SLOTS
                if f"optimiser.{name}.{key}" in tensors
            }
            if slots:
                order = _format_of(parameter)
                self._slots(parameter).update(
                    {
                        key: (slot.contiguous(memory_format=order) if slot.ndim else slot).to(
                            parameter.device
                        )
                        for key, slot in slots.items()
                    }
                )

    def _slots(self, parameter: nn.Parameter) -> dict[str, Any]:
        """What the optimiser that has a weight keeps of it."""
        own = next(
            optimiser
            for optimiser in self.optimisers
            if any(parameter is p for group in optimiser.param_groups for p in group["params"])
        )
        slots: dict[str, Any] = own.state[parameter]
        return slots


def shared_truth(truth_BS: Tensor, blend_BS: Tensor, classes: int) -> Tensor:
    """The share of each class where two share a pixel.

    Args:
        truth_BS: Class ids, shape ``(B, *S)``.
        blend_BS: The other class and its share, see :func:`maskwright.data.sampler.blend`.
        classes: Number of classes K.

    Returns:
        Shares that sum to one, shape ``(B, K, *S)``.

    Example:
        >>> quarter = torch.tensor([[60 << 8 | 1]])
        >>> shared_truth(torch.tensor([[0]]), quarter, 2).flatten().tolist()
        [0.75, 0.25]
    """
    share_BS = (blend_BS >> _CLASS_BITS).float().div_(SHARE_PARTS).unsqueeze(1)
    other_BS = blend_BS & ((1 << _CLASS_BITS) - 1)
    own_BKS, other_BKS = (class_shares(ids, classes) for ids in (truth_BS, other_BS))
    return own_BKS * (1 - share_BS) + other_BKS * share_BS


def _format_of(parameter: Tensor) -> torch.memory_format:
    orders = {4: torch.channels_last, 5: torch.channels_last_3d}
    order = orders.get(parameter.ndim, torch.contiguous_format)
    return order if parameter.is_contiguous(memory_format=order) else torch.contiguous_format


def _step_seed(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) % 2**63


def _not_finite(what: str, value: float, step: int) -> TrainingError:
    return TrainingError(
        "training-not-finite",
        f"{what} at step {step + 1}",
        expected="a finite number",
        found=str(value),
        remedy=(
            "the weights before this step are kept; lower the rate (--set learning_rate=5e-4) or "
            "use --set train.precision=float32, then train again"
        ),
    )
