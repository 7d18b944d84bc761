"""How long the scores will take is measured once, and training ends accordingly."""

from __future__ import annotations

import pytest

import maskwright as mw
from maskwright.data.sample import write_sample
from maskwright.data.split import Split
from maskwright.nn.checkpoint import read_model
from maskwright.nn.unet import UNet
from maskwright.progress import Events
from maskwright.train.pace import Pace
from maskwright.workflow.preparing import check
from maskwright.workflow.rehearsing import ScoringRehearsal, guessed_scoring_s, scoring_seconds
from maskwright.workflow.validating import Scores

SETTINGS = ("depth=1", "width=4", "patch_px=32", "batch=1", "validations=4", "evaluate.measures=",
            "train.precision=float32", "train.layout=contiguous",
            "predict.precision=float32")  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> mw.Run:
    root = tmp_path_factory.mktemp("run")
    write_sample("membranes", root / "sample", images=8, size_px=64)
    return mw.train(root / "sample", root / "run", steps=2, settings=SETTINGS)


def _minutes(run: mw.Run, minutes: float) -> mw.Run:
    train = run.config.train.model_copy(update={"minutes": minutes, "steps": None})
    return mw.Run(run.folder, run.config.model_copy(update={"train": train}))


def _rehearsal(run: mw.Run, minutes: float, pace: Pace) -> tuple[ScoringRehearsal, list[int]]:
    timed = _minutes(run, minutes)
    report = check(run.path.parent / "sample", run.config, events=Events())
    names = [case.name for case in report.cases]
    split = Split(tuple(names[:4]), tuple(names[4:6]), tuple(names[6:]))
    calls: list[int] = []

    def validate(network: UNet) -> Scores:
        calls.append(1)
        return {"class_dice": (1.0,)}

    return ScoringRehearsal(validate, timed, report, split, pace, 100.0), calls


def test_the_second_of_four_validations_rehearses_the_scores(run: mw.Run) -> None:
    network, _ = read_model(run.folder.model)
    pace = Pace(1000.0, 1.0, 1.0)
    rehearsal, calls = _rehearsal(run, 60.0, pace)
    before = sorted(path.name for path in run.path.iterdir())
    rehearsal(network)
    assert pace.training_s == 1000.0
    rehearsal(network)
    # A hundred seconds were kept back; tiny images take much less.
    changed = pace.training_s
    assert 1000.0 < changed < 1100.0
    rehearsal(network)
    assert pace.training_s == changed
    assert len(calls) == 3
    assert sorted(path.name for path in run.path.iterdir()) == before


def test_a_short_time_is_not_spent_on_rehearsing(run: mw.Run) -> None:
    network, _ = read_model(run.folder.model)
    pace = Pace(1.0, 1.0, 1.0)
    rehearsal, _ = _rehearsal(run, 0.1, pace)
    for _ in range(3):
        rehearsal(network)
    assert pace.training_s == 1.0


def test_more_images_take_longer_to_score(run: mw.Run) -> None:
    report = check(run.path.parent / "sample", run.config, events=Events())
    names = tuple(case.name for case in report.cases)
    stages = {"calibrating": 1.0, "baselines": 1.0, "scoring": 2.0, "reporting": 1.0}
    few = scoring_seconds(stages, 5.5, report, Split(names[:1], names[1:2], names[2:3]))
    many = scoring_seconds(stages, 5.5, report, Split(names[:3], names[3:5], names[5:]))
    assert few == pytest.approx(5.5)
    assert many == pytest.approx(0.5 + 2 * 1.0 + 3 * 1.0 + 3 * 2.0 + 1.3)
    assert guessed_scoring_s(run.config, report, 9) > guessed_scoring_s(run.config, report, 1)
