"""Settings of a network: every contradiction is refused with what to change."""

from __future__ import annotations

import pytest

from maskwright.config import ModelConfig, RunConfig, apply_settings, parse_config
from maskwright.errors import ConfigError

FIRST_FORMAT = """
{"version": 1, "model": {"channels": 1, "classes": 2, "depth": 3, "width": 24, "padding": "valid",
 "norm": "none", "dropout": 0.5}, "train": {"steps": 7, "patch_px": 140}}
"""


def test_a_configuration_of_the_first_format_means_what_it_meant() -> None:
    config = parse_config(FIRST_FORMAT, subject="config.json")
    assert config.model == ModelConfig(depth=3, width=24, padding="valid", norm="none", dropout=0.5)
    assert config.model.level_widths == (24, 48, 96, 192)
    assert config.model.level_kernels == ((3, 3),) * 4
    assert config.model.level_strides == ((2, 2),) * 3


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ({"widths": (4, 8)}, "config-widths", "5 entries for depth=4.*one entry a level"),
        ({"kernels": ((3, 3),) * 4}, "config-kernels", "5 entries of 2 axes"),
        ({"strides": ((2, 2),) * 5}, "config-strides", "4 entries.*one entry a pooling"),
        ({"dims": 3, "strides": ((2, 2),) * 4}, "config-strides", "of 3 axes each"),
        ({"widen": "second", "convolutions": 1}, "config-widen", "Set convolutions=2 or"),
        ({"attention": True, "depth": 1}, "config-attention", "Set depth=2 or attention=false"),
        ({"classes": 1}, "config-one-class", "set output=sigmoid"),
        ({"norm": "group", "width": 12}, "config-groups", "Set groups=4"),
        ({"norm": "group", "width": 8, "widen": "second"}, "config-groups", "Set groups=4"),
    ],
)
def test_a_contradiction_is_refused_with_what_to_change(
    settings: dict[str, object], code: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ModelConfig(**settings)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("kernels=5x5,3x3,3x3,3x3,3x3", "expected 1 or 3, found 5"),
        ("strides=3x2,2x2,2x2,2x2", "expected 1 or 2, found 3"),
        ("strides=2xy,2x2,2x2,2x2", "expected 1 or 2, found 'y'"),
        ("widths=many", "valid integer"),
        ("widths=0,1,2,3,4", "greater than or equal to 1"),
        ("attention=perhaps", "valid boolean"),
        ("dims=4", "2 or 3"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_name(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        apply_settings(RunConfig(), (setting,))
    assert setting.split("=")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "field", "value"),
    [
        (("widths=4, 8,8,8,16",), "widths", (4, 8, 8, 8, 16)),
        (("dims=3", "depth=1", "kernels=1x3x3,3x3x3"), "kernels", ((1, 3, 3), (3, 3, 3))),
        (("dims=3", "depth=1", "strides=[[1,2,2]]"), "strides", ((1, 2, 2),)),
        (("image_hidden=64,8",), "image_hidden", (64, 8)),
        (("image_hidden=32",), "image_hidden", (32,)),
        (("image_hidden=",), "image_hidden", ()),
    ],
)
def test_lists_are_typed_with_commas_and_axes_with_x(
    typed: tuple[str, ...], field: str, value: object
) -> None:
    model = apply_settings(RunConfig(), typed).model
    assert getattr(model, field) == value
    assert ModelConfig.model_validate_json(model.model_dump_json()) == model


def test_channels_double_up_to_their_limit() -> None:
    assert ModelConfig(width=32, max_width=100).level_widths == (32, 64, 100, 100, 100)
    assert ModelConfig(widths=(4, 8, 8, 8, 9), max_width=8).level_widths == (4, 8, 8, 8, 8)
    assert ModelConfig(width=64, widen="second").first_width == 32
