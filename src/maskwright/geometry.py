"""Layer sizes, legal inputs, receptive field, parameters and operations: integers only.

The U-Net of depth ``d`` has ``d`` poolings. Each level holds two 3×3 convolutions::

    conv conv ───────────── crop, concatenate ────────────► conv conv ► 1×1
       └ pool ► conv conv ── crop, concatenate ─► conv conv ┘ up-conv
                   └ pool ► conv conv ───────────┘ up-conv

``same`` padding keeps every size; ``valid`` (the published network) loses one pixel on each
side at every 3×3 convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maskwright.errors import SizeError

_CONV_LOSS = 4  # two unpadded 3×3 convolutions, one pixel on either side each
_CONV_REACH = 2  # what two 3×3 convolutions see on either side


@dataclass(frozen=True)
class Layer:
    """One layer of the table that ``maskwright describe`` prints.

    Args:
        name: Where it stands, such as ``down 1 conv 2``.
        size: Side of its output in pixels, for a square input.
        channels: Channels of its output.
        parameters: Trained numbers, the normalisation after it included.
        macs: Multiplications with addition for one input image.
    """

    name: str
    size: int
    channels: int
    parameters: int
    macs: int


def divisor(depth: int) -> int:
    """The step between legal sizes, 2^depth.

    Example:
        >>> divisor(4)
        16
    """
    return 1 << depth


def level_sizes(size: int, depth: int, padding: str) -> list[int] | None:
    """Sides at which each level's two convolutions end, encoder then decoder; None if illegal.

    Args:
        size: Side of the input in pixels.
        depth: Number of poolings.
        padding: ``same`` or ``valid``.

    Example:
        >>> level_sizes(572, 4, "valid")
        [568, 280, 136, 64, 28, 52, 100, 196, 388]
    """
    loss = _CONV_LOSS if padding == "valid" else 0
    sizes: list[int] = []
    for level in range(depth + 1):
        size -= loss
        if size <= 0 or (level < depth and size % 2):
            return None
        sizes.append(size)
        size //= 2
    size = sizes[-1]
    for _ in range(depth):
        size = 2 * size - loss
        if size <= 0:
            return None
        sizes.append(size)
    return sizes


def is_legal_size(size: int, depth: int, padding: str) -> bool:
    """Whether the network can process a side of this many pixels.

    Example:
        >>> is_legal_size(572, 4, "valid"), is_legal_size(570, 4, "valid")
        (True, False)
    """
    return level_sizes(size, depth, padding) is not None


def next_legal_size(size: int, depth: int, padding: str) -> int:
    """The smallest legal side of at least ``size`` pixels.

    Example:
        >>> next_legal_size(512, 4, "valid")
        524
    """
    candidate = max(1, size)
    while not is_legal_size(candidate, depth, padding):
        candidate += 1
    return candidate


def previous_legal_size(size: int, depth: int, padding: str) -> int | None:
    """The largest legal side of at most ``size`` pixels, or None where there is none.

    Example:
        >>> previous_legal_size(571, 4, "valid")
        556
    """
    return next(
        (s for s in range(size, 0, -1) if is_legal_size(s, depth, padding)),
        None,
    )


def check_size(size: int, depth: int, padding: str, *, subject: str) -> None:
    """Refuse an illegal side, naming the legal ones next to it.

    Raises:
        SizeError: When the network cannot process ``size``.
    """
    if is_legal_size(size, depth, padding):
        return
    below = previous_legal_size(size, depth, padding)
    above = next_legal_size(size, depth, padding)
    form = (
        f"a multiple of {divisor(depth)}"
        if padding == "same"
        else f"a size whose every level is even before pooling (steps of {divisor(depth)})"
    )
    near = f"{below} or {above}" if below else f"{above} or more"
    raise SizeError(
        "size-illegal", subject, expected=form, found=f"{size} px", remedy=f"use {near} px"
    )


def border_loss(depth: int, padding: str) -> int:
    """Pixels lost on each side from input to output: (input − output) / 2.

    Example:
        >>> border_loss(4, "valid"), border_loss(4, "same")
        (92, 0)
    """
    if padding == "same":
        return 0
    size = next_legal_size(1, depth, padding)
    sizes = level_sizes(size, depth, padding)
    return (size - (sizes or [size])[-1]) // 2


def dependency(position: int, depth: int) -> tuple[int, int]:
    """First and last input pixel that an output pixel of the padded network can depend on.

    Walked backwards through the figure: a 3×3 convolution widens by one, an up-convolution
    halves, a pooling doubles, a skip joins at its own level.

    Args:
        position: Index of the output pixel, on an image without borders.
        depth: Number of poolings.

    Example:
        >>> dependency(0, 4)
        (-94, 93)
    """
    low = high = position
    skips: list[tuple[int, int]] = []
    for _ in range(depth):
        low, high = low - _CONV_REACH, high + _CONV_REACH
        skips.append((low, high))
        low, high = low // 2, high // 2
    low, high = low - _CONV_REACH, high + _CONV_REACH
    for skip_low, skip_high in reversed(skips):
        low, high = min(2 * low, skip_low), max(2 * high + 1, skip_high)
        low, high = low - _CONV_REACH, high + _CONV_REACH
    return low, high


def receptive_field(depth: int) -> int:
    """Side of the largest window of the input that one output pixel depends on.

    How far a pixel sees depends on its position in the grid of poolings; this is the largest.

    Example:
        >>> receptive_field(4)
        204
    """
    windows = (dependency(position, depth) for position in range(divisor(depth)))
    return max(high - low + 1 for low, high in windows)


def halo(depth: int) -> int:
    """Context that makes a tile of the padded network exact, rounded up to the divisor.

    Example:
        >>> halo(4)
        112
    """
    step = divisor(depth)
    reach = 0
    for position in range(step):
        low, high = dependency(position, depth)
        reach = max(reach, position - low, high - position)
    return -(-reach // step) * step


def layer_table(
    size: int, *, channels: int, classes: int, depth: int, width: int, padding: str, norm: str
) -> list[Layer]:
    """Every layer with its output size, parameters and multiplications.

    A 3×3 convolution has 9·in·out + out parameters; followed by batch normalisation it has no
    bias, and the normalisation has 2·out. An up-convolution has 4·in·out + out.

    Args:
        size: Side of a square input in pixels.
        channels: Channels of the input.
        classes: Channels of the output.
        depth: Number of poolings.
        width: Channels of the first level.
        padding: ``same`` or ``valid``.
        norm: ``none`` or ``batch``.

    Returns:
        Layers in the order in which data flow.

    Raises:
        SizeError: When ``size`` is not legal.

    Example:
        >>> table = layer_table(572, channels=1, classes=2, depth=4, width=64,
        ...                     padding="valid", norm="none")
        >>> table[-1].size, sum(layer.parameters for layer in table)
        (388, 31030658)
    """
    check_size(size, depth, padding, subject="--input")
    loss = _CONV_LOSS // 2 if padding == "valid" else 0

    def convolutions(place: str, side: int, inner: int, outer: int) -> Iterator[Layer]:
        for number, source in ((1, inner), (2, outer)):
            side -= loss
            weights = 9 * source * outer
            extra = 2 * outer if norm == "batch" else outer
            name = f"{place} conv {number}"
            yield Layer(name, side, outer, weights + extra, weights * side * side)

    table: list[Layer] = []
    source = channels
    for level in range(depth + 1):
        place = f"down {level}" if level < depth else "bottom"
        table += convolutions(place, size, source, width << level)
        source = width << level
        size = table[-1].size
        if level < depth:
            size //= 2
            table.append(Layer(f"{place} pool", size, source, 0, 0))
    for level in reversed(range(depth)):
        outer = width << level
        macs = 4 * source * outer * size * size
        size *= 2
        table.append(Layer(f"up {level} up-conv", size, outer, 4 * source * outer + outer, macs))
        table.append(Layer(f"up {level} concatenate", size, 2 * outer, 0, 0))
        table += convolutions(f"up {level}", size, 2 * outer, outer)
        source, size = outer, table[-1].size
    macs = source * classes * size * size
    table.append(Layer("1×1 conv", size, classes, source * classes + classes, macs))
    return table
