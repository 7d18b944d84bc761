"""Files that go with the images by name: a second observer's masks, regions of interest.

::

    data/images/Image_01L.jpg
    data/second_observer/Image_01L_2ndHO.png     what a second person drew
    data/roi/Image_01L.png                       where the first one looked; not 0 is inside

What does not pair by name, or pairs twice, is reported and never guessed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data import naming
from maskwright.data.files import image_files, subfolders, visible_files
from maskwright.data.problem import Problem, listed
from maskwright.errors import DataError
from maskwright.io.image import Image
from maskwright.io.registry import image_stem

SECOND_OBSERVER_FOLDERS = (
    "second_observer",
    "2nd_manual",
    "manual2",
    "observer2",
    "observer_2",
    "2nd_observer",
    "second_manual",
    "masks2",
    "masks_2",
)
"""Names of folders of a second observer's masks, lower-case, the surest first."""

ROI_FOLDERS = (
    "roi",
    "rois",
    "fov",
    "fovs",
    "field_of_view",
    "region_of_interest",
    "regions_of_interest",
    "mask",
)
"""Names of folders of regions of interest, lower-case, the surest first. ``mask`` is one only
where the truth is in ``1st_manual`` or ``manual1``, as in the DRIVE and HRF vessels."""

_DRIVE_TRUTH = ("1st_manual", "manual1")
_WORDS = r"rois?|fovs?|field_of_view|region_of_interest|2nd_?observer|second_observer|observer_?2"
_AFFIX = re.compile(
    rf"^(?:{_WORDS})[_\-. ](?=.)|(?<=.)[_\-. ](?:{_WORDS})(?:[_\-. ](?:mask|manual))?$", re.I
)
# Share of the way from the dark surround to the brightest pixels: above the noise of a camera
# and of JPEG, below the dimmest rim of a retina.
_LIT_SHARE = 0.08


@dataclass(frozen=True)
class Companions:
    """The files of one folder that go with the images of a data set.

    Args:
        files: Name of the image → its file.
        unmatched: Images with no file, or with more than one, in the order they were given.
        folder: The folder; ``None`` where there is none, and then nothing is unmatched.
        ambiguous: Those of the unmatched that have more than one file.
        orphans: Names of files that go with no image.
    """

    files: Mapping[str, Path]
    unmatched: tuple[str, ...]
    folder: Path | None
    ambiguous: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()


