"""Simulated sections of tissue, as an electron microscope shows them.

Nothing here was measured. Each section is drawn from a seed, in this order::

    cells that touch ► membranes between them ► organelles, as dark as membranes but none
      ► brightness of each cell and its grain ► uneven light, blur, shot noise, read noise

A threshold cannot find the membranes; a small U-Net can. How far that holds is measured in
``docs/decisions/0001-simulated-sample.md``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ConfigError, SizeError

SMALLEST_PX = 16
LARGEST_PX = 4096

# Pixels drawn beyond the border, so that nothing looks different there.
_PAD_PX = 16
# Cells whose centre lies this far outside still reach into the picture.
_REACH_PX = 90
# Smallest inside of a cell, in pixels.
_SMALLEST_ROOM_PX = 25
# Standard deviation of a field of cubic B-splines with independent standard normal coefficients.
_SPLINE_STD = 151 / 315

Field = NDArray[np.float32]
Flags = NDArray[np.bool_]


def simulate_section(
    seed: int, size_px: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One simulated section of tissue and the mask of its membranes.

    Cells are the regions of a power diagram, argmin over i of |p − c_i|² − r_i², with smoothly
    displaced coordinates; some cells own a chain of centres and become long processes. A pixel
    is membrane where its distance to the nearest border is below half the local thickness.

    Args:
        seed: The same seed and size give the same pixels.
        size_px: Height and width, each from 16 to 4096 pixels; a larger size shows more tissue.

    Returns:
        image_YX: Grey values, uint8.
        mask_YX: 255 on membranes, 0 inside cells, uint8.

    Raises:
        ConfigError: For a negative seed.
        SizeError: For a side outside 16 to 4096 pixels.

    Source:
        Power diagrams: F. Aurenhammer, SIAM J. Comput. 16 (1987) 78–96.

    Example:
        >>> image_YX, mask_YX = simulate_section(1, (64, 96))
        >>> image_YX.shape, np.unique(mask_YX).tolist()
        ((64, 96), [0, 255])
    """
    check_seed(seed)
    for side_px in size_px:
        if not SMALLEST_PX <= side_px <= LARGEST_PX:
            raise SizeError(
                "sample-size",
                "size of the sample",
                expected=f"sides from {SMALLEST_PX} to {LARGEST_PX} pixels",
                found=" × ".join(str(side) for side in size_px),
                remedy="choose another size",
            )
    rng = np.random.default_rng(seed)
    drawing = _Drawing(rng, (size_px[0] + 2 * _PAD_PX, size_px[1] + 2 * _PAD_PX))
    drawing.draw_membranes()
    drawing.draw_mitochondria()
    drawing.draw_reticulum()
    drawing.draw_vesicles()
    drawing.draw_granules()
    inner = (slice(_PAD_PX, -_PAD_PX), slice(_PAD_PX, -_PAD_PX))
    image_YX = _expose(rng, drawing.brightness())[inner]
    mask_YX = np.where(drawing.membrane_YX[inner], 255, 0).astype(np.uint8)
    return np.ascontiguousarray(image_YX), mask_YX


def check_seed(seed: int) -> None:
    """Refuse a seed that no random generator takes.

    Args:
        seed: Seed of everything random.

    Raises:
        ConfigError: For a negative seed.

    Example:
        >>> check_seed(0)
    """
    if seed < 0:
        raise ConfigError(
            "sample-seed",
            "seed",
            expected="0 or more",
            found=str(seed),
            remedy="use a seed that is not negative",
        )


