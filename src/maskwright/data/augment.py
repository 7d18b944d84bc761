"""Random changes of training patches: draw the parameters first, then apply them.

One resampling does all geometry (mirroring, turning, scaling, elastic deformation), the same for
image and mask; then the intensities of the image change. Everything is batched tensor code and
runs on whatever device holds the batch. S stands for the axes of space, Y X or Z Y X.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from maskwright.config import AugmentConfig
from maskwright.data.spacing import thick_axis

_MAX_BLUR_RADIUS = 3
_NO_BLUR = 0.2  # of a pixel; the weight of the neighbours is below one in a hundred thousand
_EQUAL = 0.01  # largest relative difference of spacings that count as equal
# In volumes, displacements above this share of the distance of grid points would fold space.
_ELASTIC_SHARE = 1 / 8


@dataclass(frozen=True)
class Augmentation:
    """Drawn parameters for a batch of B patches of D axes.

    Args:
        flips: Whether to mirror each axis, in the order of the array, shape ``(B, D)`` bool.
        planes: Pairs of axes that may be swapped, because pixels and patch are as long along both.
        swaps: Whether to swap each of them, shape ``(B, len(planes))`` bool.
        matrix: Rotation and scaling, output to input positions in physical units, axes in the
            order x, y(, z), shape ``(B, D, D)``.
        displacement_px: Displacements (x, y(, z)) on the coarse grid, in pixels of the finest
            axis, shape ``(B, D, n, n(, n))``.
        warp: Whether ``matrix`` and ``displacement_px`` change anything.
        spacing: Length of a pixel along each axis in the order of the array, 1 for the finest.
        gamma: Exponent, shape ``(B,)``.
        contrast: Factor, shape ``(B,)``.
        brightness: Shift, shape ``(B,)``.
        blur_px: Standard deviation of the blur in pixels of the finest axis, shape ``(B,)``; 0
            means none.
        noise: Standard deviation of the noise, shape ``(B,)``; 0 means none.
        noise_seed: Seed of the noise of the first patch; each further one has the next.
    """

    flips: Tensor
    planes: tuple[tuple[int, int], ...]
    swaps: Tensor
    matrix: Tensor
    displacement_px: Tensor
    warp: bool
    spacing: tuple[float, ...]
    gamma: Tensor
    contrast: Tensor
    brightness: Tensor
    blur_px: Tensor
    noise: Tensor
    noise_seed: int

    def part(self, rows: slice) -> Augmentation:
        """The parameters of some patches of the batch."""
        named = ("flips", "swaps", "matrix", "displacement_px", "gamma", "contrast", "brightness",
                 "blur_px", "noise")  # fmt: skip
        own = {name: getattr(self, name)[rows] for name in named}
        return replace(self, **own, noise_seed=self.noise_seed + (rows.start or 0))


def draw_augmentation(
    config: AugmentConfig,
    batch: int,
    generator: torch.Generator,
    *,
    patch_px: Sequence[int] = (1, 1),
    spacing_mm: Sequence[float] | None = None,
) -> Augmentation:
    """Draw the parameters for one batch.

    Volumes turn about any axis, or about the one along which voxels are more than twice as long
    as along the others. Along such an axis nothing is displaced. Swapped are axes along which
    pixels and patch are equally long.

    Args:
        config: Strengths and probabilities.
        batch: Number of patches.
        generator: Source of randomness; the same state gives the same parameters.
        patch_px: Size of the patches along each axis; by default of a square plane.
        spacing_mm: Length of a pixel along each axis; ``None`` takes them as equal.

    Example:
        >>> drawn = draw_augmentation(AugmentConfig(), 4, torch.Generator().manual_seed(1))
        >>> drawn.matrix.shape
        torch.Size([4, 2, 2])
    """
    dims = len(patch_px)
    spacing = _relative(spacing_mm, dims)
    thick = thick_axis(spacing) if dims == 3 else None

    def uniform(largest: float) -> Tensor:
        return (torch.rand(batch, generator=generator) * 2 - 1) * largest

    def happens(probability: float) -> Tensor:
        return torch.rand(batch, generator=generator) < probability

    angle = uniform(math.radians(config.rotate_deg))
    size = torch.exp(uniform(math.log1p(config.scale)))
    turn = _turn_of_plane(angle) if dims == 2 else _turn_of_space(angle, thick, generator)
    grid = config.elastic_grid
    displacement = torch.randn(batch, dims, *(grid,) * dims, generator=generator)
    strength = _elastic_strength(config, patch_px, spacing, thick)
    planes = tuple(
        (a, b)
        for a, b in combinations(range(dims), 2)
        if patch_px[a] == patch_px[b] and abs(spacing[a] / spacing[b] - 1) < _EQUAL
    )
    log_gamma = uniform(math.log1p(config.gamma)) * happens(config.share)
    return Augmentation(
        flips=torch.stack([happens(config.flip) for _ in range(dims)], 1),
        planes=planes,
        swaps=torch.stack([happens(config.flip) for _ in planes] or [angle > math.inf], 1),
        matrix=turn / size[:, None, None],
        displacement_px=displacement * strength.view(-1, *(1,) * dims),
        warp=config.rotate_deg > 0 or config.scale > 0 or config.elastic_px > 0,
        spacing=spacing,
        gamma=torch.exp(log_gamma),
        contrast=torch.exp(uniform(math.log1p(config.contrast)) * happens(config.share)),
        brightness=uniform(config.brightness) * happens(config.share),
        blur_px=uniform(config.blur_px).abs() * happens(config.share),
        noise=uniform(config.noise).abs() * happens(config.share),
        noise_seed=int(torch.randint(2**31, (1,), generator=generator)),
    )


def _relative(spacing_mm: Sequence[float] | None, dims: int) -> tuple[float, ...]:
    if spacing_mm is None:
        return (1.0,) * dims
    return tuple(mm / min(spacing_mm) for mm in spacing_mm)


def _turn_of_plane(angle: Tensor) -> Tensor:
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)


def _turn_of_space(angle: Tensor, thick: int | None, generator: torch.Generator) -> Tensor:
    """Rotation about an axis drawn evenly on the sphere, or about the thick one (Rodrigues)."""
    axis_B3 = torch.randn(len(angle), 3, generator=generator)
    if thick is not None:
        axis_B3 = torch.zeros_like(axis_B3)
        axis_B3[:, 2 - thick] = 1.0
    x, y, z = functional.normalize(axis_B3, dim=1).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    sine, rest = torch.sin(angle)[:, None, None], 1 - torch.cos(angle)[:, None, None]
    return torch.eye(3) + sine * cross + rest * (cross @ cross)


def _elastic_strength(
    config: AugmentConfig, patch_px: Sequence[int], spacing: tuple[float, ...], thick: int | None
) -> Tensor:
    """Standard deviation of the displacements along x, y(, z), in pixels of the finest axis."""
    if len(patch_px) == 2:
        return torch.full((2,), config.elastic_px)
    most = [
        0.0 if axis == thick else _ELASTIC_SHARE * side * mm / (config.elastic_grid - 1)
        for axis, (side, mm) in enumerate(zip(patch_px, spacing, strict=True))
    ]
    return torch.tensor(most[::-1]).clamp(max=config.elastic_px)


def apply_augmentation(
    drawn: Augmentation, image_BCS: Tensor, truth_BS: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply drawn parameters to images and masks together.

    Args:
        drawn: From :func:`draw_augmentation`.
        image_BCS: Normalised images, float32.
        truth_BS: Class ids, uint8, of the images' size.

    Returns:
        The changed images and masks, same shapes and types.

    Source: Ronneberger et al. 2015, section 3.1 (displacements on a coarse 3×3 grid,
    interpolated bicubically).

    Example:
        >>> drawn = draw_augmentation(AugmentConfig(), 2, torch.Generator().manual_seed(1))
        >>> image, truth = apply_augmentation(
        ...     drawn, torch.zeros(2, 1, 32, 32), torch.zeros(2, 32, 32, dtype=torch.uint8))
        >>> image.shape, truth.dtype
        (torch.Size([2, 1, 32, 32]), torch.uint8)
    """
    image, truth = apply_geometry(drawn, image_BCS, truth_BS)
    return apply_intensity(drawn, image), truth


