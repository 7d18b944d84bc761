"""Messages: four parts and a code, told as sentences."""

from __future__ import annotations

import signal

import pytest

from maskwright import errors
from maskwright.errors import Interrupted, MaskwrightError


def test_a_message_has_subject_expectation_finding_remedy_and_code() -> None:
    error = MaskwrightError("a-b", "--tile", expected="96", found="100", remedy="use 96.")
    assert str(error) == "--tile: expected 96, found 100. Use 96. [a-b]"
    assert (error.code, error.subject, error.expected, error.found) == (
        "a-b",
        "--tile",
        "96",
        "100",
    )


def test_a_question_keeps_its_mark() -> None:
    error = MaskwrightError("a-b", "x", expected="y", found="z", remedy="did you mean y?")
    assert str(error).endswith("Did you mean y? [a-b]")


def test_every_error_is_one_a_person_can_mend() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(issubclass(kind, MaskwrightError) for kind in kinds)
    assert all(kind.exit_status == 2 for kind in kinds if kind is not Interrupted)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_exits_as_shells_expect(number: int, status: int) -> None:
    assert Interrupted(number, "training", remedy="go on").exit_status == status
