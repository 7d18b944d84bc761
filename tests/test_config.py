"""Configuration: validated where it is born, JSON there and back, errors that teach."""

from __future__ import annotations

import json

import pytest

from maskwright.config import (
    AugmentConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    apply_settings,
    field_paths,
    parse_config,
    validate,
)
from maskwright.errors import ConfigError, MaskwrightError
from maskwright.workflow.settings import parse_labels, resolve, resolve_data


def _code(error: pytest.ExceptionInfo[MaskwrightError]) -> str:
    return error.value.code


def test_json_there_and_back_is_the_same_configuration() -> None:
    config = RunConfig(
        model=ModelConfig(width=24, padding="valid", norm="none"),
        train=TrainConfig(steps=5, augment=AugmentConfig(flip=0)),
    )
    assert parse_config(config.model_dump_json(), subject="config.json") == config


def test_configuration_is_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        RunConfig().model.width = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("width=32", 32), ("model.width=32", 32), ("width=  7 ", 7)],
)
def test_settings_may_be_short_or_dotted(setting: str, value: int) -> None:
    assert apply_settings(RunConfig(), (setting,)).model.width == value


def test_every_field_can_be_set_by_its_full_name() -> None:
    values = RunConfig().model_dump(mode="json")
    for path in field_paths(RunConfig):
        value = values
        for part in path.split("."):
            value = value[part]
        assert apply_settings(RunConfig(), (f"{path}={json.dumps(value)}",)) is not None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("widht=32", "Did you mean width"),
        ("train.bacth=2", "Did you mean batch"),
        ("width", "key=value"),
        ("precision=float32", "write one of|Write one of"),
        ("width=-1", "greater than or equal to 1"),
        ("width=many", "valid integer"),
        ("learning_rate=NaN", "finite|greater"),
        ("loss=dicee", "'dice'"),
        ("learning_rate=-1", "greater than 0"),
        ("depth=99", "less than or equal to 8"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_and_a_remedy(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        apply_settings(RunConfig(), (setting,))
    assert _code(caught) in {"config-unknown-key", "config-value"}
    assert setting.split("=")[0].split(".")[-1] in str(caught.value)


def test_bad_json_names_the_line() -> None:
    with pytest.raises(ConfigError, match=r"config\.json line 2") as caught:
        parse_config('{"version": 1,\n oops}', subject="config.json")
    assert _code(caught) == "config-json"


def test_a_duplicate_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="'version' twice") as caught:
        parse_config('{"version": 1, "version": 1}', subject="config.json")
    assert _code(caught) == "config-duplicate-key"


def test_a_run_of_a_newer_version_is_refused() -> None:
    with pytest.raises(ConfigError, match="pip install -U maskwright") as caught:
        parse_config('{"version": 99}', subject="config.json")
    assert _code(caught) == "config-newer"


def test_an_unknown_key_in_a_file_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean model\.width"):
        parse_config('{"model": {"widht": 3}}', subject="config.json")


def test_steps_and_minutes_exclude_each_other() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(minutes=1, steps=5)
    assert _code(caught) == "config-two-budgets"


def test_without_a_budget_ten_minutes_are_taken() -> None:
    assert resolve().train.minutes == 10
    assert resolve(steps=3).train.minutes is None


def test_preset_arguments_and_settings_come_in_this_order() -> None:
    config = resolve(preset="ronneberger2015", seed=4, settings=("width=16", "seed=5"))
    assert (config.model.width, config.model.padding, config.train.seed) == (16, "valid", 5)


def test_settings_of_the_data_are_kept() -> None:
    config = resolve_data(objects=True, labels="cell=255,membrane=0", group_by="a(.)")
    assert config.mask_kind == "objects"
    assert config.labels == (("cell", 255), ("membrane", 0))
    assert resolve(objects=False, group_by="b").data.mask_kind == "values"


@pytest.mark.parametrize("text", ["cell", "cell=", "=3", "cell=x", ""])
def test_labels_of_another_form_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="background=0,cell=255"):
        parse_labels(text)


def test_a_value_error_says_what_was_found() -> None:
    with pytest.raises(ConfigError, match="found 0"):
        validate(ModelConfig, {"width": 0}, subject="--set")


@pytest.mark.parametrize(
    ("text", "patch"),
    [("64", 64), ("40x56x40", (40, 56, 40)), ("[40, 56]", (40, 56)), ("64x64", (64, 64))],
)
def test_a_patch_has_one_side_or_one_for_each_axis(text: str, patch: int | tuple[int, ...]) -> None:
    config = apply_settings(RunConfig(), (f"patch_px={text}",))
    assert config.train.patch_px == patch
    assert parse_config(config.model_dump_json(), subject="a file") == config


@pytest.mark.parametrize("text", ["4", "40x4x40", "40x", "8.5", "true", "[8,8,8,8]", "[]", "null"])
def test_another_patch_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="40x56x40") as caught:
        apply_settings(RunConfig(), (f"patch_px={text}",))
    assert caught.value.code == "config-value"


def test_a_patch_fits_the_axes_of_the_images() -> None:
    assert TrainConfig(patch_px=64).patch_shape(2) == (64, 64)
    assert TrainConfig(patch_px=(40, 56, 40)).patch_shape(3) == (40, 56, 40)
    with pytest.raises(ConfigError) as caught:
        TrainConfig(patch_px=(40, 56, 40)).patch_shape(2)
    assert caught.value.code == "config-patch"
