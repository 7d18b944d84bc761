"""A network along all its axes: shapes it takes, what it loses, whether tiles agree."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from maskwright.errors import SizeError
from maskwright.geometry.axis import Axis

if TYPE_CHECKING:
    from maskwright.network_config import ModelConfig

AXIS_NAMES = "ZYX"


def axes_of(model: ModelConfig) -> tuple[Axis, ...]:
    """The network's axes in the order of the array: Y, X or Z, Y, X.

    Example:
        >>> from maskwright.network_config import ModelConfig
        >>> [axis.step for axis in axes_of(ModelConfig(depth=2, strides="1x2,2x2"))]
        [2, 4]
    """
    return tuple(
        Axis(
            kernels=kernels,
            strides=strides,
            convolutions=model.convolutions,
            padding=model.padding,
            down=model.down,
            up=model.up,
            attention=model.attention,
            fused=model.levels == "fused",
        )
        for kernels, strides in zip(
            zip(*model.level_kernels, strict=True),
            zip(*model.level_strides, strict=True),
            strict=True,
        )
    )


def next_legal_shape(shape: Sequence[int], model: ModelConfig) -> tuple[int, ...]:
    """The smallest legal shape in which this one fits.

    Example:
        >>> from maskwright.network_config import ModelConfig
        >>> next_legal_shape((500, 513), ModelConfig())
        (512, 528)
    """
    axes = axes_of(model)
    return tuple(axis.next_legal(size) for axis, size in zip(axes, shape, strict=True))


def output_shape(shape: Sequence[int], model: ModelConfig) -> tuple[int, ...]:
    """The shape of the output for a legal input.

    Example:
        >>> from maskwright.network_config import ModelConfig
        >>> output_shape((572, 572), ModelConfig(padding="valid"))
        (388, 388)
    """
    axes = axes_of(model)
    return tuple(size - 2 * axis.border_loss for axis, size in zip(axes, shape, strict=True))


def check_shape(shape: Sequence[int], model: ModelConfig, *, subject: str) -> None:
    """Refuse a shape that the network cannot process, naming the legal sizes next to it.

    Raises:
        SizeError: When a size is not legal, or the lowest level is left with one pixel whose
            deviation ``norm=instance`` or ``norm=group`` would need.
    """
    axes = axes_of(model)
    if len(shape) != len(axes):
        raise SizeError(
            "size-axes",
            subject,
            expected=f"{len(axes)} axes ({', '.join(AXIS_NAMES[-len(axes) :])})",
            found=f"{len(shape)}",
            remedy="give one size an axis, or choose dims=2 or dims=3",
        )
    square = len(set(shape)) == 1
    for axis, size, name in zip(axes, shape, AXIS_NAMES[-len(axes) :], strict=True):
        axis.check(size, subject=subject if square else f"{subject} along {name}")
    if model.norm in ("instance", "group") and prod(_lowest(shape, axes)) == 1:
        wider = tuple(size + axis.step for axis, size in zip(axes, shape, strict=True))
        raise SizeError(
            "size-one-pixel",
            subject,
            expected=f"more than one pixel at the lowest level for norm={model.norm}",
            found="×".join(map(str, shape)) + " px, which leaves one",
            remedy=f"use {'×'.join(map(str, wider))} px, a smaller depth, or norm=batch",
        )


def _lowest(shape: Sequence[int], axes: Sequence[Axis]) -> tuple[int, ...]:
    return tuple(axis.lowest(size) for axis, size in zip(axes, shape, strict=True))


def is_exact(model: ModelConfig) -> bool:
    """Whether tiles with enough context give what the whole image would give.

    They do where each output pixel depends on a window around it. Instance and group
    normalisation and squeeze-and-excitation take means over the whole tile, so that the result
    depends on how tiles are cut. Gates and fused levels only widen the window, by what
    :meth:`maskwright.geometry.axis.Axis.dependency` counts.

    Example:
        >>> from maskwright.network_config import ModelConfig
        >>> is_exact(ModelConfig()), is_exact(ModelConfig(norm="instance"))
        (True, False)
    """
    return model.norm in ("none", "batch") and not model.squeeze_excitation
