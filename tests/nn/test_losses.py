"""Every loss: gradients against finite differences, ignored pixels, extremes, empties, levels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch

from maskwright.config import TrainConfig
from maskwright.data.weightmap import loss_maps
from maskwright.errors import ConfigError, DataError
from maskwright.loss_terms import TERMS, LossSettings
from maskwright.nn.loss_target import Target, pooled
from maskwright.nn.losses import SegmentationLoss, level_weights

SUM = "dice+0.5*ce+0.1*border_ce+focal+tversky"
LOSSES = [*TERMS, SUM]
SHAPES = [(7, 6), (3, 4, 5)]
OUTPUTS = ["softmax", "sigmoid"]
VARIANTS = {
    "plain": LossSettings(),
    "weighted": LossSettings(class_weights=(0.5, 2.0, 0.0)),
    "varied": LossSettings(
        dice_per_sample=True, dice_squared=True, focal_gamma=0.5, focal_tversky_gamma=0.75,
        topk_share=0.4, cldice_iterations=2,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are tiny
    yield
    torch.set_num_threads(before)


def _loss(name: str, output: str = "softmax", variant: str = "plain") -> SegmentationLoss:
    config = TrainConfig(loss=name, loss_settings=VARIANTS[variant])
    return SegmentationLoss(config, classes=3, output=output)  # type: ignore[arg-type]


def _draw(
    size: tuple[int, ...], output: str, *, soft: bool, masked: bool, empty: bool = False
) -> tuple[torch.Tensor, Target]:
    """Scores of 3 classes for 2 patches and a target with every map."""
    generator = torch.Generator().manual_seed(len(size) + 2 * soft + 4 * masked)
    logits = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64) * 2
    ids = torch.randint(3, (2, *size), generator=generator)
    if empty:
        ids = torch.zeros_like(ids)
    overlapping = output == "sigmoid"
    shares = torch.nn.functional.one_hot(ids, 3).movedim(-1, 1)
    hard = shares if overlapping else ids
    maps = loss_maps(
        ["border_map", "distance_map"], hard.numpy(), classes=3, settings=LossSettings(),
        objects=ids.numpy(), overlapping=overlapping,
    )  # fmt: skip
    truth = hard
    if soft:
        noise = torch.rand(shares.shape, generator=generator, dtype=torch.float64)
        truth = 0.7 * shares + 0.3 * (noise / noise.sum(1, keepdim=True))
    valid = torch.rand(ids.shape, generator=generator) > 0.3 if masked else None
    tensors = {name: torch.from_numpy(values).double() for name, values in maps.items()}
    return logits, Target(truth, valid, **tensors)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_agree_with_finite_differences(name: str, output: str, variant: str) -> None:
    loss = _loss(name, output, variant)
    cases = itertools.product(SHAPES, (False, True), (False, True), (False, True))
    for size, soft, masked, empty in cases:
        logits, target = _draw(size, output, soft=soft, masked=masked, empty=empty)
        logits.requires_grad_()
        assert torch.autograd.gradcheck(
            lambda x: loss(x, target)[0],  # noqa: B023
            (logits,), fast_mode=True,
        ), (size, soft, masked, empty)  # fmt: skip


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", LOSSES)
def test_every_single_derivative_agrees_on_a_small_patch(name: str, output: str) -> None:
    loss = _loss(name, output)
    logits, target = _draw((4, 3), output, soft=False, masked=True)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, target)[0], (logits,))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_get_gradient_zero_and_change_nothing(
    name: str, output: str, soft: bool
) -> None:
    loss = _loss(name, output)
    logits, target = _draw((6, 7), output, soft=soft, masked=False)
    valid = torch.zeros((2, 6, 7), dtype=torch.bool)
    valid[:, :4] = True
    ignored = Target(target.truth, valid, target.border_map, target.distance_map)
    logits.requires_grad_()
    value, dice = loss(logits, ignored)
    value.backward()
    assert logits.grad is not None
    assert not logits.grad[..., 4:, :].any()
    assert logits.grad[..., :4, :].any()
    other = target.truth.clone()
    other[..., 4:, :] = float("nan") if soft else 255
    again = loss(logits, Target(other, valid, target.border_map, target.distance_map))
    torch.testing.assert_close(again, (value, dice), rtol=0, atol=0)
    if name != "cldice":  # its skeleton ends at an ignored region, not at the patch's own edge
        cut = [t[..., :4, :] for t in (target.truth, target.border_map, target.distance_map)]
        alone = loss(logits[..., :4, :], Target(cut[0], None, *cut[1:]))
        torch.testing.assert_close(alone, (value, dice))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", LOSSES)
def test_extreme_scores_keep_loss_and_gradient_finite(
    name: str, output: str, variant: str, masked: bool
) -> None:
    loss = _loss(name, output, variant)
    for size, sign, empty in itertools.product(SHAPES, (1, -1), (False, True)):
        logits, target = _draw(size, output, soft=False, masked=masked, empty=empty)
        extreme = (logits.sign() * sign * 1e4).float().requires_grad_()
        value, dice = loss(extreme, target)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(dice).all()
        assert extreme.grad is not None
        assert torch.isfinite(extreme.grad).all()


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", LOSSES)
def test_nothing_valid_costs_nothing_and_pulls_at_nothing(name: str, output: str) -> None:
    logits, target = _draw((5, 4), output, soft=False, masked=False)
    nothing = Target(
        target.truth, torch.zeros(2, 5, 4, dtype=torch.bool), target.border_map,
        target.distance_map,
    )  # fmt: skip
    logits.requires_grad_()
    value, dice = _loss(name, output)(logits, nothing)
    value.backward()
    assert float(value.detach()) == pytest.approx(0, abs=1e-4)
    assert dice.tolist() == [1, 1, 1]
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_falls_as_a_prediction_nears_the_truth_and_ends_at_zero(
    name: str, output: str
) -> None:
    _, target = _draw((9, 8), output, soft=False, masked=False)
    shares = target.truth
    if output == "softmax":
        shares = torch.nn.functional.one_hot(target.truth, 3).movedim(-1, 1)
    values = [
        float(_loss(name, output)((2.0 * shares - 1) * certainty, target)[0])
        for certainty in (-4.0, -1.0, 0.0, 0.5, 1.0, 3.0, 40.0)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[2] > values[-1]
    assert values[-1] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", ["dice", "tversky", "focal_tversky", "ce"])
@pytest.mark.parametrize("variant", ["plain", "varied"])
def test_of_a_soft_truth_the_truth_itself_is_the_best_prediction(name: str, variant: str) -> None:
    loss = _loss(name, variant=variant)
    _, target = _draw((6, 5), "softmax", soft=True, masked=False)
    right = target.truth.log()
    best = float(loss(right, target)[0])
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = right + 0.3 * torch.randn(right.shape, generator=generator, dtype=torch.float64)
        assert float(loss(other, target)[0]) > best
    if name != "ce":
        assert best == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_ids_and_their_masks_cost_the_same(name: str) -> None:
    for variant in VARIANTS:
        loss = _loss(name, variant=variant)
        logits, target = _draw((6, 5), "softmax", soft=False, masked=True)
        masks = torch.nn.functional.one_hot(target.truth, 3).movedim(-1, 1).bool()
        other = Target(masks, target.valid, target.border_map, target.distance_map)
        torch.testing.assert_close(loss(logits, other), loss(logits, target))


def test_a_sum_adds_its_terms_by_their_weights() -> None:
    logits, target = _draw((6, 5), "softmax", soft=False, masked=True)
    parts = {name: float(_loss(name)(logits, target)[0]) for name in TERMS}
    expected = (
        parts["dice"] + 0.5 * parts["ce"] + 0.1 * parts["border_ce"] + parts["focal"]
        + parts["tversky"]
    )  # fmt: skip
    assert float(_loss(SUM)(logits, target)[0]) == pytest.approx(expected)


@pytest.mark.parametrize("name", LOSSES)
def test_the_dice_beside_the_loss_is_that_of_the_batch_whatever_the_loss(name: str) -> None:
    logits, target = _draw((6, 5), "softmax", soft=False, masked=True)
    logits.requires_grad_()
    expected = _loss("dice")(logits, target)[1]
    for variant in VARIANTS:
        found = _loss(name, variant=variant)(logits, target)[1]
        assert not found.requires_grad
        torch.testing.assert_close(found, expected.detach())


def test_level_weights_halve_and_sum_to_one() -> None:
    assert level_weights(3) == pytest.approx((4 / 7, 2 / 7, 1 / 7))
    assert level_weights(1) == (1,)
    assert level_weights(0) == ()


def test_a_level_is_compared_with_the_shares_of_what_it_covers() -> None:
    truth = torch.tensor([[[0, 1, 2, 2], [1, 1, 2, 2]]])
    valid = torch.ones(1, 2, 4, dtype=torch.bool)
    valid[0, 0, 0] = valid[0, :, 2:] = False
    kept, coarse = pooled(torch.zeros(1, 3, 1, 2), Target(truth, valid), (2, 2))
    assert kept.shape == (1, 3, 1, 2)
    assert coarse.truth[0, :, 0, 0].tolist() == [0, 1, 0]
    assert coarse.valid is not None
    assert coarse.valid.tolist() == [[[True, False]]]
    coarse = pooled(torch.zeros(1, 3, 1, 2), Target(truth), (2, 2))[1]
    assert coarse.truth[0, :, 0].T.tolist() == [[0.25, 0.75, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("full", "level", "stride", "whole"), [(388, 196, 2, 194), (388, 100, 4, 96), (388, 52, 8, 48)]
)
def test_levels_of_the_published_network_lie_on_the_middle_of_its_output(
    full: int, level: int, stride: int, whole: int
) -> None:
    margin = (level * stride - full) // 2
    position = torch.arange(level * stride) - margin  # in pixels of the output
    grid = position.float().view(level, stride).mean(1).expand(1, 2, level)
    truth = torch.arange(full).float().expand(1, 2, full)
    kept, coarse = pooled(grid, Target(truth), (stride,))
    torch.testing.assert_close(kept, coarse.truth)
    assert kept.shape[-1] == whole


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", LOSSES)
def test_levels_of_every_loss_have_gradients_also_where_axes_differ(name: str, output: str) -> None:
    _, target = _draw((4, 8, 8), output, soft=False, masked=True)
    strides = [(1, 1, 1), (1, 2, 2), (2, 4, 4)]
    levels = [
        torch.randn(2, 3, *(n // s for n, s in zip((4, 8, 8), stride, strict=True)),
                    dtype=torch.float64, requires_grad=True)
        for stride in strides
    ]  # fmt: skip
    loss = _loss(name, output)
    total = loss.of_levels(levels, strides, target)
    first = level_weights(3)[0] * loss(levels[0], target)[0]
    alone = loss.of_levels(levels[:1], strides[:1], target, weights=level_weights(3)[:1])
    torch.testing.assert_close(alone, first)
    total.backward()
    assert all(level.grad is not None and level.grad.any() for level in levels)
    assert float(loss.of_levels([], [], target)) == 0


def test_a_level_beyond_the_target_is_refused() -> None:
    with pytest.raises(DataError, match="larger patches") as caught:
        pooled(torch.zeros(1, 2, 3), Target(torch.zeros(1, 4).long()), (8,))
    assert caught.value.code == "level-size"
    with pytest.raises(DataError) as caught:
        pooled(torch.zeros(1, 2, 3, 3), Target(torch.zeros(1, 4, 4).long()), (2,))
    assert caught.value.code == "level-axes"


@pytest.mark.parametrize("part", ["truth", "valid", "border_map", "distance_map"])
def test_a_target_of_another_shape_is_refused_by_name(part: str) -> None:
    logits = torch.zeros(2, 3, 4, 4)
    parts = {"truth": torch.zeros(2, 4, 4).long(), part: torch.zeros(2, 5, 4).long()}
    with pytest.raises(DataError, match=part) as caught:
        _loss("ce")(logits, Target(**parts))
    assert caught.value.code == "loss-shape"


@pytest.mark.parametrize(
    ("name", "code"), [("border_ce", "loss-objects-missing"), ("boundary", "loss-map-missing")]
)
def test_a_missing_map_is_said(name: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _loss(name)(torch.zeros(1, 3, 4, 4), Target(torch.zeros(1, 4, 4).long()))
    assert caught.value.code == code


def test_class_weights_must_fit_the_classes() -> None:
    config = TrainConfig(loss_settings=LossSettings(class_weights=(1, 2)))
    with pytest.raises(ConfigError, match="3 numbers") as caught:
        SegmentationLoss(config, classes=3)
    assert caught.value.code == "loss-class-weights"


def test_balanced_classes_need_their_pixels() -> None:
    config = TrainConfig(loss="ce", loss_settings=LossSettings(balance_classes=True))
    with pytest.raises(ConfigError) as caught:
        SegmentationLoss(config, classes=3)
    assert caught.value.code == "loss-counts-missing"
    logits, target = _draw((6, 5), "softmax", soft=False, masked=False)
    weights = LossSettings(class_weights=(10 / 3, 100 / 60, 100 / 210))
    expected = SegmentationLoss(TrainConfig(loss="ce", loss_settings=weights), classes=3)
    found = SegmentationLoss(config, classes=3, pixels_per_class=(10, 20, 70))
    torch.testing.assert_close(found(logits, target), expected(logits, target))
