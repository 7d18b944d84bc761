"""Random changes of training patches: draw the parameters first, then apply them.

One resampling does all geometry (mirroring, turning, scaling, elastic deformation), the same for
image and mask; then the intensities of the image change. Everything is batched tensor code and
runs on whatever device holds the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from maskwright.config import AugmentConfig

_MAX_BLUR_RADIUS = 3


@dataclass(frozen=True)
class Augmentation:
    """Drawn parameters for a batch of B patches.

    Args:
        flip_y: Whether to mirror top and bottom, shape ``(B,)`` bool.
        flip_x: Whether to mirror left and right, shape ``(B,)`` bool.
        transpose: Whether to swap the axes, shape ``(B,)`` bool.
        matrix: Rotation and scaling, output to input positions, shape ``(B, 2, 2)``.
        displacement_px: Displacements (x, y) on the coarse grid, shape ``(B, 2, n, n)``.
        warp: Whether ``matrix`` and ``displacement_px`` change anything.
        gamma: Exponent, shape ``(B,)``.
        contrast: Factor, shape ``(B,)``.
        brightness: Shift, shape ``(B,)``.
        blur_px: Standard deviation of the blur, shape ``(B,)``; 0 means none.
        noise: Standard deviation of the noise, shape ``(B,)``; 0 means none.
        noise_seed: Seed of the noise itself.
    """

    flip_y: Tensor
    flip_x: Tensor
    transpose: Tensor
    matrix: Tensor
    displacement_px: Tensor
    warp: bool
    gamma: Tensor
    contrast: Tensor
    brightness: Tensor
    blur_px: Tensor
    noise: Tensor
    noise_seed: int


def draw_augmentation(
    config: AugmentConfig, batch: int, generator: torch.Generator
) -> Augmentation:
    """Draw the parameters for one batch.

    Args:
        config: Strengths and probabilities.
        batch: Number of patches.
        generator: Source of randomness; the same state gives the same parameters.

    Example:
        >>> drawn = draw_augmentation(AugmentConfig(), 4, torch.Generator().manual_seed(1))
        >>> drawn.matrix.shape
        torch.Size([4, 2, 2])
    """

    def uniform(largest: float) -> Tensor:
        return (torch.rand(batch, generator=generator) * 2 - 1) * largest

    def happens(probability: float) -> Tensor:
        return torch.rand(batch, generator=generator) < probability

    angle = uniform(math.radians(config.rotate_deg))
    size = torch.exp(uniform(math.log1p(config.scale)))
    cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
    matrix = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
    grid = config.elastic_grid
    displacement = torch.randn(batch, 2, grid, grid, generator=generator) * config.elastic_px
    log_gamma = uniform(math.log1p(config.gamma)) * happens(config.share)
    return Augmentation(
        flip_y=happens(config.flip),
        flip_x=happens(config.flip),
        transpose=happens(config.flip),
        matrix=matrix,
        displacement_px=displacement,
        warp=config.rotate_deg > 0 or config.scale > 0 or config.elastic_px > 0,
        gamma=torch.exp(log_gamma),
        contrast=torch.exp(uniform(math.log1p(config.contrast)) * happens(config.share)),
        brightness=uniform(config.brightness) * happens(config.share),
        blur_px=uniform(config.blur_px).abs() * happens(config.share),
        noise=uniform(config.noise).abs() * happens(config.share),
        noise_seed=int(torch.randint(2**31, (1,), generator=generator)),
    )


def apply_augmentation(
    drawn: Augmentation, image_BCYX: Tensor, truth_BYX: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply drawn parameters to images and masks together.

    Args:
        drawn: From :func:`draw_augmentation`.
        image_BCYX: Normalised images, float32, shape ``(B, C, Y, X)``, Y equal to X.
        truth_BYX: Class ids, uint8, shape ``(B, Y, X)``.

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
    image, truth = apply_geometry(drawn, image_BCYX, truth_BYX)
    return apply_intensity(drawn, image), truth


def apply_geometry(
    drawn: Augmentation, image_BCYX: Tensor, truth_BYX: Tensor
) -> tuple[Tensor, Tensor]:
    """The geometric half: one sampling grid, bilinear for the image, nearest for the mask.

    Positions beyond the patch are mirrored at its border. Arguments and results are those of
    :func:`apply_augmentation`.
    """
    images, truths = [], []
    for index in range(image_BCYX.shape[0]):
        image, truth = image_BCYX[index], truth_BYX[index]
        if drawn.transpose[index]:
            image, truth = image.mT, truth.mT
        axes = [a for a, flips in ((-2, drawn.flip_y), (-1, drawn.flip_x)) if flips[index]]
        images.append(image.flip(axes) if axes else image)
        truths.append(truth.flip(axes) if axes else truth)
    image_BCYX, truth_BYX = torch.stack(images), torch.stack(truths)
    if not drawn.warp:
        return image_BCYX, truth_BYX
    grid_BYX2 = _sampling_grid(drawn, image_BCYX)
    moved_BCYX = functional.grid_sample(
        image_BCYX, grid_BYX2, padding_mode="reflection", align_corners=False
    )
    return moved_BCYX, _sample_nearest(truth_BYX, grid_BYX2)


def _sampling_grid(drawn: Augmentation, image_BCYX: Tensor) -> Tensor:
    size = image_BCYX.shape[-1]
    device = image_BCYX.device
    batch = image_BCYX.shape[0]
    matrix = torch.cat([drawn.matrix, torch.zeros(batch, 2, 1)], -1).to(device)
    grid = functional.affine_grid(matrix, [batch, 1, size, size], align_corners=False)
    # Bicubic interpolation is separable: one small matrix for both axes, not a pass over pixels.
    points = drawn.displacement_px.shape[-1]
    weights = functional.interpolate(
        torch.eye(points, device=device)[None, None],
        (size, points),
        mode="bicubic",
        align_corners=True,
    )[0, 0]
    displacement = weights @ (drawn.displacement_px.to(device) * (2 / size)) @ weights.mT
    return grid + displacement.movedim(1, -1)


def _sample_nearest(truth_BYX: Tensor, grid_BYX2: Tensor) -> Tensor:
    """Nearest-neighbour sampling of integers, mirrored outside; cheaper than via floats."""
    batch, height, width = truth_BYX.shape
    flat = torch.zeros(truth_BYX.shape, dtype=torch.int32, device=truth_BYX.device)
    for axis, size, stride in ((0, width, 1), (1, height, width)):
        position = ((grid_BYX2[..., axis] + 1) * (size / 2)).floor_().int()
        position = torch.where(position < 0, -1 - position, position) % (2 * size)
        flat += torch.minimum(position, 2 * size - 1 - position) * stride
    return truth_BYX.flatten(1).gather(1, flat.flatten(1).long()).view(batch, height, width)


def apply_intensity(drawn: Augmentation, image_BCYX: Tensor) -> Tensor:
    """The intensity half: gamma, contrast, brightness, blur, noise, patch by patch.

    Gamma acts on each patch's own range: v' = low + range · ((v − low) / range)^γ.

    Args:
        drawn: From :func:`draw_augmentation`.
        image_BCYX: Normalised images, float32; not changed.
    """
    noise = torch.Generator(device=image_BCYX.device).manual_seed(drawn.noise_seed)
    changed = []
    for index, image in enumerate(image_BCYX):
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
            image = _blur(image, sigma)
        if float(drawn.noise[index]) > 0:
            grain = torch.randn(image.shape, generator=noise, device=image.device)
            image = image + grain.mul_(float(drawn.noise[index]))
        changed.append(image)
    return torch.stack(changed)


def _blur(image_CYX: Tensor, sigma: float) -> Tensor:
    radius = min(_MAX_BLUR_RADIUS, max(1, math.ceil(3 * sigma)), image_CYX.shape[-1] - 1)
    positions = torch.arange(-radius, radius + 1, device=image_CYX.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (positions / sigma) ** 2)
    kernel = kernel / kernel.sum()
    image = functional.pad(image_CYX[:, None], [radius] * 4, mode="reflect")
    image = functional.conv2d(image, kernel.view(1, 1, 1, -1))
    return functional.conv2d(image, kernel.view(1, 1, -1, 1))[:, 0]