class _Drawing:
    """A section in the making: where the cells are, and how dark each pixel is."""

    def __init__(self, rng: np.random.Generator, size_px: tuple[int, int]) -> None:
        from scipy import ndimage

        self._rng = rng
        self._size_px = size_px
        self._cell_YX = _draw_cells(rng, size_px)
        border_YX = np.zeros(size_px, np.bool_)
        border_YX[:-1] |= self._cell_YX[:-1] != self._cell_YX[1:]
        border_YX[:, :-1] |= self._cell_YX[:, :-1] != self._cell_YX[:, 1:]
        # With fewer than two cells there is no border, and every pixel is far from it.
        if border_YX.any():
            distance_YX = ndimage.distance_transform_edt(~border_YX).astype(np.float32)
        else:
            distance_YX = np.full(size_px, float(sum(size_px)), np.float32)
        # Smoothing the distance rounds the corners where three cells meet.
        self._distance_YX: Field = ndimage.gaussian_filter(distance_YX, 1.6)
        self._half_YX = 2.9 * np.exp(0.2 * _smooth_noise(rng, size_px, 28))
        # What is left of a cell between thick membranes may be too small to be told from noise.
        rooms_YX, _ = ndimage.label(self._distance_YX >= self._half_YX)
        self._distance_YX[np.bincount(rooms_YX.ravel())[rooms_YX] < _SMALLEST_ROOM_PX] = 0
        self.membrane_YX: Flags = self._distance_YX < self._half_YX
        # Organelles keep this far from the membrane; positive inside cells.
        self._room_YX: Field = self._distance_YX - self._half_YX
        self._dark_YX: Field = np.zeros(size_px, np.float32)

    def draw_membranes(self) -> None:
        """Dark lines, uneven, broken in places, wide and faint where the membrane is tilted."""
        rng, size_px = self._rng, self._size_px
        depth_YX = 0.42 * np.exp(0.2 * _smooth_noise(rng, size_px, 20))
        gap_YX = _step((_smooth_noise(rng, size_px, 12) - 1.35) * 5)
        tilt_YX = _step((_smooth_noise(rng, size_px, 45) - 1.0) * 5)
        upright_YX = _step((0.9 * self._half_YX - self._distance_YX) * 2.2)
        tilted_YX = 0.5 * np.exp(-((self._distance_YX / (1.6 * self._half_YX)) ** 2))
        line_YX = (1 - tilt_YX) * upright_YX + tilt_YX * tilted_YX
        self._darken(depth_YX * (1 - 0.8 * gap_YX) * line_YX)
        # Dense smears beside the membrane, as at synapses.
        dense_YX = _step((_smooth_noise(rng, size_px, 18) - 1.7) * 5)
        self._darken(0.42 * dense_YX * np.exp(-((self._distance_YX / 7) ** 2)))

    def draw_mitochondria(self) -> None:
        """Bent ellipses with a double outline and stripes across."""
        rng = self._rng
        for _ in range(self._count(per_px=1 / 2600)):
            y, x = self._position()
            long_px, short_px = rng.uniform(10, 26), rng.uniform(7, 12)
            angle, bend = rng.uniform(0, np.pi), rng.normal(0, 0.012)
            period_px, phase = rng.uniform(5, 7.5), rng.uniform(0, 2 * np.pi)
            depth, lumen = rng.uniform(0.36, 0.46), rng.uniform(0.06, 0.18)
            window = self._window(y, x, 1.3 * long_px + 3)
            dy, dx = np.ogrid[window]
            along = np.cos(angle) * (dx - x) + np.sin(angle) * (dy - y)
            across = np.cos(angle) * (dy - y) - np.sin(angle) * (dx - x) - bend * along**2
            outside_px = (np.hypot(along / long_px, across / short_px) - 1) * short_px
            if not self._is_free(window, outside_px < 1.5):
                continue
            stripes = _step((np.cos(2 * np.pi * along / period_px + phase + across / 4) - 0.2) * 4)
            dark = lumen + (depth - lumen) * 0.8 * stripes * (outside_px < -3.5)
            dark = np.where(outside_px < 0, dark, 0) + depth * np.exp(-(outside_px**2) / 1.6)
            dark = np.maximum(dark, depth * np.exp(-((outside_px + 3) ** 2) / 1.2))
            self._occupy(window, outside_px < 1.5)
            self._darken(np.minimum(dark, depth), window)

    def draw_reticulum(self) -> None:
        """Wandering lines, single or double, that end inside a cell."""
        from scipy import ndimage

        rng = self._rng
        for radius_px, depth in ((0.0, 0.4), (2.4, 0.38)):
            away_YX = np.ones(self._size_px, np.bool_)
            for _ in range(self._count(per_px=1 / 4500)):
                y, x = self._position()
                steps = int(rng.uniform(30, 110))
                turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.1, steps))
                rows = np.rint(y + 0.7 * np.cumsum(np.sin(turns))).astype(int)
                columns = np.rint(x + 0.7 * np.cumsum(np.cos(turns))).astype(int)
                inside = (rows >= 0) & (rows < self._size_px[0])
                inside &= (columns >= 0) & (columns < self._size_px[1])
                rows, columns = rows[inside], columns[inside]
                crowded = self._room_YX[rows, columns] < radius_px + 3
                end = int(np.argmax(crowded)) if crowded.any() else len(rows)
                away_YX[rows[:end], columns[:end]] = False
            if not away_YX.all():
                distance_YX = ndimage.distance_transform_edt(away_YX).astype(np.float32)
                self._darken(depth * np.exp(-((distance_YX - radius_px) ** 2) / 1.5))

    def draw_vesicles(self) -> None:
        """Clusters of small rings."""
        rng = self._rng
        for _ in range(self._count(per_px=1 / 5000)):
            y, x = self._position()
            for _ in range(int(rng.uniform(2, 18))):
                radius_px = rng.uniform(2.2, 4.2)
                dy, dx = rng.normal(0, 9, 2)
                self._draw_round(y + dy, x + dx, radius_px, 0.9, ring=True)

    def draw_granules(self) -> None:
        """Dark filled spots."""
        rng = self._rng
        for _ in range(self._count(per_px=1 / 1500)):
            y, x = self._position()
            self._draw_round(y, x, rng.uniform(1.2, 5.5), rng.uniform(0.5, 1.1), ring=False)

    def brightness(self) -> Field:
        """Cytoplasm, lighter or darker from cell to cell and grained, less what is dark."""
        from scipy import ndimage

        rng, size_px = self._rng, self._size_px
        cells = int(self._cell_YX.max()) + 1
        level = 0.7 + 0.06 * rng.standard_normal(cells)
        level -= np.where(rng.random(cells) < 0.16, rng.uniform(0.12, 0.27, cells), 0)
        base_YX = ndimage.gaussian_filter(level.astype(np.float32)[self._cell_YX], 1.0)
        grain_YX = ndimage.gaussian_filter(rng.standard_normal(size_px, np.float32), 1.3) * 4.6
        coarse_YX = _smooth_noise(rng, size_px, 5)
        base_YX += 0.035 * grain_YX + 0.04 * coarse_YX
        # What is dark stays dark in a dark cell, it does not become darker than black.
        return np.asarray(base_YX * (1 - self._dark_YX / 0.7), np.float32)

    def _draw_round(
        self, y: float, x: float, radius_px: float, depth: float, *, ring: bool
    ) -> None:
        window = self._window(y, x, radius_px + 3)
        if window[0].start >= window[0].stop or window[1].start >= window[1].stop:
            return
        dy, dx = np.ogrid[window]
        outside_px = np.hypot(dy - y, dx - x) - radius_px
        if not self._is_free(window, outside_px < 1.5):
            return
        dark = np.exp(-(outside_px**2) / 1.2) if ring else _step(-3 * outside_px)
        self._darken(0.42 * depth * dark, window)

    def _darken(self, dark: NDArray[Any], window: tuple[slice, ...] = ()) -> None:
        np.maximum(self._dark_YX[window], dark, out=self._dark_YX[window], casting="same_kind")

    def _is_free(self, window: tuple[slice, slice], shape: Flags) -> bool:
        return bool(shape.any()) and bool((self._room_YX[window][shape] > 1.5).all())

    def _occupy(self, window: tuple[slice, slice], shape: Flags) -> None:
        self._room_YX[window][shape] = 0

    def _count(self, *, per_px: float) -> int:
        return int(self._rng.poisson(self._size_px[0] * self._size_px[1] * per_px))

    def _position(self) -> tuple[float, float]:
        return (
            float(self._rng.uniform(0, self._size_px[0])),
            float(self._rng.uniform(0, self._size_px[1])),
        )

    def _window(self, y: float, x: float, reach_px: float) -> tuple[slice, slice]:
        rows, columns = self._size_px
        return (
            slice(max(0, int(y - reach_px)), min(rows, int(y + reach_px) + 2)),
            slice(max(0, int(x - reach_px)), min(columns, int(x + reach_px) + 2)),
        )


