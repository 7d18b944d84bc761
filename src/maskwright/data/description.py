"""What the ``dataset.json`` of a Decathlon or nnU-Net task says of its classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maskwright.data.problem import Problem, listed

NAME = "dataset.json"
_IGNORED = "ignore"


def read_class_labels(
    root: Path, problems: list[Problem]
) -> tuple[tuple[tuple[str, int], ...], int | None]:
    """Class names with their mask values, in the order of the values.

    Both directions in use are read: ``{"0": "background"}`` and ``{"background": 0}``.

    Args:
        root: The folder of the task.
        problems: Takes what cannot be used.

    Returns:
        Names and values as in :class:`~maskwright.config.DataConfig`, without the class
        ``ignore``, and the value of this class; nothing where the file is missing or says nothing
        of use.

    Source: Medical Segmentation Decathlon (Antonelli et al. 2022); nnU-Net, dataset_format.md.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "dataset.json").write_text('{"labels": {"1": "b", "0": "a"}}')
        ...     read_class_labels(Path(folder), [])
        ((('a', 0), ('b', 1)), None)
    """
    path = root / NAME
    if not path.is_file():
        return (), None
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        labels = values["labels"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"no class names can be read from it ({error or type(error).__name__})"
        remedy = 'mend its "labels", or name the classes with --labels'
        problems.append(Problem("dataset-json", "warn", str(path), found, remedy))
        return (), None
    pairs = [_pair(key, value) for key, value in labels]
    odd = [str(key) for (key, _), pair in zip(labels, pairs, strict=True) if pair is None]
    if odd:
        problems.append(
            Problem(
                "dataset-regions",
                "warn",
                str(path),
                f"classes of several values, which may overlap, are not supported: {listed(odd)}",
                "name the values with --labels; without it each value is a class",
            )
        )
        return (), None
    known = [pair for pair in pairs if pair is not None and pair[0] != _IGNORED]
    ignored = next((pair[1] for pair in pairs if pair is not None and pair[0] == _IGNORED), None)
    return tuple(sorted(known, key=lambda pair: pair[1])), ignored


def _pair(key: str, value: Any) -> tuple[str, int] | None:
    """Name and value of one class, whichever is the key."""
    if isinstance(value, int):
        return key, value
    if isinstance(value, str) and key.isdecimal():
        return value, int(key)
    return None
