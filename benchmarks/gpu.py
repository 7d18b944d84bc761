"""Training steps on a GPU, in one command of under 8 minutes.

Rows: our step at the default plan and at nnU-Net's plan (eight stages of 32 to 512 channels, two
patches of 512²), in each number format and with compiled code; and nnU-Net's recipe on the same
network and patch: float16 with a scaled loss, SGD with Nesterov's momentum, clipping, Dice and
cross-entropy at every level, in PyTorch's own code and compiled as its trainer does. Ours includes
augmentation on the device, clipping and averaging of the weights; nnU-Net's batch is made before.
The share is that of the multiplications of a step in what the card reaches on large bfloat16
matrices.

    python benchmarks/gpu.py [--seconds 6] [--limit 420]

Without CUDA it says so and ends.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from maskwright.config import RunConfig
from maskwright.data.sampler import Patches
from maskwright.nn.losses import level_weights
from maskwright.nn.presets import preset
from maskwright.nn.unet import build_unet
from maskwright.plan.machine import Numerics, candidates, with_compiled
from maskwright.train.stepper import Stepper
from measuring import write_results

PLANS = {"default": "unet", "nnU-Net's": "isensee2021"}
MATRIX = 8192
NO_CUDA = "There is no CUDA device here, so there is nothing to measure: run this beside a GPU."

Step = Callable[[], None]


def seconds_of(step: Step, seconds: float, warmups: int = 3) -> float:
    """Mean seconds of a step; compiling and the first steps are not counted."""
    for _ in range(warmups):
        step()
    torch.cuda.synchronize()
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        step()
        count += 1
        if count % 8 == 0:
            torch.cuda.synchronize()
    torch.cuda.synchronize()
    return (time.perf_counter() - begun) / count


def matrix_rate(seconds: float) -> float:
    """Multiplications and additions a second of large bfloat16 matrices."""
    a, b = (torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * MATRIX**3 / seconds_of(lambda: _ignore(a @ b), seconds)


def patches_of(config: RunConfig) -> Patches:
    generator = np.random.default_rng(0)
    shape = (config.train.batch, *config.train.patch_shape(2))
    return Patches(
        generator.normal(size=(shape[0], 1, *shape[1:])).astype(np.float32),
        generator.integers(0, 2, shape).astype(np.uint8),
        ("random",) * shape[0],
    )


def ours(config: RunConfig, numerics: Numerics) -> Step:
    network = build_unet(config.model, seed=0).cuda()
    train = config.train.model_copy(update={"steps": 1})
    stepper = Stepper(
        network, train, numerics.layout, numerics.precision, compiled=numerics.compiled
    )
    patches, steps = patches_of(config), itertools.count()

    def step() -> None:
        number = next(steps)
        stepper.update(*stepper.prepare(patches, number), number, 1e-6)

    return step


def nnunet(config: RunConfig, *, compiled: bool) -> Step:
    network: Any = build_unet(config.model, seed=0).cuda()
    parameters = list(network.parameters())
    run = torch.compile(network) if compiled else network
    optimiser = torch.optim.SGD(parameters, 1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)
    scaler = torch.amp.GradScaler("cuda")
    patches = patches_of(config)
    image = torch.from_numpy(patches.image_BCS).cuda()
    truth = torch.from_numpy(patches.truth_BS).cuda().long()

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.float16):
            levels = run(image)["levels"]
            total = sum(
                weight * dice_and_entropy(logits, truth[:, :: 2**n, :: 2**n])
                for n, (logits, weight) in enumerate(
                    zip(levels, level_weights(len(levels)), strict=True)
                )
            )
        scaler.scale(total).backward()
        scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(parameters, 12)
        scaler.step(optimiser)
        scaler.update()

    return step


def dice_and_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    probabilities = logits.float().softmax(1)[:, 1]
    chosen = (truth == 1).float()
    overlap = 2 * (probabilities * chosen).sum()
    dice = (overlap + 1e-5) / (probabilities.sum() + chosen.sum() + 1e-5)
    return functional.cross_entropy(logits.float(), truth) - dice


def operations_of(config: RunConfig) -> int:
    """Multiplications and additions of a forward and a backward pass."""
    network = build_unet(config.model, seed=0).cuda()
    image = torch.zeros(config.train.batch, 1, *config.train.patch_shape(2), device="cuda")
    with FlopCounterMode(display=False) as counter:
        network(image)["logits"].sum().backward()
    return counter.get_total_flops()


def _ignore(_: object) -> None:
    """The product is not needed."""


def rows() -> Iterator[tuple[str, str, Callable[[], Step]]]:
    """Plan, what runs, and what prepares it; nnU-Net's plan first."""
    for plan in reversed(PLANS):
        config = preset(PLANS[plan])
        options = with_compiled(candidates("auto", "auto"), "auto", accelerator=True, minutes=None)
        for numerics in options:
            yield plan, f"ours, {numerics}", partial(ours, config, numerics)
        if plan == "nnU-Net's":
            yield plan, "nnU-Net's recipe, compiled", partial(nnunet, config, compiled=True)
            yield plan, "nnU-Net's recipe", partial(nnunet, config, compiled=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="how long to time each row")
    parser.add_argument("--limit", type=float, default=420.0, help="no row begins after so many")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print(NO_CUDA)
        return
    begun = time.perf_counter()
    rate = matrix_rate(arguments.seconds)
    operations = {plan: operations_of(preset(name)) for plan, name in PLANS.items()}
    figures: list[dict[str, Any]] = []
    for plan, what, prepare in rows():
        if time.perf_counter() - begun > arguments.limit:
            print(f"left out for lack of time: {plan} plan, {what}", file=sys.stderr)
            continue
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        step_s = seconds_of(prepare(), arguments.seconds)
        figures.append(
            {
                "plan": plan,
                "what": what,
                "step_s": step_s,
                "images_a_second": preset(PLANS[plan]).train.batch / step_s,
                "share_of_matrix_rate": operations[plan] / step_s / rate,
                "peak_bytes": torch.cuda.max_memory_allocated(),
            }
        )
        print(f"{plan}: {what}: {step_s:.4f} s", file=sys.stderr)
    table = [["plan", "step of", "seconds", "images a second", "share of matrix rate", "memory"]]
    table += [
        [
            row["plan"],
            row["what"],
            f"{row['step_s']:.4f}",
            f"{row['images_a_second']:.1f}",
            f"{row['share_of_matrix_rate']:.1%}",
            f"{row['peak_bytes'] / 1e9:.1f} GB",
        ]
        for row in figures
    ]
    card = torch.cuda.get_device_name()
    print(f"{card}: {rate / 1e12:.0f} TFLOP/s on bfloat16 matrices of {MATRIX}²")
    write_results("gpu", {"card": card, "matrix_rate": rate, "rows": figures}, table)


if __name__ == "__main__":
    main()
