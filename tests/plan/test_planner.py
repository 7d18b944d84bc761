"""Plans are legal for any facts, grow with the time, and say what a person set."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright import geometry
from maskwright.config import RunConfig, apply_settings
from maskwright.errors import ConfigError
from maskwright.nn.presets import preset
from maskwright.plan import rules
from maskwright.plan.choice import Plan, parse_plan
from maskwright.plan.fingerprint import ClassFacts, Fingerprint
from maskwright.plan.hardware import MachineFacts, StepFacts
from maskwright.plan.memory import prediction_bytes, training_bytes
from maskwright.plan.network_choice import Room, next_width
from maskwright.plan.planner import plan_run

PLANES = Fingerprint(
    dims=2, cases=(18, 2, 10), groups=30, channels=1, size_px=(512, 512), smallest_px=(512, 512),
    largest_px=(512, 512), spacing_mm=None, pixels=(18 << 18, 2 << 18, 10 << 18),
    mask_kind="values",
    classes=(ClassFacts("cell", 0.78, thickness_px=40), ClassFacts("membrane", 0.22)),
)  # fmt: skip
VOLUMES = replace(
    PLANES, dims=3, size_px=(36, 50, 35), smallest_px=(31, 40, 24), largest_px=(43, 59, 47),
    spacing_mm=(1.0, 1.0, 1.0), pixels=(3_000_000, 250_000, 750_000), layout=0.6,
)  # fmt: skip
TWO_CORES = MachineFacts(
    cores=2, memory_bytes=16 << 30, layout="channels_last", precision="bfloat16", gain=3.0,
    steps=(StepFacts(16, 0.24), StepFacts(32, 0.6)), predict_s_per_megapixel=0.5,
)  # fmt: skip


def _base(dims: int, minutes: float | None, *settings: str) -> RunConfig:
    config = preset("unet", dims=dims)
    train = config.train.model_copy(update={"minutes": minutes})
    return apply_settings(config.model_copy(update={"train": train}), settings)


def _values(plan: Plan) -> dict[str, object]:
    return {choice.name: choice.value for choice in plan.choices}


_classes = st.lists(
    st.builds(
        ClassFacts, st.just("x"), st.floats(0, 0.5), largest_px=st.floats(0, 2000),
        extent_px=st.floats(0, 500), thickness_px=st.floats(0, 500),
    ),
    min_size=2, max_size=4,
).map(tuple)  # fmt: skip


@st.composite
def _facts(draw: st.DrawFn) -> Fingerprint:
    dims = draw(st.sampled_from((2, 3)))
    sizes = st.lists(st.integers(1, 3000 if dims == 2 else 400), min_size=dims, max_size=dims)
    size = tuple(draw(sizes))
    largest = tuple(n + draw(st.integers(0, 500)) for n in size)
    spacings = st.lists(st.floats(0.1, 10), min_size=dims, max_size=dims).map(tuple)
    pixels = tuple(draw(st.lists(st.integers(0, 10**9), min_size=3, max_size=3)))
    return replace(
        PLANES, dims=dims, size_px=size, smallest_px=size, largest_px=largest, pixels=pixels,
        spacing_mm=draw(st.none() | spacings), classes=draw(_classes),
        mask_kind=draw(st.sampled_from(("values", "objects"))), touching=draw(st.floats(0, 1)),
    )  # fmt: skip


@st.composite
def _machines(draw: st.DrawFn) -> MachineFacts:
    widths = draw(st.lists(st.sampled_from((8, 16, 32, 64)), unique=True))
    return MachineFacts(
        memory_bytes=draw(st.none() | st.integers(1 << 24, 1 << 38)),
        steps=tuple(StepFacts(width, draw(st.floats(1e-4, 100))) for width in widths),
        predict_s_per_megapixel=draw(st.none() | st.floats(0, 1000)),
    )


_times = st.floats(0.05, 10_000)


@given(_facts(), _machines(), st.none() | _times)
def test_a_plan_is_legal_whatever_the_facts(
    facts: Fingerprint, machine: MachineFacts, minutes: float | None
) -> None:
    plan = plan_run(facts, machine, _base(facts.dims, minutes))
    model, train = plan.config.model, plan.config.train
    shape = train.patch_shape(model.dims)
    geometry.check_shape(shape, model, subject="patch")
    assert plan.steps is None or plan.steps >= 1
    assert train.validations >= rules.FEWEST_VALIDATIONS
    if machine.memory_bytes is not None:
        limit = rules.MEMORY_SHARE * machine.memory_bytes
        least = rules.SMALLEST_PATCH_PX[model.dims]
        # The next legal side below could be a pooling step above the least one.
        cut = all(side * 3 // 4 < least + 2**model.depth for side in shape)
        smallest = train.batch == 1 and model.width == 8 and cut
        assert training_bytes(model, shape, train.batch) <= limit or smallest
        tile_px = plan.config.predict.tile_px
        fits = prediction_bytes(model, tile_px) <= limit
        assert fits or tile_px == rules.SMALLEST_TILE_PX


@given(_facts(), _machines(), _times, _times)
def test_more_minutes_never_give_a_smaller_plan(
    facts: Fingerprint, machine: MachineFacts, one: float, other: float
) -> None:
    plans = [
        plan_run(facts, machine, _base(facts.dims, minutes)) for minutes in sorted((one, other))
    ]
    less, more = (plan.config for plan in plans)
    assert more.model.width >= less.model.width
    assert more.model.depth >= less.model.depth
    assert more.train.patch_shape(facts.dims) == less.train.patch_shape(facts.dims)
    assert more.train.batch == less.train.batch
    assert more.train.validations >= less.train.validations
    seconds = [
        (plan.steps or 0) * machine.step_of(plan.config.model.width).step_s  # type: ignore[union-attr]
        for plan in plans
        if machine.step_of(plan.config.model.width) is not None
    ]
    if len(seconds) == 2 and min(plan.steps or 0 for plan in plans) > 1:
        longest = max(step.step_s for step in machine.steps)
        assert seconds[1] >= seconds[0] - longest


@given(_facts(), _machines(), _times)
def test_the_same_facts_give_the_same_plan_and_it_survives_being_saved(
    facts: Fingerprint, machine: MachineFacts, minutes: float
) -> None:
    plan = plan_run(facts, machine, _base(facts.dims, minutes))
    again = plan_run(facts, machine, _base(facts.dims, minutes))
    assert plan == again
    assert parse_plan(plan.text(), subject="plan.json") == plan


def test_ten_minutes_on_two_cores_give_the_defaults_that_were_measured() -> None:
    for minutes, changes in ((2, {}), (5, rules.STRONGER), (10, rules.STRONGER)):
        base = _base(2, minutes)
        augment = base.train.augment.model_copy(update=dict(changes))
        config = plan_run(PLANES, TWO_CORES, base).config
        usual = base.model_copy(
            update={
                "model": base.model.model_copy(update={"levels": "fused"}),
                "train": base.train.model_copy(
                    update={"layout": "channels_last", "precision": "bfloat16", "augment": augment}
                ),
            }
        )
        assert config == usual


def test_more_time_than_one_network_needs_is_for_several() -> None:
    def count(minutes: float, *settings: str) -> int:
        return plan_run(PLANES, slow, _base(2, minutes, *settings)).config.train.ensemble

    slow = replace(TWO_CORES, steps=(StepFacts(16, 0.24), StepFacts(32, 20.0)))
    assert [count(minutes) for minutes in (2, 10, 30, 300)] == [1, 1, 3, rules.MOST_NETWORKS]
    assert count(30, "patience=3") == count(30, "snapshots=2") == 1
    asked = apply_settings(preset("unet", dims=2), ("steps=100000",))
    assert plan_run(PLANES, MachineFacts(), asked).config.train.ensemble == 1


def test_volumes_get_the_defaults_of_volumes() -> None:
    config = plan_run(VOLUMES, MachineFacts(), _base(3, 10)).config
    usual = _base(3, 10)
    assert config.model == usual.model.model_copy(update={"levels": "fused"})
    assert config.train.augment == usual.train.augment
    assert config.train.patch_shape(3) == (48, 64, 48)
    assert config.predict == usual.predict


def test_time_for_a_wider_network_widens_it_and_a_slow_machine_narrows_it() -> None:
    fast = replace(TWO_CORES, steps=(StepFacts(16, 0.04), StepFacts(32, 0.1)))
    assert plan_run(PLANES, fast, _base(2, 10)).config.model.width == 32
    assert plan_run(PLANES, TWO_CORES, _base(2, 30)).config.model.width == 16
    slow = replace(TWO_CORES, steps=(StepFacts(8, 0.5), StepFacts(16, 1.0)))
    assert plan_run(PLANES, slow, _base(2, 10)).config.model.width == 8
    assert plan_run(PLANES, slow, _base(2, 30)).config.model.width == 16


def test_only_widths_that_may_be_used_are_measured() -> None:
    config = _base(2, 10)
    asked = [
        next_width(Room(PLANES, replace(TWO_CORES, steps=steps)), config, {})
        for steps in (
            (),
            (StepFacts(16, 0.24),),
            (StepFacts(16, 0.04),),
            (StepFacts(16, 0.04), StepFacts(32, 0.1)),
            (StepFacts(16, 2.0),),
            (StepFacts(16, 2.0), StepFacts(8, 1.0)),
        )
    ]
    assert asked == [16, None, 32, None, 8, None]
    assert next_width(Room(PLANES, TWO_CORES), _base(2, None), {}) is None


def test_what_a_person_set_is_left_and_named() -> None:
    base = _base(2, 100, "width=16", "validations=3", "augment.flip=0")
    given_by = {"model.width": "--set", "train.validations": "--set", "train.augment.flip": "--set"}
    plan = plan_run(PLANES, TWO_CORES, base, given_by)
    assert plan.config.model.width == 16
    assert plan.config.train.validations == 3
    told = {choice.name: choice.reason for choice in plan.choices}
    assert all("--set" in told[name] for name in given_by)
    width = next(choice for choice in plan.choices if choice.name == "model.width")
    assert "32" in width.would_change


def test_objects_that_touch_get_borders_unless_they_are_few_or_tiny() -> None:
    cells = (ClassFacts("background", 0.8), ClassFacts("cell", 0.2, extent_px=20))
    facts = replace(PLANES, mask_kind="objects", touching=0.3, classes=cells)
    assert plan_run(facts, TWO_CORES, _base(2, 10)).config.data.target == "border"
    few = replace(facts, touching=0.01)
    assert plan_run(few, TWO_CORES, _base(2, 10)).config.data.target == "classes"
    tiny = replace(facts, classes=(cells[0], replace(cells[1], extent_px=4.0)))
    assert plan_run(tiny, TWO_CORES, _base(2, 10)).config.data.target == "classes"
    overlapping = _base(2, 10, "output=sigmoid")
    assert plan_run(facts, TWO_CORES, overlapping).config.data.target == "classes"
    said = {"data.target": "--set"}
    assert plan_run(facts, TWO_CORES, _base(2, 10), said).config.data.target == "classes"


def test_thick_slices_are_pooled_later() -> None:
    facts = replace(VOLUMES, spacing_mm=(5.0, 1.0, 1.0), size_px=(24, 128, 128))
    model = plan_run(facts, MachineFacts(), _base(3, 10)).config.model
    assert model.strides == ((1, 2, 2), (1, 2, 2), (2, 2, 2))
    assert model.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))


def test_large_objects_get_one_more_pooling_when_there_is_time() -> None:
    lungs = (ClassFacts("body", 0.7), ClassFacts("lung", 0.3, largest_px=300, thickness_px=110))
    facts = replace(PLANES, classes=lungs)
    assert plan_run(facts, TWO_CORES, _base(2, 10)).config.model.depth == 4
    assert plan_run(facts, TWO_CORES, _base(2, 30)).config.model.depth == 5
    mesh = (lungs[0], replace(lungs[1], thickness_px=8.0))
    assert plan_run(replace(facts, classes=mesh), TWO_CORES, _base(2, 30)).config.model.depth == 4


def test_small_images_get_fewer_poolings_and_smaller_patches() -> None:
    facts = replace(PLANES, size_px=(40, 40), largest_px=(50, 44))
    config = plan_run(facts, TWO_CORES, _base(2, 10)).config
    assert config.model.depth == 3
    assert config.train.patch_px == 56


def test_rare_classes_are_looked_for_and_few_images_are_changed_more() -> None:
    rare = (ClassFacts("lung", 0.992), ClassFacts("tumour", 0.008))
    found = plan_run(replace(PLANES, classes=rare), TWO_CORES, _base(2, 10)).config.train
    assert found.foreground_share == rules.RARE_FOREGROUND_SHARE
    single = plan_run(replace(PLANES, pixels=(1 << 18, 1, 1)), TWO_CORES, _base(2, 10)).config
    assert single.train.augment.elastic_px == rules.STRONGER["elastic_px"]


def test_a_single_patch_a_step_is_normalised_by_itself() -> None:
    short = MachineFacts(memory_bytes=300 << 20)
    config = plan_run(PLANES, short, _base(2, None)).config
    assert (config.train.batch, config.model.norm) == (1, "instance")


def test_every_choice_has_a_reason_and_what_would_change_it() -> None:
    for facts, machine in ((PLANES, TWO_CORES), (VOLUMES, MachineFacts())):
        plan = plan_run(facts, machine, _base(facts.dims, 10))
        names = [choice.name for choice in plan.choices]
        assert len(names) == len(set(names)) >= 15
        for choice in plan.choices:
            assert choice.reason.endswith(".")
            assert choice.would_change.endswith(".")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": 3}', '{"config": {}, "choices": 3}'])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_plan(text, subject="plan.json")
    assert caught.value.code == "plan-form"


def test_a_plan_of_a_newer_version_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_plan('{"format": 99, "config": {}}', subject="plan.json")
    assert caught.value.code == "plan-newer"
