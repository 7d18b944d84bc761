"""A run keeps its time, however its updates turn out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.train.pace import Course, Pace
from maskwright.train.schedule import learning_rate


def _simulated(
    pace: Pace, step_s: list[float], *, validation_s: float = 0.0, count: int = 4, first: int = 100
) -> tuple[float, list[float]]:
    """Seconds of a run whose updates take these seconds by turns of the clock, and its rates."""
    course, now, done, validated, rates = Course(first), 0.0, 0, 0, []
    pace.begin(0, 0.0)
    while done < course.total:
        rates.append(learning_rate(course.position(done), course.total, 1.0, 0.05))
        now += step_s[min(int(now / pace.training_s * len(step_s)), len(step_s) - 1)]
        done += 1
        if course.position(done) / course.total >= (validated + 1) / count - 1e-9:
            validated += 1
            now += validation_s
            pace.note_validation(validation_s)
        if done < course.total:
            total = pace.total_steps(done, now, validations=max(1, count - validated))
            if total is not None:
                course = course.corrected(done, total)
    assert validated == count
    return now, rates


@pytest.mark.parametrize(
    "step_s", [[0.1], [0.5], [0.1, 0.3], [0.3, 0.1], [0.2, 0.2, 0.2, 0.2, 0.4], [0.1, 1.0, 0.1]]
)
@pytest.mark.parametrize("validation_s", [0.0, 3.0])
@pytest.mark.parametrize("thought_s", [0.02, 0.2, 2.0])
def test_training_ends_within_two_hundredths_of_its_time(
    step_s: list[float], validation_s: float, thought_s: float
) -> None:
    pace = Pace(training_s=200.0, step_s=thought_s, validation_s=validation_s)
    first = max(1, round((200 - 4 * validation_s) / thought_s))
    seconds, rates = _simulated(pace, step_s, validation_s=validation_s, first=first)
    assert seconds == pytest.approx(200.0, rel=0.02)
    assert rates[-1] < 0.01
    peak = rates.index(max(rates))
    assert all(a >= b for a, b in zip(rates[peak:], rates[peak + 1 :], strict=False))


@given(st.integers(2, 500), st.data())
def test_the_schedule_goes_on_where_it_was_when_the_number_of_updates_changes(
    total: int, data: st.DataObject
) -> None:
    course = Course(total)
    step = 0
    for _ in range(3):
        step = data.draw(st.integers(step + 1, max(step + 1, course.total - 1)))
        if step >= course.total:
            return
        changed = course.corrected(step, data.draw(st.integers(step + 1, 600)))
        before = course.position(step) / course.total
        assert changed.position(step) / changed.total == pytest.approx(before)
        assert changed.position(changed.total) == changed.total
        places = [changed.position(s) for s in range(step, changed.total + 1)]
        assert places == sorted(places)
        course = changed


def test_a_run_of_a_number_of_updates_has_the_schedule_it_always_had() -> None:
    assert [Course(37).position(step) for step in range(38)] == list(range(38))


def test_what_a_validation_did_besides_is_no_time_of_the_next_one() -> None:
    pace = Pace(training_s=100.0, step_s=1.0, validation_s=2.0)
    pace.set_aside(8.0)
    pace.note_validation(10.0)
    assert pace.validation_s == 2.0
    assert pace.total_steps(20, 30.0, validations=0) == 20 + 70
    pace.note_validation(3.0)
    assert pace.validation_s == 3.0