def _draw_cells(rng: np.random.Generator, size_px: tuple[int, int]) -> NDArray[np.int32]:
    """Number of the cell of each pixel: a power diagram in displaced coordinates."""
    from scipy.spatial import KDTree

    centres, radii, cells = _draw_centres(rng, size_px)
    rows, columns = np.mgrid[: size_px[0], : size_px[1]].astype(np.float32)
    for axis_YX in (rows, columns):
        axis_YX += 9 * _smooth_noise(rng, size_px, 34) + 1.8 * _smooth_noise(rng, size_px, 12)
    # |p − c|² − r² is a squared distance in one more dimension, up to a constant, so the
    # nearest neighbour there is the cell of the power diagram.
    lift = np.sqrt(radii.max() ** 2 - radii**2)
    tree = KDTree(np.column_stack([centres, lift]))
    points = np.column_stack([rows.ravel(), columns.ravel(), np.zeros(rows.size, np.float32)])
    _, nearest = tree.query(points)
    return np.asarray(cells[nearest].reshape(size_px), np.int32)


def _draw_centres(
    rng: np.random.Generator, size_px: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
    """Centres, radii and cell numbers: large cells first, small ones in what is left."""
    low = np.array([-_REACH_PX, -_REACH_PX], np.float64)
    high = np.array([size_px[0] + _REACH_PX, size_px[1] + _REACH_PX], np.float64)
    tries = int(np.prod(high - low) / 150)
    drawn = np.sort(np.clip(np.exp(rng.normal(2.8, 0.55, tries)), 9.5, 46))[::-1]
    places = rng.uniform(low, high, (tries, 2))
    is_long = rng.random(tries) < 0.5
    centres = np.empty((tries * 8, 2))
    radii = np.empty(tries * 8)
    cells = np.empty(tries * 8, np.int32)
    used = cell = 0
    for place, radius_px, long in zip(places, drawn, is_long, strict=True):
        gap = np.hypot(*(centres[:used] - place).T) - 0.85 * (radii[:used] + radius_px)
        if used and gap.min() < 0:
            continue
        links = int(rng.integers(3, 9)) if long and radius_px < 24 else 1
        turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, links))
        path = np.column_stack([np.sin(turns), np.cos(turns)]) * 0.8 * radius_px
        centres[used : used + links] = place + np.cumsum(path, axis=0) - path[0]
        radii[used : used + links] = radius_px
        cells[used : used + links] = cell
        used += links
        cell += 1
    return centres[:used], radii[:used], cells[:used]


