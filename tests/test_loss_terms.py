"""The loss as it is written: read, tidied, refused with the nearest name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.config import RunConfig, TrainConfig, apply_settings, parse_config
from maskwright.errors import ConfigError
from maskwright.loss_terms import TERMS, balanced_weights, needed_maps, parse_loss, tidy_loss


def _train(*settings: str) -> TrainConfig:
    return apply_settings(RunConfig(), settings).train


def test_a_loss_is_a_sum_of_terms_with_weights() -> None:
    assert parse_loss("dice+ce") == {"dice": 1, "ce": 1}
    assert parse_loss(" .5*dice + 2 * border_ce+0.01*boundary ") == {
        "dice": 0.5,
        "border_ce": 2,
        "boundary": 0.01,
    }


def test_the_configuration_keeps_the_tidy_form() -> None:
    assert _train("loss= 1.0*dice + 0.50*ce ").loss == "dice+0.5*ce"
    assert TrainConfig().loss == "dice+ce"


@given(
    st.lists(st.sampled_from(TERMS), min_size=1, unique=True),
    st.lists(st.floats(1e-6, 1e6), min_size=len(TERMS), max_size=len(TERMS)),
)
def test_the_tidy_form_reads_back_exactly(names: list[str], weights: list[float]) -> None:
    given_ = {name: float(f"{w:.6f}") or 1.0 for name, w in zip(names, weights, strict=False)}
    tidy = tidy_loss("+".join(f"{w:.6f}*{name}" for name, w in given_.items()))
    assert parse_loss(tidy) == given_
    assert tidy_loss(tidy) == tidy


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("dicee", r"'dice' \(nearest to 'dicee'\)"),
        ("dice+bordr_ce", "'border_ce' .nearest"),
        ("hinge", "dice, ce, border_ce, focal, topk, tversky"),
        ("dice+dice", "'dice' is there twice"),
        ("0*ce", "0.000001 to 1000000 for 'ce'"),
        ("ce*0.5", "joined by plus signs"),
        ("1e+2*ce", "joined by plus signs"),
        ("dice+", "joined by plus signs"),
        ("dice-ce", "joined by plus signs"),
        ("", "joined by plus signs"),
    ],
)
def test_another_loss_is_refused_where_the_configuration_is_born(loss: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        _train(f"loss={loss}")
    assert caught.value.code == "config-value"
    assert "train.loss" in str(caught.value)


def test_class_weights_may_be_typed_as_numbers_with_commas_or_as_json() -> None:
    assert _train("class_weights=1,5").loss_settings.class_weights == (1, 5)
    assert _train("class_weights=[0, 2.5]").loss_settings.class_weights == (0, 2.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("class_weights=one,two",), "such as 1,5"),
        (("class_weights=0,0",), "above 0 for at least one class"),
        (("class_weights=1,-1",), "greater than or equal to 0"),
        (("class_weights=1,5", "balance_classes=true"), "not both"),
        (("focal_gamma=-1",), "greater than or equal to 0"),
        (("topk_share=0",), "greater than 0"),
        (("tversky_alpha=0",), "greater than 0"),
        (("border_sigma_px=0",), "greater than 0"),
        (("cldice_iterations=0",), "greater than or equal to 1"),
        (("focal_gama=1",), "Did you mean focal_gamma"),
    ],
)
def test_settings_of_terms_out_of_range_are_refused(
    settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _train(*settings)


def test_runs_from_before_the_settings_still_open() -> None:
    old = '{"version": 1, "train": {"loss": "dice+ce", "steps": 7}}'
    train = parse_config(old, subject="config.json").train
    assert (train.loss, train.loss_settings) == ("dice+ce", TrainConfig().loss_settings)


def test_json_there_and_back_is_the_same_configuration() -> None:
    config = apply_settings(RunConfig(), ("class_weights=1,3", "loss=ce+.3*focal_tversky"))
    assert parse_config(config.model_dump_json(), subject="config.json") == config


def test_only_border_ce_and_boundary_need_maps() -> None:
    found = {name: needed_maps(name) for name in TERMS if needed_maps(name)}
    assert found == {"border_ce": ("border_map",), "boundary": ("distance_map",)}
    assert needed_maps("dice+boundary+border_ce") == ("distance_map", "border_map")


def test_balanced_weights_give_every_class_the_same_sum() -> None:
    counts = (700, 250, 50)
    weights = balanced_weights(counts)
    assert [w * n for w, n in zip(weights, counts, strict=True)] == pytest.approx([1000 / 3] * 3)
    assert balanced_weights((10, 0)) == (0.5, 1.0)
