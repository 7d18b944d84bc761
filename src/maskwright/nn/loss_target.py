"""What a batch should become: truth, ignored pixels and the maps that some losses need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional

from maskwright.errors import DataError

_POOL = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


@dataclass(frozen=True)
class Target:
    """What the network should have said for one batch, S being any number of spatial axes.

    Args:
        truth: Class ids, shape ``(B, *S)``; or the share of each class (soft truth) or a mask for
            each class (overlapping classes), shape ``(B, K, *S)``, 0 to 1.
        valid: True where a pixel counts, shape ``(B, *S)``; all by default. What the truth says
            elsewhere does not matter.
        border_map: Extra weight of each pixel for ``border_ce``, shape ``(B, *S)``.
        distance_map: Signed distance to each class's outline for ``boundary``, negative inside,
            shape ``(B, F, *S)`` for the last F classes.
        image_labels: Class of each image as a whole, shape ``(B,)``.

    Example:
        >>> Target(torch.tensor([[[0, 1]]])).valid is None
        True
    """

    truth: Tensor
    valid: Tensor | None = None
    border_map: Tensor | None = None
    distance_map: Tensor | None = None
    image_labels: Tensor | None = None

    def part(self, rows: slice) -> Target:
        """The target of some patches of the batch.

        Example:
            >>> Target(torch.tensor([[0, 1], [1, 1]])).part(slice(1, 2)).truth
            tensor([[1, 1]])
        """
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: t[rows] for name, t in parts.items() if t is not None})


def class_shares(truth: Tensor, classes: int) -> Tensor:
    """The share of each class at each pixel, from ids or from shares.

    Args:
        truth: Class ids, shape ``(B, *S)``.
        classes: Number of classes K.

    Returns:
        True where the truth is that class, shape ``(B, K, *S)``.

    Example:
        >>> class_shares(torch.tensor([[0, 1]]), 2).int().tolist()
        [[[1, 0], [0, 1]]]
    """
    ids = torch.arange(classes, dtype=truth.dtype, device=truth.device)
    # Booleans weigh an eighth of what a one-hot tensor of 64-bit integers does.
    return truth.unsqueeze(1) == ids.view(-1, *[1] * (truth.ndim - 1))


def check_target(logits: Tensor, target: Target) -> None:
    """Refuse a target that does not fit the network's output.

    Raises:
        DataError: Naming the part whose shape is another, both shapes, and what to change.
    """
    batch, classes, *size = logits.shape
    pixels = (batch, *size)
    if target.truth.ndim == logits.ndim:
        _check_shape("truth", target.truth, (batch, classes, *size))
    else:
        _check_shape("truth", target.truth, pixels)
    if target.valid is not None:
        _check_shape("valid", target.valid, pixels)
    if target.border_map is not None:
        _check_shape("border_map", target.border_map, pixels)
    if target.distance_map is not None:
        _check_shape("distance_map", target.distance_map, (batch, None, *size))


def _check_shape(name: str, tensor: Tensor, expected: Sequence[int | None]) -> None:
    fits = len(expected) == tensor.ndim and all(
        e in (None, found) for e, found in zip(expected, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if e is None else str(e) for e in expected)
        raise DataError(
            "loss-shape",
            name,
            expected=f"shape ({wanted}), as the network's output asks for",
            found=f"shape {tuple(tensor.shape)}",
            remedy="cut or resample it to the output's size",
        )


def pooled(logits: Tensor, target: Target, stride: Sequence[int]) -> tuple[Tensor, Target]:
    """Bring the target to a coarser prediction: each coarse pixel takes the mean of what it covers.

    The truth becomes soft: a coarse pixel that is half cell is half cell. It is averaged over the
    valid pixels; without any the coarse pixel is ignored. Maps are averaged too, distances also
    divided by the mean stride, since their unit is the pixel.

    The coarse prediction may cover more than the target, as it does in an unpadded network; it
    is then taken to have the same centre, and only the coarse pixels that lie within the target
    as a whole are kept.

    Args:
        logits: Class scores of a level, shape ``(B, K, *S')``.
        target: The target at full resolution.
        stride: Pixels of the target for each pixel of the level, along each axis.

    Returns:
        The kept part of the logits, and the target of the same size.

    Raises:
        DataError: If no coarse pixel lies within the target.

    Example:
        >>> level, soft = pooled(torch.zeros(1, 2, 1, 1), Target(torch.tensor([[[0, 1], [1, 1]]])),
        ...                      (2, 2))
        >>> soft.truth.flatten().tolist()
        [0.25, 0.75]
    """
    axes = len(stride)
    if not 1 <= axes <= len(_POOL) or logits.ndim != axes + 2:
        raise DataError(
            "level-axes",
            "the prediction of a level",
            expected=f"a stride for each of its {logits.ndim - 2} axes",
            found=f"{axes}",
            remedy="give one number for each axis",
        )
    full = target.truth.shape[-axes:]
    logit_parts: list[slice] = [slice(None), slice(None)]
    target_parts: list[slice] = []
    for axis in range(axes):
        level, target_slice = _kept(logits.shape[2 + axis], full[axis], stride[axis])
        logit_parts.append(level)
        target_parts.append(target_slice)

    def pool(values: Tensor) -> Tensor:
        before = [slice(None)] * (values.ndim - axes)
        return _POOL[axes - 1](values[tuple(before + target_parts)], tuple(stride))

    kept = logits[tuple(logit_parts)]
    shares = target.truth
    if shares.ndim < logits.ndim:
        shares = class_shares(shares, logits.shape[1])
    shares = shares.to(kept.dtype)
    coarse = Target(pool(shares))
    if target.valid is not None:
        share_valid = pool(target.valid.unsqueeze(1).to(kept.dtype))
        summed = pool(shares.masked_fill(~target.valid.bool().unsqueeze(1), 0))
        known = share_valid > 0
        coarse = Target(summed / torch.where(known, share_valid, 1), known.squeeze(1))
    border, distance = target.border_map, target.distance_map
    return kept, Target(
        coarse.truth,
        coarse.valid,
        None if border is None else pool(border.unsqueeze(1)).squeeze(1),
        None if distance is None else pool(distance) * (axes / sum(stride)),
    )


def _kept(level: int, full: int, stride: int) -> tuple[slice, slice]:
    """Which part of a level's axis and of the target's belong together."""
    before = max(0, (level * stride - full) // 2)
    first = -(-before // stride)
    offset = first * stride - before
    count = min(level - first, (full - offset) // stride)
    if count < 1:
        raise DataError(
            "level-size",
            "the prediction of a level",
            expected=f"pixels within a target of {full}",
            found=f"{level} pixels at stride {stride}",
            remedy="take larger patches or fewer levels",
        )
    return slice(first, first + count), slice(offset, offset + count * stride)