def apply_geometry(
    drawn: Augmentation, image_BCS: Tensor, truth_BS: Tensor
) -> tuple[Tensor, Tensor]:
    """The geometric half: one sampling grid, linear for the image, nearest for the mask.

    Positions beyond the patch are mirrored at its border. Arguments and results are those of
    :func:`apply_augmentation`.
    """
    dims = truth_BS.ndim - 1
    images, truths = [], []
    for index in range(image_BCS.shape[0]):
        image, truth = image_BCS[index], truth_BS[index]
        for number, (a, b) in enumerate(drawn.planes):
            if drawn.swaps[index, number]:
                image, truth = image.transpose(a - dims, b - dims), truth.transpose(a, b)
        axes = [axis - dims for axis in range(dims) if drawn.flips[index, axis]]
        images.append(image.flip(axes) if axes else image)
        truths.append(truth.flip(axes) if axes else truth)
    image_BCS, truth_BS = torch.stack(images), torch.stack(truths)
    if not drawn.warp:
        return image_BCS, truth_BS
    grid_BSD = _sampling_grid(drawn, image_BCS)
    moved_BCS = functional.grid_sample(
        image_BCS, grid_BSD, padding_mode="reflection", align_corners=False
    )
    return moved_BCS, _sample_nearest(truth_BS, grid_BSD)


