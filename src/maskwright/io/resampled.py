"""An image in a file at another spacing, of which any block can be read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.source import ImageSource
from maskwright.io.stored import Block
from maskwright.resampling import Grid, interpolate_blocks, interpolated_type


def resampled_source(source: ImageSource, grid: Grid) -> ImageSource:
    """The same image on the network's grid; a block is computed when it is read.

    Args:
        source: The image.
        grid: Its grid and that of the network.

    Returns:
        A source whose blocks are those of the whole resampled image, bit for bit; the image
        itself where both grids are one. Its place in space is that of the image.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from maskwright.io.source import open_source
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "a.npy", np.array([[0.0, 2.0, 4.0, 6.0]] * 2))
        ...     grid = Grid.between((2, 4), (1.0, 1.0), (1.0, 2.0))
        ...     source = resampled_source(open_source(Path(folder) / "a.npy"), grid)
        ...     source.shape, source.read((slice(0, 1), slice(1, 2)))
        ((1, 2, 2), array([[[5.]]]))
    """
    if grid.same:
        return source
    lines = grid.to_network

    def read(block: Block) -> NDArray[Any]:
        needed = tuple(line.needed(part) for line, part in zip(lines, block, strict=True))
        # At once: a file that is decoded in chunks would decode them for every slab.
        held_CS = source.read(needed)

        def inside(part: Block) -> NDArray[Any]:
            moved = (
                slice(p.start - n.start, p.stop - n.start)
                for p, n in zip(part, needed, strict=True)
            )
            return held_CS[(slice(None), *moved)]

        return np.ascontiguousarray(interpolate_blocks(inside, lines, block))

    return replace(
        source,
        shape=(source.shape[0], *grid.network_px),
        dtype=interpolated_type(source.dtype),
        spacing_mm=grid.network_mm,
        read=read,
        chunks=None,
    )
