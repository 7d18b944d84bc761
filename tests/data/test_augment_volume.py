"""Augmentation of volumes: in physical units, image and mask alike."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from maskwright.config import AugmentConfig
from maskwright.data.augment import (
    Augmentation,
    apply_augmentation,
    apply_geometry,
    apply_intensity,
    draw_augmentation,
)

SHAPE = (24, 32, 24)
STILL = AugmentConfig(
    flip=0, rotate_deg=0, scale=0, elastic_px=0, gamma=0, brightness=0, contrast=0, blur_px=0,
    noise=0,
)  # fmt: skip


def _draw(
    config: AugmentConfig,
    seed: int,
    batch: int = 3,
    shape: tuple[int, ...] = SHAPE,
    spacing: tuple[float, ...] | None = None,
) -> Augmentation:
    generator = torch.Generator().manual_seed(seed)
    return draw_augmentation(config, batch, generator, patch_px=shape, spacing_mm=spacing)


def _blobs(shape: tuple[int, ...] = SHAPE, batch: int = 3) -> torch.Tensor:
    noise = torch.randn(batch, 1, *shape, generator=torch.Generator().manual_seed(0))
    smooth = functional.avg_pool3d(noise, 7, stride=1, padding=3)
    return (smooth[:, 0] > 0).to(torch.uint8)


def test_zero_strength_changes_nothing() -> None:
    image, truth = torch.randn(3, 2, *SHAPE), _blobs()
    moved, moved_truth = apply_augmentation(_draw(STILL, 0), image, truth)
    assert torch.equal(moved, image)
    assert torch.equal(moved_truth, truth)


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (5.0, 0.7, 0.7), (0.7, 0.7, 3.0)])
@pytest.mark.parametrize("shape", [SHAPE, (16, 48, 48)])
@pytest.mark.parametrize("seed", range(2))
def test_a_mask_used_as_image_moves_identically(
    spacing: tuple[float, ...] | None, shape: tuple[int, ...], seed: int
) -> None:
    truth = _blobs(shape)
    drawn = _draw(AugmentConfig(), seed, shape=shape, spacing=spacing)
    image, moved = apply_geometry(drawn, truth[:, None].float(), truth)
    away_from_edges = (image[:, 0] < 0.01) | (image[:, 0] > 0.99)
    assert away_from_edges.float().mean() > 0.5
    assert torch.equal((image[:, 0] > 0.5)[away_from_edges], (moved > 0)[away_from_edges])
    assert not torch.equal(moved, truth)


def test_the_same_state_gives_the_same_result_and_types_stay() -> None:
    image, truth = torch.randn(3, 1, *SHAPE), _blobs() * 2
    config = AugmentConfig(share=1)
    first, second, other = (
        apply_augmentation(_draw(config, seed), image, truth) for seed in (7, 7, 8)
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])
    assert (first[0].dtype, first[1].dtype) == (torch.float32, torch.uint8)
    assert set(first[1].unique().tolist()) <= {0, 2}


@pytest.mark.parametrize(
    ("shape", "spacing", "planes"),
    [
        ((40, 40, 40), None, ((0, 1), (0, 2), (1, 2))),
        ((40, 56, 40), (1.0, 1.0, 1.0), ((0, 2),)),
        ((24, 64, 64), (3.0, 0.5, 0.5), ((1, 2),)),
        ((64, 64, 64), (3.0, 0.5, 0.5), ((1, 2),)),
        ((32, 48, 64), None, ()),
    ],
)
def test_axes_are_swapped_where_pixels_and_patch_are_equally_long(
    shape: tuple[int, ...],
    spacing: tuple[float, ...] | None,
    planes: tuple[tuple[int, int], ...],
) -> None:
    drawn = _draw(AugmentConfig(flip=1.0), 0, 2, shape, spacing)
    assert drawn.planes == planes
    assert drawn.swaps[:, : len(planes)].all()


def test_swaps_and_flips_of_volumes_are_exact() -> None:
    image = torch.randn(1, 2, 8, 10, 8)
    drawn = dataclasses.replace(
        _draw(STILL, 0, 1, (8, 10, 8)),
        flips=torch.tensor([[True, False, True]]), swaps=torch.tensor([[True]]),
    )  # fmt: skip
    truth = (image[:, 0] > 0).to(torch.uint8)
    moved, moved_truth = apply_geometry(drawn, image, truth)
    assert torch.equal(moved, image.transpose(-3, -1).flip(-3, -1))
    assert torch.equal(moved_truth, truth.transpose(-3, -1).flip(-3, -1))


def _angles(drawn: Augmentation) -> torch.Tensor:
    trace = drawn.matrix.diagonal(dim1=1, dim2=2).sum(1)
    return torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1)))


def test_volumes_turn_about_any_axis_up_to_the_largest_angle() -> None:
    still = STILL.model_copy(update={"rotate_deg": 30.0})
    drawn = _draw(still, 0, 2000)
    eye = torch.eye(3).expand(2000, 3, 3)
    torch.testing.assert_close(drawn.matrix @ drawn.matrix.mT, eye, atol=1e-5, rtol=0)
    assert torch.allclose(torch.linalg.det(drawn.matrix), torch.ones(2000), atol=1e-5)
    angles = _angles(drawn)
    assert 29 < float(angles.max()) < 30.01
    axis = torch.stack(
        [drawn.matrix[:, 2, 1] - drawn.matrix[:, 1, 2],
         drawn.matrix[:, 0, 2] - drawn.matrix[:, 2, 0],
         drawn.matrix[:, 1, 0] - drawn.matrix[:, 0, 1]], 1,
    )  # fmt: skip
    axis = functional.normalize(axis, dim=1)
    # Evenly on the sphere: each component has the variance 1/3.
    assert torch.allclose((axis**2).mean(0), torch.full((3,), 1 / 3), atol=0.05)


@pytest.mark.parametrize(("spacing", "thick"), [((5.0, 1.0, 1.2), 0), ((1.0, 1.0, 2.1), 2)])
def test_thick_slices_turn_within_their_plane_and_are_not_displaced_across(
    spacing: tuple[float, ...], thick: int
) -> None:
    drawn = _draw(STILL.model_copy(update={"rotate_deg": 60.0, "elastic_px": 9.0}), 0, 4,
                  SHAPE, spacing)  # fmt: skip
    across = torch.zeros(3)
    across[2 - thick] = 1.0
    torch.testing.assert_close(drawn.matrix @ across, across.expand(4, 3))
    assert float(drawn.displacement_px[:, 2 - thick].abs().max()) == 0
    assert float(drawn.displacement_px.abs().max()) > 0
    assert float(_angles(drawn).max()) > 5


def test_twice_as_long_is_not_yet_thick() -> None:
    drawn = _draw(AugmentConfig(), 0, 4, SHAPE, (2.0, 1.0, 1.0))
    assert float(drawn.displacement_px[:, 2].abs().max()) > 0


@pytest.mark.parametrize("shape", [(33, 65, 65), (33, 65, 49)])
def test_a_turn_moves_a_point_by_its_distance_in_millimetres(shape: tuple[int, ...]) -> None:
    spacing = (2.0, 1.0, 1.0)
    image = torch.zeros(1, 1, *shape)
    middle = [n // 2 for n in shape]
    # 20 mm from the centre along x; a quarter turn about y puts it 20 mm along z, 10 voxels.
    image[0, 0, middle[0], middle[1], middle[2] + 20] = 1.0
    quarter = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]])
    drawn = dataclasses.replace(_draw(STILL, 0, 1, shape, spacing), matrix=quarter, warp=True)
    moved, _ = apply_geometry(drawn, image, torch.zeros(1, *shape, dtype=torch.uint8))
    found = torch.tensor(torch.unravel_index(moved.argmax(), (1, 1, *shape))[2:])
    offset = (found - torch.tensor(middle)).tolist()
    assert offset in ([10, 0, 0], [-10, 0, 0])


def test_displacements_are_the_cubic_interpolation_of_the_grid_and_stay_small() -> None:
    from maskwright.data.augment import _sampling_grid

    drawn = _draw(AugmentConfig(elastic_px=50.0), 2)
    still = dataclasses.replace(drawn, displacement_px=torch.zeros_like(drawn.displacement_px))
    image = torch.zeros(3, 1, *SHAPE)
    moved = (_sampling_grid(drawn, image) - _sampling_grid(still, image)).movedim(-1, 1)
    pixels = moved * (torch.tensor(SHAPE[::-1]) / 2).view(1, 3, 1, 1, 1)
    corner = drawn.displacement_px[:, :, 0, 0, 0]
    torch.testing.assert_close(pixels[:, :, 0, 0, 0], corner, atol=1e-4, rtol=1e-4)
    # An eighth of the 12 (along y 16) pixels between grid points is one standard deviation.
    many = _draw(AugmentConfig(elastic_px=50.0), 0, 500).displacement_px
    assert many.std((0, 2, 3, 4)).tolist() == pytest.approx([1.5, 2.0, 1.5], rel=0.05)
    gentle = _draw(AugmentConfig(elastic_px=0.5), 0, 500).displacement_px
    assert float(gentle.std()) == pytest.approx(0.5, rel=0.05)


def test_blur_reaches_equally_far_in_millimetres() -> None:
    image = torch.zeros(1, 1, 15, 15, 15)
    image[..., 7, 7, 7] = 1.0
    drawn = dataclasses.replace(
        _draw(STILL, 0, 1, (15, 15, 15), (1.5, 1.0, 1.0)), blur_px=torch.tensor([1.0])
    )
    found = apply_intensity(drawn, image)[0, 0]
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    expected = [math.exp(-0.5 * 1.5**2), math.exp(-0.5), math.exp(-0.5)]
    centre = float(found[7, 7, 7])
    neighbours = [float(v) / centre for v in (found[8, 7, 7], found[7, 8, 7], found[7, 7, 8])]
    assert neighbours == pytest.approx(expected, rel=1e-4)
    thick = dataclasses.replace(drawn, spacing=(20.0, 1.0, 1.0))
    assert float(apply_intensity(thick, image)[0, 0, 8].sum()) == 0
