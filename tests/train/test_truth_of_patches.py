"""Pixels that do not count and shared pixels reach the loss, moved as the image is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from maskwright.config import AugmentConfig, ModelConfig, TrainConfig
from maskwright.data.intensity import Intensity
from maskwright.data.labelmap import IGNORED
from maskwright.data.sampler import Patches, PatchSampler, Source, blend
from maskwright.nn.unet import build_unet
from maskwright.train.stepper import Stepper

FLIPS_ONLY = AugmentConfig(rotate_deg=0, scale=0, elastic_px=0, share=0)
SIDE = 16


def _stepper(classes: int = 2, **settings: object) -> Stepper:
    config = TrainConfig(steps=4, batch=4, patch_px=SIDE, seed=2, augment=FLIPS_ONLY, **settings)
    model = ModelConfig(depth=1, width=4, classes=classes)
    return Stepper(build_unet(model, seed=0), config, "contiguous", "float32")


def _patches(
    image: NDArray[np.generic], truth: NDArray[np.generic], **more: NDArray[np.generic]
) -> Patches:
    return Patches(
        image[:, None].astype(np.float32), truth.astype(np.uint8), ("a",) * len(image), **more
    )


@pytest.fixture
def classes() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 2, (4, SIDE, SIDE)).astype(np.uint8)


@pytest.fixture
def counts() -> NDArray[np.bool_]:
    return np.random.default_rng(1).random((4, SIDE, SIDE)) < 0.7


def test_where_pixels_count_moves_with_the_image(
    classes: NDArray[np.uint8], counts: NDArray[np.bool_]
) -> None:
    truth = np.where(counts, classes, IGNORED)
    image, target = _stepper().prepare(_patches(counts, truth), 0)
    assert target.valid is not None
    assert torch.equal(image[:, 0] > 0.5, target.valid)
    assert not torch.equal(target.valid, torch.from_numpy(counts))  # mirrored indeed
    assert int(target.truth.max()) == 1


def test_pixels_that_do_not_count_give_no_gradient(
    classes: NDArray[np.uint8], counts: NDArray[np.bool_]
) -> None:
    stepper = _stepper()
    _, target = stepper.prepare(_patches(classes, np.where(counts, classes, IGNORED)), 0)
    logits = torch.randn(4, 2, SIDE, SIDE, requires_grad=True)
    stepper.objective({"logits": logits}, target)[0].backward()
    assert logits.grad is not None
    assert target.valid is not None
    assert float(logits.grad.abs().amax(1)[~target.valid].max()) == 0
    assert float(logits.grad.abs().amax(1)[target.valid].min()) > 0


def test_where_all_pixels_count_nothing_is_masked(classes: NDArray[np.uint8]) -> None:
    _, target = _stepper().prepare(_patches(classes, classes), 0)
    assert target.valid is None
    assert target.truth.dtype == torch.uint8


def test_shares_move_with_the_image_and_sum_to_one() -> None:
    shares = np.random.default_rng(3).integers(0, 241, (4, SIDE, SIDE)) / 240
    hard = (shares >= 0.5).astype(np.uint8)
    other = 1 - hard
    blended = blend(other, np.where(other == 1, shares, 1 - shares).astype(np.float32))
    image, target = _stepper().prepare(_patches(shares, hard, blend_BS=blended), 0)
    assert target.truth.shape == (4, 2, SIDE, SIDE)
    torch.testing.assert_close(target.truth[:, 1], image[:, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(target.truth.sum(1), torch.ones(4, SIDE, SIDE))


def test_two_annotators_share_the_pixels_they_disagree_on() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.integers(0, 3, (2, 4, SIDE, SIDE)).astype(np.uint8)
    blended = blend(second, np.full(second.shape, 0.5, np.float32))
    ids = first + 3 * second
    image, target = _stepper(3).prepare(_patches(ids, first, blend_BS=blended), 1)
    moved = image[:, 0].round().long()
    one_hot = torch.nn.functional.one_hot
    mean = (one_hot(moved % 3, 3) + one_hot(moved // 3, 3)).movedim(-1, 1) / 2
    torch.testing.assert_close(target.truth, mean)


def test_ignored_and_shared_pixels_may_meet(counts: NDArray[np.bool_]) -> None:
    stepper = _stepper()
    truth = np.where(counts, 1, IGNORED)
    blended = blend(np.zeros(counts.shape, np.uint8), np.full(counts.shape, 0.25, np.float32))
    image, target = stepper.prepare(_patches(counts, truth, blend_BS=blended), 0)
    assert target.valid is not None
    assert torch.equal(image[:, 0] > 0.5, target.valid)
    assert set(target.truth[:, 1][target.valid].tolist()) == {0.75}
    result = stepper.update(image, target, 0, 1e-3)
    assert np.isfinite(result.loss)


def test_numbered_objects_and_ignored_pixels_travel_together(
    classes: NDArray[np.uint8], counts: NDArray[np.bool_]
) -> None:
    stepper = _stepper(loss="dice+border_ce")
    truth = np.where(counts, classes, IGNORED)
    objects = np.where(classes == 1, np.arange(classes.size).reshape(classes.shape) % 5000 + 1, 0)
    _, target = stepper.prepare(_patches(counts, truth, objects_BS=objects.astype(np.int32)), 0)
    assert target.border_map is not None
    assert target.valid is not None


def test_patches_are_not_centred_where_nothing_counts() -> None:
    truth = np.full((200, 200), IGNORED, np.uint8)
    truth[150:160, 150:160] = 0
    truth[155, 155] = 1
    image = np.zeros((1, 200, 200), np.uint8)
    source = Source("a", image, truth, Intensity((0.0,), (1.0,)))
    sampler = PatchSampler(
        [source], channels=1, classes=2, batch=8, patch_px=SIDE, border_px=0,
        foreground_share=1.0, seed=0,
    )  # fmt: skip
    drawn = sampler.draw(0).truth_BS
    assert all((patch != IGNORED).any() for patch in drawn)
