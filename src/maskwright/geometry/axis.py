"""One axis of a network: legal sizes, border loss and what a pixel sees, integers only.

All levels share one grid: pixel ``i`` of a level covers the pixels ``s·i`` to ``s·i + s − 1`` of
the level above, for a pooling of step ``s``. Convolutions stay in place on it: output ``i`` sees
the inputs ``i − r`` to ``i + r``. So what an output pixel depends on is the same arithmetic for
padded and for unpadded networks; an unpadded tile only starts and ends at other places of the
grid, such that everything it needs lies inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from maskwright.errors import SizeError

Span = tuple[int, int]
"""First and last pixel, both included."""


@dataclass(frozen=True)
class Axis:
    """What a network does along one axis.

    Args:
        kernels: Size of the convolutions at each level, 1 or 3, the finest first.
        strides: Step of each pooling, 1 or 2.
        convolutions: Convolutions in each block.
        padding: ``same`` or ``valid``.
        down: ``max``, or ``stride`` in the first convolution of a block.
        up: ``transposed``, or ``resize`` and a convolution.
        attention: Whether the skips below the first level are weighed by gates, whose weights
            are interpolated from the level below.
        fused: Whether the predictions of all levels are interpolated into the last one.

    Example:
        >>> axis = Axis(kernels=(3,) * 5, strides=(2,) * 4, padding="valid")
        >>> axis.next_legal(512), axis.border_loss
        (524, 92)
    """

    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    convolutions: int = 2
    padding: str = "same"
    down: str = "max"
    up: str = "transposed"
    attention: bool = False
    fused: bool = False

    @property
    def depth(self) -> int:
        """Number of poolings."""
        return len(self.strides)

    @property
    def step(self) -> int:
        """The step between legal sizes, and the grid on which tiles start.

        Example:
            >>> Axis((3, 3, 3), (2, 2)).step
            4
        """
        return self.scale(self.depth)

    def scale(self, level: int) -> int:
        """Pixels of the image that one pixel of a level covers."""
        return prod(self.strides[:level])

    def is_legal(self, size: int) -> bool:
        """Whether the network can process this many pixels.

        Example:
            >>> axis = Axis((3,) * 5, (2,) * 4, padding="valid")
            >>> axis.is_legal(572), axis.is_legal(570)
            (True, False)
        """
        return size >= self._smallest and (size - self._smallest) % self.step == 0

    def next_legal(self, size: int) -> int:
        """The smallest legal size of at least ``size`` pixels."""
        return self._smallest + max(0, -(-(size - self._smallest) // self.step)) * self.step

    def previous_legal(self, size: int) -> int | None:
        """The largest legal size of at most ``size`` pixels, or None where there is none.

        Example:
            >>> Axis((3,) * 5, (2,) * 4, padding="valid").previous_legal(571)
            556
        """
        if size < self._smallest:
            return None
        return size - (size - self._smallest) % self.step

    def check(self, size: int, *, subject: str) -> None:
        """Refuse an illegal size, naming the legal ones next to it.

        Raises:
            SizeError: When the network cannot process ``size`` pixels.
        """
        if self.is_legal(size):
            return
        below, above = self.previous_legal(size), self.next_legal(size)
        form = (
            f"a multiple of {self.step}"
            if self.padding == "same"
            else f"a size whose every level is even before pooling (steps of {self.step})"
        )
        near = f"{below} or {above}" if below else f"{above} or more"
        raise SizeError(
            "size-illegal", subject, expected=form, found=f"{size} px", remedy=f"use {near} px"
        )

    @cached_property
    def border_loss(self) -> int:
        """Pixels lost on each side from input to output: (input − output) / 2."""
        return self._decoder_starts[0] - self._input_start

    def lowest(self, size: int) -> int:
        """Pixels that the lowest level ends with, for a legal size."""
        return (size + 2 * self._input_start) // self.step

    def level_border(self, level: int) -> int:
        """Pixels of the image that a level of the decoder lacks on each side.

        Example:
            >>> axis = Axis((3,) * 5, (2,) * 4, padding="valid")
            >>> [axis.level_border(level) for level in range(5)]
            [92, 90, 86, 78, 62]
        """
        return self.scale(level) * self._decoder_starts[level] - self._input_start

    def skip_crop(self, level: int) -> Span:
        """What a skip loses on each side: before its gate, and after it.

        The gate takes what the level below covers; a convolution after resizing loses more.
        """
        covered = self.strides[level] * self._decoder_starts[level + 1]
        crop = covered - self._encoder_starts[level]
        return crop, self._up_starts[level] - covered

    def shortcut_crop(self, level: int, *, stride: int = 1) -> int:
        """What a residual shortcut loses on each side, in pixels of its input."""
        if self.padding == "same":
            return 0
        reach = self.kernels[level] // 2
        return reach + stride * (self.convolutions - 1) * reach

    def dependency(self, position: int) -> Span:
        """First and last input pixel that an output pixel can depend on.

        Normalisation and pooling over the whole tile are left out.

        Args:
            position: Index of the output pixel; 0 is the first one of a tile. Inputs are counted
                alike, so that the first input pixel of an unpadded tile is ``−border_loss``.

        Example:
            >>> Axis((3,) * 5, (2,) * 4).dependency(0)
            (-94, 93)
            >>> Axis((3,) * 5, (2,) * 4, padding="valid").dependency(0)
            (-92, 95)
        """
        start = self._decoder_starts[0]
        low, high = self._encoder_span(self._decoder_spans(start + position))
        return low - start, high - start

    @cached_property
    def receptive_field(self) -> int:
        """Size of the largest window of the input that one output pixel depends on.

        How far a pixel sees depends on its position in the grid; this is the largest.

        Example:
            >>> Axis((3,) * 5, (2,) * 4).receptive_field
            204
        """
        spans = (self.dependency(position) for position in range(self.step))
        return max(high - low + 1 for low, high in spans)

    @cached_property
    def halo(self) -> int:
        """Output pixels next to a cut that differ from those of a whole image, at most.

        Rounded up to the step, so that what a tile keeps lies on the grid; 0 for an unpadded
        network without interpolation.

        Example:
            >>> Axis((3,) * 5, (2,) * 4).halo, Axis((3,) * 5, (2,) * 4, padding="valid").halo
            (96, 0)
        """
        # Where the output of a tile ends on the grid: its size is a multiple less what is lost.
        last = (-2 * self._decoder_starts[0] - 1) % self.step
        reach = max(-self.dependency(0)[0], self.dependency(last)[1] - last)
        return -(-max(0, reach - self.border_loss) // self.step) * self.step

    @property
    def context(self) -> int:
        """Pixels around what a tile keeps that make it exact."""
        return self.border_loss + self.halo

    def _decoder_spans(self, position: int) -> tuple[list[Span], Span]:
        """What an output pixel needs of each skip, and of the lowest level."""
        wanted: Span | None = (position, position)
        skips: list[Span] = []
        for level, stride in enumerate(self.strides):
            if self.fused and level:
                wanted = _hull(wanted, _interpolated((position, position), self.scale(level)))
            reach = self.kernels[level] // 2
            skip = _widen(wanted or (position, position), self.convolutions * reach)
            up = _widen(skip, reach) if self.up == "resize" else skip
            wanted = (up[0] // stride, up[1] // stride)
            if self.attention and level:
                gate = _interpolated(skip, stride)
                wanted = _hull(wanted, gate)
                skip = _hull(skip, _covered(gate, stride))
            skips.append(skip)
        return skips, wanted or (position, position)

    def _encoder_span(self, spans: tuple[list[Span], Span]) -> Span:
        skips, span = spans
        for level in reversed(range(self.depth + 1)):
            if level < self.depth:
                span = _hull(span, skips[level])
            reach = self.kernels[level] // 2
            if level and self.down == "stride":
                span = _widen(span, (self.convolutions - 1) * reach)
                stride = self.strides[level - 1]
                span = _widen((stride * span[0], stride * span[1]), reach)
            else:
                span = _widen(span, self.convolutions * reach)
                span = _covered(span, self.strides[level - 1]) if level else span
        return span

    @cached_property
    def _losses(self) -> tuple[int, ...]:
        """What one convolution of each level loses on each side."""
        return tuple(k // 2 if self.padding == "valid" else 0 for k in self.kernels)

    @cached_property
    def _encoder_ends(self) -> tuple[tuple[int, ...], int]:
        """Grid positions where the levels of the encoder and the input start.

        The lowest level is put at 0; what lies above it follows.
        """
        start = 0
        starts = [start]
        for level in reversed(range(1, self.depth + 1)):
            loss, stride = self._losses[level], self.strides[level - 1]
            if self.down == "stride":
                start = stride * (start - (self.convolutions - 1) * loss) - loss
            else:
                start = stride * (start - self.convolutions * loss)
            starts.append(start)
        return tuple(reversed(starts)), start - self.convolutions * self._losses[0]

    @property
    def _encoder_starts(self) -> tuple[int, ...]:
        return self._encoder_ends[0]

    @property
    def _input_start(self) -> int:
        return self._encoder_ends[1]

    @cached_property
    def _up_starts(self) -> tuple[int, ...]:
        """Grid positions where the enlarged features of each level start."""
        return tuple(
            stride * self._decoder_starts[level + 1] + self._up_loss(level)
            for level, stride in enumerate(self.strides)
        )

    @cached_property
    def _decoder_starts(self) -> tuple[int, ...]:
        """Grid positions where the levels of the decoder start, the lowest level last."""
        start = 0
        starts = [start]
        for level in reversed(range(self.depth)):
            start = self.strides[level] * start + self._up_loss(level)
            start += self.convolutions * self._losses[level]
            starts.append(start)
        return tuple(reversed(starts))

    def _up_loss(self, level: int) -> int:
        return self._losses[level] if self.up == "resize" else 0

    @cached_property
    def _smallest(self) -> int:
        """The smallest legal size: each level of the decoder has at least one pixel."""
        lowest = max(
            -(-(2 * start + 1) * self.scale(level) // self.step)
            for level, start in enumerate(self._decoder_starts)
        )
        return lowest * self.step - 2 * self._input_start


def _widen(span: Span, reach: int) -> Span:
    return span[0] - reach, span[1] + reach


def _hull(one: Span | None, other: Span) -> Span:
    return other if one is None else (min(one[0], other[0]), max(one[1], other[1]))


def _covered(span: Span, stride: int) -> Span:
    """The pixels of the level above that these pixels cover."""
    return stride * span[0], stride * span[1] + stride - 1


def _interpolated(span: Span, factor: int) -> Span:
    """The pixels of a coarser level between which these lie.

    Pixel centres coincide: pixel ``i`` lies at ``(i + 1/2) / factor − 1/2`` of the coarser level.
    """
    if factor == 1:
        return span
    low, high = ((2 * position + 1 - factor) // (2 * factor) for position in span)
    return low, high + 1
