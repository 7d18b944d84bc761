"""What goes wrong is said once it is sure, and not before."""

from __future__ import annotations

from maskwright.train.diagnosis import Validation, diagnose


def _validation(step: int, **changes: object) -> Validation:
    values: dict[str, object] = {
        "step": step, "loss": 1.0 / step, "train_dice": 0.5, "dice": 0.5,
        "class_dice": (0.5, 0.5), "predicted_share": (0.8, 0.2), "truth_share": (0.8, 0.2),
    }  # fmt: skip
    return Validation(**(values | changes))  # type: ignore[arg-type]


def _codes(history: list[Validation]) -> list[str]:
    found = diagnose(history, total_steps=100, warmup_share=0.05, names=("cell", "membrane"))
    return [finding.code for finding in found]


def test_healthy_training_has_no_finding() -> None:
    assert _codes([_validation(s, dice=s / 100) for s in (10, 20, 30, 40)]) == []


def test_a_validation_of_one_class_is_said_with_cause_and_remedy() -> None:
    history = [_validation(10, predicted_share=(0.9995, 0.0005))]
    assert _codes(history) == ["training-one-class"]
    text = diagnose(history, total_steps=100, warmup_share=0.05, names=("cell", "membrane"))[0].text
    assert "'cell'" in text
    assert "maskwright check" in text
    assert "'membrane' is 20.00%" in text


def test_one_class_is_no_finding_during_warm_up_or_where_it_is_the_truth() -> None:
    assert _codes([_validation(4, predicted_share=(1.0, 0.0))]) == []
    assert _codes([_validation(50, predicted_share=(1.0, 0.0), truth_share=(1.0, 0.0))]) == []


def test_a_loss_that_does_not_move_is_said() -> None:
    assert _codes([_validation(s, loss=1.2) for s in (10, 20)]) == []
    assert _codes([_validation(s, loss=1.2) for s in (10, 20, 30)]) == ["training-loss-still"]


def test_training_that_improves_while_validation_falls_is_said() -> None:
    history = [
        _validation(10, dice=0.7, train_dice=0.7),
        _validation(20, dice=0.8, train_dice=0.8),
        _validation(30, dice=0.77, train_dice=0.85),
        _validation(40, dice=0.74, train_dice=0.9),
    ]
    assert _codes(history[:3]) == []
    assert _codes(history) == ["training-memorising"]
    still = [*history[:3], _validation(40, dice=0.79, train_dice=0.9)]
    assert _codes(still) == []
