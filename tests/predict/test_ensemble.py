"""Several networks as one: the mean of what they say."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.config import ModelConfig, PredictConfig
from maskwright.nn.unet import build_unet
from maskwright.predict.engine import torch_engine
from maskwright.predict.ensemble import mean_engine
from maskwright.workflow.predictor import Predictor

MODEL = ModelConfig(depth=1, width=4, image_classes=2, levels="fused")
EXACT = PredictConfig(precision="float32", tile_px=32)


def test_every_output_is_the_mean_of_the_members() -> None:
    batch = np.random.default_rng(0).normal(size=(2, 1, 32, 32)).astype(np.float32)
    engines = [torch_engine(build_unet(MODEL, seed=seed), levels=True) for seed in range(3)]
    found = mean_engine(engines)(batch)
    said = [engine(batch) for engine in engines]
    for key in ("probabilities", "image_probabilities"):
        np.testing.assert_allclose(found[key], np.mean([s[key] for s in said], 0), atol=1e-6)  # type: ignore[literal-required]
    for level, array in enumerate(found["levels"]):
        expected = np.mean([s["levels"][level] for s in said], 0)
        np.testing.assert_allclose(array, expected, atol=1e-6)
    np.testing.assert_allclose(found["probabilities"].sum(1), 1, atol=1e-5)


def test_one_member_is_itself() -> None:
    engine = torch_engine(build_unet(MODEL))
    assert mean_engine([engine]) is engine


@pytest.mark.parametrize("ways", [(), ("flip",)])
def test_a_tiled_ensemble_equals_the_mean_of_whole_predictions(ways: tuple[str, ...]) -> None:
    settings = EXACT.model_copy(update={"tta": ways})
    image = np.random.default_rng(1).normal(size=(1, 70, 50)).astype(np.float32)
    networks = [build_unet(ModelConfig(depth=1, width=4), seed=seed).eval() for seed in (1, 2)]
    together = Predictor.build(networks, settings).predict(image).probabilities_KYX
    apart = [Predictor.build(n, settings).predict(image).probabilities_KYX for n in networks]
    np.testing.assert_allclose(together, np.mean(apart, 0), atol=2e-6)
    assert np.abs(apart[0] - apart[1]).max() > 0.01