def _sampling_grid(drawn: Augmentation, image_BCS: Tensor) -> Tensor:
    """Where each pixel is taken from, axes in the order x, y(, z), −1 and 1 at the borders."""
    sizes, device = image_BCS.shape[2:], image_BCS.device
    dims = len(sizes)
    # Half the length of the patch along x, y(, z), in pixels of the finest axis.
    half_D = torch.tensor([n * mm / 2 for n, mm in zip(sizes, drawn.spacing, strict=True)][::-1])
    matrix_BDD = (drawn.matrix * half_D / half_D[:, None]).to(device)
    # Bicubic interpolation is separable: one small matrix an axis, not a pass over pixels.
    grid_BDS = (drawn.displacement_px / half_D.view(-1, *(1,) * dims)).to(device)
    points = grid_BDS.shape[-1]
    for size in sizes:
        weights = functional.interpolate(
            torch.eye(points, device=device)[None, None],
            (size, points),
            mode="bicubic",
            align_corners=True,
        )[0, 0]
        grid_BDS = torch.tensordot(grid_BDS, weights, dims=([2], [1]))
    for axis, size in enumerate(sizes):
        centres = (2 * torch.arange(size, device=device) + 1) / size - 1
        column_BD = matrix_BDD[:, :, dims - 1 - axis].reshape(-1, dims, *(1,) * dims)
        grid_BDS += column_BD * centres.view(-1, *(1,) * (dims - 1 - axis))
    return grid_BDS.movedim(1, -1)


def _sample_nearest(truth_BS: Tensor, grid_BSD: Tensor) -> Tensor:
    """Nearest-neighbour sampling of integers, mirrored outside; cheaper than via floats."""
    flat = torch.zeros(truth_BS.shape, dtype=torch.int32, device=truth_BS.device)
    stride = 1
    for axis, size in enumerate(reversed(truth_BS.shape[1:])):
        position = ((grid_BSD[..., axis] + 1) * (size / 2)).floor_().int()
        position = torch.where(position < 0, -1 - position, position) % (2 * size)
        flat += torch.minimum(position, 2 * size - 1 - position) * stride
        stride *= size
    return truth_BS.flatten(1).gather(1, flat.flatten(1).long()).view(truth_BS.shape)


def apply_intensity(drawn: Augmentation, image_BCS: Tensor) -> Tensor:
    """The intensity half: gamma, contrast, brightness, blur, noise, patch by patch.

    Gamma acts on each patch's own range: v' = low + range · ((v − low) / range)^γ.

    Args:
        drawn: From :func:`draw_augmentation`.
        image_BCS: Normalised images, float32; not changed.
    """
    noise = torch.Generator(device=image_BCS.device)
    changed = []
    for index, image in enumerate(image_BCS):
        gamma, contrast = float(drawn.gamma[index]), float(drawn.contrast[index])
        brightness, sigma = float(drawn.brightness[index]), float(drawn.blur_px[index])
        if gamma != 1:
            low, high = torch.aminmax(image)
            extent = (high - low).clamp(min=1e-6)
            image = ((image - low) / extent).pow_(gamma).mul_(extent).add_(low)
        if contrast != 1 or brightness != 0:
            middle = image.mean()
            image = (image - middle).mul_(contrast).add_(middle + brightness)
        if sigma > 0:
            for axis, length in enumerate(drawn.spacing):
                image = _blur(image, axis + 1, sigma / length)
        if float(drawn.noise[index]) > 0:
            noise.manual_seed(drawn.noise_seed + index)
            grain = torch.randn(image.shape, generator=noise, device=image.device)
            image = image + grain.mul_(float(drawn.noise[index]))
        changed.append(image)
    return torch.stack(changed)


def _blur(image_CS: Tensor, axis: int, sigma: float) -> Tensor:
    """A Gaussian along one axis, mirrored at the borders."""
    size = image_CS.shape[axis]
    if sigma < _NO_BLUR or size == 1:
        return image_CS
    radius = min(_MAX_BLUR_RADIUS, max(1, math.ceil(3 * sigma)), size - 1)
    positions = torch.arange(-radius, size + radius, device=image_CS.device).abs()
    mirrored = image_CS.index_select(axis, torch.minimum(positions, 2 * (size - 1) - positions))
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    total = sum(weights)
    blurred = torch.zeros_like(image_CS)
    for start, weight in enumerate(weights):
        blurred.add_(mirrored.narrow(axis, start, size), alpha=weight / total)
    return blurred