def _expose(rng: np.random.Generator, brightness_YX: Field) -> NDArray[np.uint8]:
    """What the microscope makes of it: uneven light, blur, shot noise and read noise."""
    from scipy import ndimage

    size_px = brightness_YX.shape[0], brightness_YX.shape[1]
    light_YX = np.exp(0.11 * _smooth_noise(rng, size_px, 110))
    blurred_YX = ndimage.gaussian_filter(brightness_YX * light_YX, rng.uniform(0.8, 1.2))
    electrons = rng.uniform(55, 90)
    counted_YX = rng.poisson(electrons * np.maximum(blurred_YX, 0.02)) / electrons
    read_YX = rng.standard_normal(size_px, np.float32)
    slow_YX = ndimage.gaussian_filter(rng.standard_normal(size_px, np.float32), 1.0) * 3.5
    noisy_YX = counted_YX + 0.03 * read_YX + 0.04 * slow_YX
    grey_YX = 128 + rng.uniform(210, 270) * (noisy_YX - 0.6) + rng.uniform(-15, 10)
    return np.asarray(np.clip(np.rint(grey_YX), 0, 255), np.uint8)


def _smooth_noise(rng: np.random.Generator, size_px: tuple[int, int], scale_px: float) -> Field:
    """A random field of mean 0 and variance about 1 that changes over ``scale_px`` pixels."""
    from scipy import ndimage

    knots = [int(np.ceil(side / scale_px)) + 4 for side in size_px]
    field_YX = ndimage.affine_transform(
        rng.standard_normal(knots, np.float32),
        (1 / scale_px, 1 / scale_px),
        offset=1 + rng.random(2),
        output_shape=size_px,
        order=3,
        prefilter=False,
    )
    return np.asarray(field_YX / _SPLINE_STD, np.float32)


def _step(value: NDArray[Any]) -> NDArray[Any]:
    """The logistic function, 0 below zero and 1 above it, with a soft edge."""
    return np.asarray(0.5 + 0.5 * np.tanh(value / 2))
