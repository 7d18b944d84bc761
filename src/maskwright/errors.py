"""Every error maskwright raises on purpose, the tree drawn here at the top.

::

    MaskwrightError                 anything a user can mend; the command line exits with 2
    ├── ConfigError                 a setting: unknown, out of range, contradictory
    ├── SizeError                   a size no layer sequence can process
    ├── DataError                   a data set that cannot be trained on
    │   └── ImageReadError          one file that cannot be read as an image
    ├── OutputError                 something is in the way of writing
    ├── RunError                    a run folder or checkpoint that cannot be used
    ├── TrainingError               training that must not go on
    └── Interrupted                 Ctrl-C or a termination signal, after everything was saved

A message always has four parts (what it is about, what was expected, what was found, what to
do) and a stable code that documentation and tests refer to.
"""

from __future__ import annotations


class MaskwrightError(Exception):
    """A mistake a user can mend, told in four parts.

    Args:
        code: Stable identifier in kebab case, such as ``mask-shape``.
        subject: The argument or file the message is about.
        expected: What would have been right.
        found: What was there instead.
        remedy: What to do about it, as an instruction.

    Example:
        >>> str(MaskwrightError("tile-size", "--tile", expected="a multiple of 16",
        ...                     found="100", remedy="use 96 or 112"))
        '--tile: expected a multiple of 16, found 100. Use 96 or 112. [tile-size]'
    """

    exit_status = 2

    def __init__(self, code: str, subject: str, *, expected: str, found: str, remedy: str) -> None:
        self.code = code
        self.subject = subject
        self.expected = expected
        self.found = found
        self.remedy = remedy
        sentence = remedy[:1].upper() + remedy[1:].rstrip(".")
        stop = "" if sentence.endswith("?") else "."
        super().__init__(
            f"{subject}: expected {expected}, found {found}. {sentence}{stop} [{code}]"
        )


class ConfigError(MaskwrightError):
    """A setting that is unknown, out of range or contradicts another."""


class SizeError(MaskwrightError):
    """A size in pixels that no sequence of layers can process."""


class DataError(MaskwrightError):
    """A data set, or a part of it, that cannot be used."""


class ImageReadError(DataError):
    """One file that cannot be read as an image."""


class OutputError(MaskwrightError):
    """Something stands in the way of writing a result."""


class RunError(MaskwrightError):
    """A run folder or checkpoint that cannot be used."""


class TrainingError(MaskwrightError):
    """Training that must not go on."""


class Interrupted(MaskwrightError):  # noqa: N818 - being interrupted is no error
    """Ctrl-C or a termination signal; everything was saved before this was raised.

    Args:
        signal_number: The signal, which decides the exit status as shells expect it.
        subject: What was interrupted.
        remedy: How to go on.
    """

    def __init__(self, signal_number: int, subject: str, *, remedy: str) -> None:
        super().__init__(
            "interrupted",
            subject,
            expected="to run to its end",
            found=f"signal {signal_number}",
            remedy=remedy,
        )
        self.exit_status = 128 + signal_number