def find_companions(root: Path, names: Sequence[str], folders: tuple[str, ...]) -> Companions:
    """Find the file that goes with each image in the first folder that has one of the names.

    Names pair as masks do (:func:`maskwright.data.naming.pair_names`); marks such as ``_roi``,
    ``_fov`` and ``_observer2`` are recognised too. Links that lead out of the data set are left
    out.

    Args:
        root: The folder of the data set.
        names: Names of the images, without suffix.
        folders: Names of folders, lower-case, the surest first, such as
            ``SECOND_OBSERVER_FOLDERS``.

    Returns:
        What was found, and what was not.

    Raises:
        DataError: ``data-folder`` when there is no such data set.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "second_observer" / "Image_01L_2ndHO.png"
        ...     path.parent.mkdir()
        ...     path.touch()
        ...     names = ["Image_01L", "Image_01R"]
        ...     found = find_companions(Path(folder), names, SECOND_OBSERVER_FOLDERS)
        >>> found.files["Image_01L"].name, found.unmatched
        ('Image_01L_2ndHO.png', ('Image_01R',))
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(
            "data-folder",
            str(root),
            expected="the folder of a data set",
            found="a file" if root.exists() else "nothing there",
            remedy="check the path for typing errors",
        )
    folder = _choose(root, folders)
    if folder is None:
        return Companions(MappingProxyType({}), (), None)
    inside = root.resolve()
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in image_files(visible_files(folder)):
        if path.resolve().is_relative_to(inside):
            by_stem[image_stem(path)].append(path)
    candidates = _pair(names, by_stem)
    used = {path for paths in candidates.values() for path in paths}
    return Companions(
        MappingProxyType({name: paths[0] for name, paths in candidates.items() if len(paths) == 1}),
        tuple(name for name, paths in candidates.items() if len(paths) != 1),
        folder,
        tuple(name for name, paths in candidates.items() if len(paths) > 1),
        tuple(path.name for paths in by_stem.values() for path in paths if path not in used),
    )


def tell_companions(
    found: Companions, meaning: str, notes: list[str], problems: list[Problem]
) -> None:
    """Say what a folder of companions is taken for, and which images it says nothing of.

    Args:
        found: The files that go with images.
        meaning: What they are.
        notes: Takes a sentence where there is such a folder.
        problems: Takes a warning where an image has no file, or more than one.

    Example:
        >>> notes, files = [], {"a": Path("roi/a.png")}
        >>> tell_companions(Companions(files, (), Path("roi")), "where pixels count", notes, [])
        >>> notes
        ['roi/: where pixels count, for 1 of 1 images']
    """
    if found.folder is None:
        return
    images = len(found.files) + len(found.unmatched)
    notes.append(f"{found.folder.name}/: {meaning}, for {len(found.files)} of {images} images")
    if found.unmatched:
        problems.append(
            Problem(
                "companion-unmatched",
                "warn",
                str(found.folder),
                f"no file that surely belongs to {listed(found.unmatched)}",
                "give image and file the same name",
            )
        )


def _choose(root: Path, folders: tuple[str, ...]) -> Path | None:
    truth = {path.name.lower() for path in subfolders(root, naming.MASK_FOLDERS)}
    drive = bool(truth & set(_DRIVE_TRUTH))
    # A folder of masks holds the truth, whatever it is asked for, unless DRIVE's is beside it.
    taken = _DRIVE_TRUTH if drive else naming.MASK_FOLDERS
    found = subfolders(root, tuple(name for name in folders if name not in taken))
    return found[0] if found else None


def _pair(names: Sequence[str], by_stem: Mapping[str, list[Path]]) -> dict[str, list[Path]]:
    """The files of each image: first by the names as they are, then without their marks."""
    pairs = naming.pair_names(list(names), list(by_stem))
    rest = [name for name, stems in pairs.items() if not stems]
    used = {stem for stems in pairs.values() for stem in stems}
    by_core: dict[str, list[str]] = defaultdict(list)
    for stem in by_stem:
        if stem not in used:
            by_core[_AFFIX.sub("", stem, count=1)].append(stem)
    for name, cores in naming.pair_names(rest, list(by_core)).items():
        pairs[name] = [stem for core in cores for stem in by_core[core]]
    return {name: [path for stem in pairs[name] for path in by_stem[stem]] for name in names}


def region_of(mask: Image | NDArray[Any]) -> NDArray[np.bool_]:
    """The region of interest that a mask draws: every pixel that is not 0 (not black) is inside.

    A mask without any pixel inside leaves nothing to measure, which the scores then say.

    Args:
        mask: An image, whose channels or palette colours count together, or an array of the
            region's shape.

    Returns:
        True inside, shape of the image without channels.

    Example:
        >>> region_of(np.array([[0, 255], [0, 1]])).tolist()
        [[False, True], [False, True]]
    """
    if isinstance(mask, Image):
        values = mask.array if mask.palette is None else mask.palette.max(axis=1)[mask.array]
        inside: NDArray[np.bool_] = np.asarray((values != 0).any(axis=0))
        return inside
    return np.asarray(np.asarray(mask) != 0, np.bool_)


def field_of_view(image_CYX: NDArray[Any], subject: str = "image") -> NDArray[np.bool_]:
    """The lit disc of a photograph of the retina, for data without drawn regions.

    The brightest channel of each pixel is smoothed (1 px) against the noise of JPEG and cut 8 %
    of the way from the surround (1st percentile) to the brightest pixels (99th). The largest
    connected part is kept and its holes are filled.

    Args:
        image_CYX: Intensities, shape ``(C, Y, X)``.
        subject: The file, for the message.

    Returns:
        True inside, shape ``(Y, X)``.

    Raises:
        DataError: ``field-of-view`` when the image is constant or a corner of it is lit.

    Source: ter Haar 2005, Automatic localization of the optic disc in digital colour images of
    the human retina, who cuts the red channel at a fixed level.

    Example:
        >>> y, x = np.indices((40, 50)) - np.array([20, 25])[:, None, None]
        >>> disc = (y**2 + x**2 < 15**2)
        >>> found = field_of_view(200 * disc[None].astype(np.uint8))
        >>> bool(found[disc].all()), round(float(found.sum() / disc.sum()), 1)
        (True, 1.2)
    """
    from scipy.ndimage import binary_fill_holes, gaussian_filter, label

    bright_YX = gaussian_filter(image_CYX.max(axis=0).astype(np.float32), 1.0)
    dark, white = (float(level) for level in np.percentile(bright_YX, (1, 99)))
    parts_YX, _ = label(bright_YX > dark + _LIT_SHARE * (white - dark))
    sizes = np.bincount(parts_YX.ravel())
    sizes[0] = 0
    inside: NDArray[np.bool_] = np.asarray(binary_fill_holes(parts_YX == sizes.argmax()), np.bool_)
    # A disc leaves every corner dark; what does not is another kind of image.
    if white <= dark or inside[:: inside.shape[0] - 1, :: inside.shape[1] - 1].any():
        raise DataError(
            "field-of-view",
            subject,
            expected="a lit field with a dark surround",
            found="no dark surround" if white > 0 else "a black image",
            remedy="draw the region and put it into a folder roi/, or leave the option out",
        )
    return inside
