"""Networks of all kinds, drawn by seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from maskwright import geometry
from maskwright.config import ModelConfig


def _draw_model(seed: int, **fixed: Any) -> ModelConfig:
    """A tiny network whose every option is drawn; odd seeds are three-dimensional."""
    pick = random.Random(seed)  # noqa: S311
    dims = fixed.get("dims", 3 if seed % 2 else 2)
    padding = fixed.get("padding", pick.choice(["same", "valid"]))
    depth = fixed.get("depth", pick.randint(1, 3 if (dims, padding) != (3, "valid") else 2))
    norm = pick.choice(["none", "batch", "instance", "group"])
    values: dict[str, Any] = {
        "dims": dims,
        "channels": pick.randint(1, 3),
        "classes": pick.randint(2, 4),
        "depth": depth,
        "widths": tuple(pick.choice([4, 6, 8]) for _ in range(depth + 1)),
        "max_width": pick.choice([None, 6]),
        "convolutions": pick.randint(1, 3) if padding == "same" else pick.randint(1, 2),
        "kernels": [pick.choices([1, 3, 3], k=dims) for _ in range(depth + 1)],
        "strides": [pick.choices([1, 2, 2], k=dims) for _ in range(depth)],
        "padding": padding,
        "norm": norm,
        "groups": 2,
        "activation": pick.choice(["relu", "leaky_relu", "gelu"]),
        "block": pick.choice(["plain", "residual"]),
        "attention": depth > 1 and pick.random() < 0.5,
        "squeeze_excitation": pick.choice([0, 2]),
        "down": pick.choice(["max", "stride"]),
        "up": pick.choice(["transposed", "resize"]),
        # After a normalisation a constant shift can be without effect, and so without gradient.
        "up_bias": norm == "none",
        "dropout": pick.choice([0.0, 0.3]),
        "levels": pick.choice(["none", "supervised", "fused"]),
        "image_classes": pick.choice([0, 3]),
        "image_hidden": pick.choice([(), (8,), (8, 5)]),
        "output": pick.choice(["softmax", "sigmoid"]),
    }  # fmt: skip
    if values["convolutions"] > 1 and norm != "group":
        values["widen"] = pick.choice(["first", "second"])
    return ModelConfig(**{**values, **fixed})


@pytest.fixture
def draw_model() -> Callable[..., ModelConfig]:
    return _draw_model


@pytest.fixture
def small_shape() -> Callable[[ModelConfig], tuple[int, ...]]:
    """A small legal shape, another size along each axis, with some pixels at the lowest level."""

    def shape(model: ModelConfig) -> tuple[int, ...]:
        axes = geometry.axes_of(model)
        return tuple(
            axis.next_legal(axis.next_legal(1) + (2 + number % 2) * axis.step)
            for number, axis in enumerate(axes)
        )

    return shape
