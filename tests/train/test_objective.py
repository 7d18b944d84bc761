"""The sum that training minimises: one prediction, several levels, or levels fused into one."""

import pytest
import torch

from maskwright.config import ModelConfig, TrainConfig
from maskwright.errors import ConfigError
from maskwright.nn.loss_target import Target
from maskwright.nn.losses import level_weights
from maskwright.nn.unet import build_unet
from maskwright.train.objective import Objective


def network(**settings):
    return build_unet(ModelConfig(depth=3, width=4, **settings), seed=0).eval()


def batch(dims=2):
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 1, *[32] * dims, generator=generator)
    return image, Target((image[:, 0] > 0.5).long())


def test_without_levels_the_sum_is_the_loss_of_the_prediction():
    plain = network()
    image, target = batch()
    objective = Objective(TrainConfig(), plain.config)
    outputs = plain(image)
    assert objective(outputs, target)[0] == objective.loss(outputs["logits"], target)[0]


def test_supervised_levels_weigh_1_half_and_a_quarter_and_the_finest_is_the_prediction():
    supervised = network(levels="supervised")
    image, target = batch()
    objective = Objective(TrainConfig(), supervised.config)
    outputs = supervised(image)
    strides = [(1, 1), (2, 2), (4, 4)]
    expected = objective.loss.of_levels(outputs["levels"], strides, target)
    assert level_weights(3) == pytest.approx((4 / 7, 2 / 7, 1 / 7))
    assert float(objective(outputs, target)[0]) == pytest.approx(float(expected), abs=1e-6)


def test_a_fused_network_has_the_loss_of_the_fusion_and_of_its_levels():
    fused = network(levels="fused")
    image, target = batch()
    objective = Objective(TrainConfig(loss="ce"), fused.config)
    outputs = fused(image)
    levels = objective.loss.of_levels(outputs["levels"], [(1, 1), (2, 2), (4, 4)], target)
    expected = float(objective.loss(outputs["logits"], target)[0] + levels)
    assert float(objective(outputs, target)[0]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("levels", ["supervised", "fused"])
def test_every_weight_of_a_network_with_levels_learns(levels, padding):
    learning = build_unet(ModelConfig(depth=2, width=4, levels=levels, padding=padding), seed=0)
    image = torch.randn(1, 1, 60, 60, generator=torch.Generator().manual_seed(2))
    outputs = learning(image)
    size = outputs["logits"].shape[-1]
    border = (60 - size) // 2
    truth = (image[:, 0] > 0.5).long()[:, border : border + size, border : border + size]
    Objective(TrainConfig(), learning.config)(outputs, Target(truth))[0].backward()
    without = [n for n, p in learning.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_the_image_label_adds_its_weighted_cross_entropy():
    two = network(image_classes=2)
    image, target = batch()
    outputs = two(image)
    plain = Objective(TrainConfig(image_loss=0), two.config)(outputs, target)[0]
    labels = torch.tensor([1, 0])
    labelled = Target(target.truth, image_labels=labels)
    total = Objective(TrainConfig(image_loss=0.5), two.config)(outputs, labelled)[0]
    log_p = outputs["image_logits"].log_softmax(1)
    expected = -(log_p[0, 1] + log_p[1, 0]) / 2
    assert float(total - plain) == pytest.approx(0.5 * float(expected), abs=1e-6)


def test_an_image_head_without_labels_is_refused():
    two = network(image_classes=2)
    image, target = batch()
    with pytest.raises(ConfigError, match=r"image_classes.*image-labels-none"):
        Objective(TrainConfig(), two.config)(two(image), target)
