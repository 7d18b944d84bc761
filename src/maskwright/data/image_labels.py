"""One label for each whole image, from a table or from what is drawn in its mask.

::

    labels.csv            image,label          names pair with cases by their stems; the second
                          scan_01.nii.gz,ill   column may be called image_label
    contains:tumour       every case: does its mask hold a pixel of the class tumour?

In training a patch has the label of its image, or, with ``contains:``, that of its own pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from maskwright.data import naming
from maskwright.data.problem import listed
from maskwright.errors import DataError
from maskwright.io.registry import SUFFIXES, image_stem, image_suffix
from maskwright.io.table import read_table

CONTAINS = "contains:"
"""What an image label that follows from the masks begins with."""

NO_LABELS = "none"
"""Where image labels are not to be learnt, though a manifest has them."""


@dataclass(frozen=True)
class ImageLabels:
    """Classes of whole images, and the class of each case.

    Args:
        classes: Names of the classes, in the order of their numbers.
        label_of: Case name → number of its class.

    Example:
        >>> ImageLabels(("well", "ill"), {"a": 1}).label_of["a"]
        1
    """

    classes: tuple[str, ...]
    label_of: Mapping[str, int]


def image_labels(
    source: str,
    names: Sequence[str],
    *,
    class_names: Sequence[str] = (),
    present: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> ImageLabels:
    """The labels that a setting names.

    Args:
        source: Path of a CSV file, or ``contains:`` and the name or number of a class.
        names: Names of the cases.
        class_names: Classes of the masks, for ``contains:``.
        present: Case name → class ids in its mask, for ``contains:``.

    Returns:
        A label for every case.

    Raises:
        DataError: See :func:`read_image_labels` and :func:`labels_by_content`.

    Example:
        >>> image_labels("contains:cell", ["a", "b"], class_names=("nothing", "cell"),
        ...              present={"a": (0,), "b": (0, 1)}).label_of
        {'a': 0, 'b': 1}
    """
    if source.startswith(CONTAINS):
        return labels_by_content(source.removeprefix(CONTAINS), names, class_names, present)
    return read_image_labels(Path(source), names)


def read_image_labels(path: Path, names: Sequence[str]) -> ImageLabels:
    r"""Read a table with the columns ``image`` and ``label`` (or ``image_label``).

    An image is named by its case or its file, with or without suffix and folder. Classes are
    numbered in the natural order of their names.

    Args:
        path: A CSV file.
        names: Names of the cases.

    Returns:
        A label for every case.

    Raises:
        DataError: When the file cannot be read; ``image-labels-columns`` without these columns,
            ``image-labels-unknown`` for names of no case, ``image-labels-missing`` for cases
            without a label, ``image-labels-twice`` for a case with two labels,
            ``image-labels-one-class`` when all are alike.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "labels.csv"
        ...     _ = path.write_text("image,label\nscan_1.nii.gz,well\nscan_2,ill\n")
        ...     read_image_labels(path, ["scan_1", "scan_2"])
        ImageLabels(classes=('ill', 'well'), label_of={'scan_1': 1, 'scan_2': 0})
    """
    rows = read_table(path)
    columns = list(rows[0]) if rows else []
    column = next((c for c in ("label", "image_label") if c in columns), None)
    if "image" not in columns or column is None:
        raise _refusal(
            "columns",
            path,
            "a header with the columns image and label, and a row for each image",
            f"the columns {', '.join(columns)}" if columns else "no row",
            "name the columns image and label in the first line",
        )
    cases = frozenset(names)
    found: dict[str, str] = {}
    unknown: list[str] = []
    for row in rows:
        name, label = _case_of(row["image"], cases), row[column].strip()
        if name is None:
            unknown.append(row["image"])
        elif found.setdefault(name, label) != label:
            raise _refusal(
                "twice",
                path,
                "one label for each image",
                f"{found[name]!r} and {label!r} for {name}",
                "delete one of the rows",
            )
    if unknown:
        raise _refusal(
            "unknown",
            path,
            "names of images in the data set",
            listed(unknown),
            "correct these names, or delete their rows",
        )
    return labels_by_name(found, names, str(path))


def labels_by_name(found: Mapping[str, str], names: Sequence[str], subject: str) -> ImageLabels:
    """Number the labels of all cases in the natural order of the classes' names.

    Args:
        found: Case name → name of its class.
        names: Names of the cases.
        subject: Where the labels are written, for messages.

    Raises:
        DataError: ``image-labels-missing`` for cases without a label, ``image-labels-one-class``
            when all are alike.

    Example:
        >>> labels_by_name({"a": "well", "b": "ill"}, ["a", "b"], "manifest.csv").classes
        ('ill', 'well')
    """
    missing = [name for name in names if not found.get(name)]
    if missing:
        raise _refusal(
            "missing",
            subject,
            "a label for every image",
            f"none for {listed(missing)}",
            "add a row with the label of each",
        )
    classes = tuple(sorted({found[name] for name in names}, key=naming.natural_key))
    number = {label: index for index, label in enumerate(classes)}
    return _checked(classes, {name: number[found[name]] for name in names}, subject)


def labels_by_content(
    wanted: str,
    names: Sequence[str],
    class_names: Sequence[str],
    present: Mapping[str, Sequence[int]],
) -> ImageLabels:
    """Label each image by whether its mask holds a class.

    Args:
        wanted: Name of the class, or its number.
        names: Names of the cases.
        class_names: Classes of the masks.
        present: Case name → class ids in its mask.

    Returns:
        0 for images without the class, 1 for images with it.

    Raises:
        DataError: ``image-labels-class`` for an unknown class, ``image-labels-missing`` for a
            case whose mask was not read, ``image-labels-one-class`` when no mask holds it.

    Example:
        >>> labels_by_content("1", ["a", "b"], ("nothing", "cell"), {"a": (0, 1), "b": (0,)})
        ImageLabels(classes=('without cell', 'with cell'), label_of={'a': 1, 'b': 0})
    """
    index = contained_class(CONTAINS + wanted, class_names)
    missing = [name for name in names if name not in present]
    if missing:
        raise _refusal(
            "missing",
            CONTAINS + wanted,
            "a mask for every image",
            f"none for {listed(missing)}",
            "add their masks, or give the labels in a CSV file",
        )
    classes = (f"without {class_names[index]}", f"with {class_names[index]}")
    label_of = {name: int(index in present[name]) for name in names}
    if not any(label_of.values()):
        raise _one_class(CONTAINS + wanted, classes[0], len(names))
    return ImageLabels(classes, label_of)


def contained_class(source: str, class_names: Sequence[str]) -> int:
    """The number of the class that ``contains:NAME`` names.

    Args:
        source: ``contains:`` and the name or number of a class.
        class_names: Classes of the masks.

    Raises:
        DataError: ``image-labels-class`` for an unknown class.

    Example:
        >>> contained_class("contains:cell", ("nothing", "cell"))
        1
    """
    wanted = source.removeprefix(CONTAINS)
    if wanted in class_names:
        return list(class_names).index(wanted)
    if wanted.isdecimal() and int(wanted) < len(class_names):
        return int(wanted)
    raise _refusal(
        "class",
        source,
        f"one of the classes {', '.join(class_names)}",
        repr(wanted),
        f"write for example {CONTAINS}{class_names[-1] if class_names else 'NAME'}",
    )


def _case_of(text: str, names: frozenset[str]) -> str | None:
    """The case that a name in a table means."""
    name = text.strip()
    if name in names:
        return name
    file = Path(name.replace("\\", "/"))
    stem = image_stem(file) if image_suffix(file) in SUFFIXES else file.name
    return next((known for known in (stem, naming.channel_core(stem)) if known in names), None)


def _checked(classes: tuple[str, ...], label_of: dict[str, int], subject: str) -> ImageLabels:
    used = {classes[label] for label in label_of.values()}
    if len(used) < 2:
        raise _one_class(subject, "".join(used), len(label_of))
    return ImageLabels(classes, label_of)


def _one_class(subject: str, label: str, images: int) -> DataError:
    return _refusal(
        "one-class",
        subject,
        "images of at least two classes",
        f"{label!r} for all {images} images" if images else "no image",
        "add images of another class, or leave image labels out (--image-labels none)",
    )


def _refusal(what: str, subject: Path | str, expected: str, found: str, remedy: str) -> DataError:
    return DataError(
        f"image-labels-{what}", str(subject), expected=expected, found=found, remedy=remedy
    )
