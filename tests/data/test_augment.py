"""Augmentation: drawn once, applied to image and mask alike."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from maskwright.config import AugmentConfig
from maskwright.data.augment import (
    Augmentation,
    apply_augmentation,
    apply_geometry,
    apply_intensity,
    draw_augmentation,
)

STILL = AugmentConfig(
    flip=0, rotate_deg=0, scale=0, elastic_px=0, gamma=0, brightness=0, contrast=0, blur_px=0,
    noise=0,
)  # fmt: skip


def _draw(config: AugmentConfig, seed: int, batch: int = 4) -> Augmentation:
    return draw_augmentation(config, batch, torch.Generator().manual_seed(seed))


def _blobs(batch: int = 4, size: int = 64) -> torch.Tensor:
    noise = torch.randn(batch, 1, size, size, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 9, stride=1, padding=4)
    return (smooth[:, 0] > 0).to(torch.uint8)


def test_zero_strength_changes_nothing() -> None:
    image = torch.randn(4, 2, 32, 32)
    truth = _blobs(size=32)
    moved, moved_truth = apply_augmentation(_draw(STILL, 0), image, truth)
    assert torch.equal(moved, image)
    assert torch.equal(moved_truth, truth)


@pytest.mark.parametrize("seed", range(5))
def test_a_mask_used_as_image_moves_identically(seed: int) -> None:
    truth = _blobs()
    drawn = _draw(AugmentConfig(), seed)
    image, moved = apply_geometry(drawn, truth[:, None].float(), truth)
    # Bilinear and nearest differ within a pixel of an edge only.
    away_from_edges = (image[:, 0] < 0.01) | (image[:, 0] > 0.99)
    assert away_from_edges.float().mean() > 0.6
    assert torch.equal((image[:, 0] > 0.5)[away_from_edges], (moved > 0)[away_from_edges])


def test_the_nearest_sampling_is_pytorchs() -> None:
    truth = _blobs()
    drawn = _draw(AugmentConfig(elastic_px=12), 3)
    from maskwright.data.augment import _sample_nearest, _sampling_grid

    grid = _sampling_grid(drawn, truth[:, None].float())
    expected = torch.nn.functional.grid_sample(
        truth[:, None].float(),
        grid,
        mode="nearest",
        padding_mode="reflection",
        align_corners=False,
    )[:, 0]
    agreement = (expected == _sample_nearest(truth, grid)).float().mean()
    assert agreement > 0.999  # rounding at exact pixel borders


def test_classes_stay_classes_and_types_stay_types() -> None:
    truth = _blobs() * 3
    image, moved = apply_augmentation(_draw(AugmentConfig(), 1), torch.randn(4, 1, 64, 64), truth)
    assert moved.dtype == torch.uint8
    assert set(moved.unique().tolist()) <= {0, 3}
    assert image.dtype == torch.float32


def test_the_same_generator_state_gives_the_same_result() -> None:
    image, truth = torch.randn(4, 1, 64, 64), _blobs()
    first = apply_augmentation(_draw(AugmentConfig(share=1), 7), image, truth)
    second = apply_augmentation(_draw(AugmentConfig(share=1), 7), image, truth)
    other = apply_augmentation(_draw(AugmentConfig(share=1), 8), image, truth)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize(
    ("flip_y", "flip_x", "swap"),
    [(True, False, False), (False, True, False), (False, False, True), (True, True, True)],
)
def test_mirrorings_and_turns_are_exact(flip_y: bool, flip_x: bool, swap: bool) -> None:
    image = torch.randn(1, 1, 8, 8)
    drawn = dataclasses.replace(
        _draw(STILL, 0, batch=1),
        flips=torch.tensor([[flip_y, flip_x]]), swaps=torch.tensor([[swap]]),
    )  # fmt: skip
    expected = image.mT if swap else image
    axes = [a for a, on in ((-2, flip_y), (-1, flip_x)) if on]
    expected = expected.flip(axes) if axes else expected
    moved, _ = apply_geometry(drawn, image, torch.zeros(1, 8, 8, dtype=torch.uint8))
    assert torch.equal(moved, expected)


def test_rotation_turns_about_the_centre_by_the_drawn_angle() -> None:
    image = torch.zeros(1, 1, 65, 65)
    image[0, 0, 32, 52] = 1.0  # 20 px right of the centre
    quarter = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    drawn = dataclasses.replace(_draw(STILL, 0, batch=1), matrix=quarter, warp=True)
    moved, _ = apply_geometry(drawn, image, torch.zeros(1, 65, 65, dtype=torch.uint8))
    row, column = divmod(int(moved.argmax()), 65)
    assert {(row, column)} <= {(12, 32), (52, 32)}


def test_intensity_changes_leave_the_argument_alone_and_follow_the_parameters() -> None:
    image = torch.randn(1, 1, 32, 32)
    kept = image.clone()
    drawn = dataclasses.replace(
        _draw(STILL, 0, batch=1), contrast=torch.tensor([2.0]), brightness=torch.tensor([0.5])
    )
    changed = apply_intensity(drawn, image)
    assert torch.equal(image, kept)
    torch.testing.assert_close(changed, (image - image.mean()) * 2 + image.mean() + 0.5)


def test_gamma_keeps_the_range_and_the_order() -> None:
    image = torch.randn(1, 1, 16, 16)
    drawn = dataclasses.replace(_draw(STILL, 0, batch=1), gamma=torch.tensor([1.7]))
    changed = apply_intensity(drawn, image)
    torch.testing.assert_close(changed.min(), image.min())
    torch.testing.assert_close(changed.max(), image.max())
    assert torch.equal(changed.flatten().argsort(), image.flatten().argsort())


def test_blur_keeps_the_mean_and_lowers_the_variance() -> None:
    image = torch.randn(1, 1, 64, 64)
    drawn = dataclasses.replace(_draw(STILL, 0, batch=1), blur_px=torch.tensor([1.0]))
    changed = apply_intensity(drawn, image)
    assert float(changed.mean()) == pytest.approx(float(image.mean()), abs=0.02)
    assert changed.var() < 0.3 * image.var()


def test_displacements_are_the_bicubic_interpolation_of_the_coarse_grid() -> None:
    from maskwright.data.augment import _sampling_grid

    drawn = _draw(AugmentConfig(), 2)
    still = dataclasses.replace(drawn, displacement_px=torch.zeros_like(drawn.displacement_px))
    image = torch.zeros(4, 1, 48, 48)
    found = (_sampling_grid(drawn, image) - _sampling_grid(still, image)).movedim(-1, 1)
    expected = torch.nn.functional.interpolate(
        drawn.displacement_px * 2 / 48, (48, 48), mode="bicubic", align_corners=True
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
