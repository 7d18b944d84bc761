"""What is in a data set, what is wrong with it, and what each mask value means.

Every file is read once. Nothing is written, and nothing stops at the first problem: a person
sees all of them together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskwright.config import DataConfig
from maskwright.data.case import Case
from maskwright.data.census import MaskCensus
from maskwright.data.check_report import CheckReport
from maskwright.data.choices import choices
from maskwright.data.dataset import Dataset, find_cases
from maskwright.data.image_facts import ImageFacts, image_facts, pixel_digest
from maskwright.data.labelmap import LabelMap
from maskwright.data.labels import decide
from maskwright.data.object_folders import read_objects
from maskwright.data.problem import Problem, listed
from maskwright.data.spacing import axis_names, by, counted, space_problems
from maskwright.data.traits import Traits
from maskwright.errors import ImageReadError
from maskwright.io.image import Image, is_grey
from maskwright.io.space import difference

__all__ = ["CheckReport", "Problem", "check_dataset"]

Read = TypeVar("Read")
OnCase = Callable[[int, int, str], None]


def check_dataset(
    root: Path,
    config: DataConfig | None = None,
    *,
    patch_px: int | tuple[int, ...] | None = None,
    on_case: OnCase | None = None,
) -> CheckReport:
    """Read a data set once and tell everything that matters before training.

    Args:
        root: The folder, in one of the layouts of :mod:`maskwright.data.dataset`.
        config: What is said of labels, groups and unpaired files.
        patch_px: Size of a training patch, to warn of smaller images; a single side is one of
            planes, as the patch of volumes follows from the data.
        on_case: Called after each case with its number from 1, the number of cases and its name.

    Returns:
        The report; what is wrong is in its ``problems``.

    Raises:
        DataError: ``data-folder`` when there is no such folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     check_dataset(Path(folder)).problems[0].code
        'no-image'
    """
    config = config or DataConfig()
    dataset = find_cases(
        root,
        group_by=config.group_by,
        skip_unpaired=config.skip_unpaired,
        slices=config.slices,
    )
    config = _as_stored(config, dataset)
    survey = _Survey(patch_px, MaskCensus(ignore=config.ignore, soft=config.soft))
    for number, case in enumerate(dataset.cases, start=1):
        survey.look_at(case)
        if on_case is not None:
            on_case(number, len(dataset.cases), case.name)
    return survey.report(dataset, config)


def _as_stored(config: DataConfig, dataset: Dataset) -> DataConfig:
    """The settings with what the data set itself says, where a person says nothing else."""
    said: dict[str, Any] = {}
    if dataset.labels and not config.labels and config.mask_kind in ("auto", "values"):
        said["labels"] = dataset.labels
    if config.ignore is None:
        said["ignore"] = dataset.ignore
    if dataset.numbered and config.mask_kind in ("auto", "values"):
        said["mask_kind"] = "objects" if config.mask_kind == "auto" else "bool"
    return config.model_copy(update=said)


class _Survey:
    """Collects facts case by case."""

    def __init__(self, patch_px: int | tuple[int, ...] | None, census: MaskCensus) -> None:
        self.census = census
        self.traits = Traits()
        self.mask_names: dict[str, str] = {}
        self.taken: set[str] = set()
        self.problems: list[Problem] = []
        self.digests: dict[str, str] = {}
        self.sizes: Counter[tuple[int, ...]] = Counter()
        self.images: dict[str, ImageFacts] = {}
        self.spacings: Counter[tuple[float, ...]] = Counter()
        self.unplaced: list[str] = []
        self.stored: Counter[tuple[int, bool]] = Counter()
        self.dtypes: Counter[str] = Counter()
        self.turned: list[str] = []
        self.constant: list[str] = []
        self.small: list[str] = []
        self.patch_px = patch_px

    def look_at(self, case: Case) -> None:
        """Read the files of one case."""
        image = self._read(case.read_image)
        mask = None if case.mask is None else self._read(partial(self._mask_of, case))
        if image is not None:
            self._look_at_image(case, image)
        if mask is not None and case.mask is not None:
            self._look_at_mask(case, case.mask, mask)
            if image is not None:
                self._compare(case.mask, image, mask)
                if image.size == mask.size:
                    self.traits.add_pair(image, mask)
        for path, reader in ((case.roi, case.read_region), (case.second, case.read_second)):
            companion = None if path is None else self._read(reader)
            if path is not None and companion is not None and image is not None:
                self._compare_size(path, image.size, companion)

    def _mask_of(self, case: Case) -> Image:
        if not case.objects:
            return case.read_mask()
        numbered = read_objects(case.objects)
        self.traits.add_overlap(case.name, numbered.overlap_px, numbered.hidden)
        return numbered.mask

    def _look_at_mask(self, case: Case, path: Path, mask: Image) -> None:
        # Files of one name in several folders, as a manifest may have them.
        name = str(path) if case.mask_name in self.taken else case.mask_name
        self.taken.add(name)
        self.mask_names[case.name] = name
        if mask.exif_turned:
            self.turned.append(name)
        self.census.add(name, mask, whole=None if case.z is None else str(path))
        self.traits.add_mask(case, mask)

    def _read(self, reader: Callable[[], Read]) -> Read | None:
        try:
            return reader()
        except ImageReadError as error:
            self.problems.append(Problem.from_error(error, Path(error.subject)))
            return None

    def _look_at_image(self, case: Case, image: Image) -> None:
        array = image.array
        self.sizes[image.size] += 1
        self.stored[image.channels, is_grey(array)] += 1
        self.dtypes[str(array.dtype)] += 1
        self.traits.add_image(case, image)
        self.images[case.name] = facts = image_facts(image)
        # The empty slices at both ends of a stack are no copies of each other.
        if case.z is None or not facts.constant:
            self.digests[case.name] = pixel_digest(array)
        if image.exif_turned:
            self.turned.append(case.image_name)
        if facts.constant:
            self.constant.append(case.image_name)
        if self._is_small(image.size):
            self.small.append(case.image_name)
        if len(image.size) == 3 and image.spacing_mm is not None:
            self.spacings[tuple(float(f"{mm:.4g}") for mm in image.spacing_mm)] += 1
        elif len(image.size) == 3:
            self.unplaced.append(case.image_name)

    def _is_small(self, size: tuple[int, ...]) -> bool:
        patch = self.patch_px
        if isinstance(patch, int):
            return len(size) == 2 and min(size) < patch
        return patch is not None and any(n < px for n, px in zip(size, patch, strict=False))

    def _compare_size(
        self, path: Path, size: tuple[int, ...], other: Image | NDArray[np.bool_]
    ) -> None:
        found = other.size if isinstance(other, Image) else other.shape
        if found != size:
            self.problems.append(
                Problem(
                    "companion-shape",
                    "refuse",
                    str(path),
                    f"it is {by(found)} pixels, its image {by(size)} ({axis_names(len(size))})",
                    "export it at the size of its image",
                )
            )

    def _compare(self, path: Path, image: Image, mask: Image) -> None:
        apart = difference(image.geometry, mask.geometry)
        if mask.size != image.size:
            self.problems.append(
                Problem(
                    "mask-shape",
                    "refuse",
                    str(path),
                    f"the mask is {by(mask.size)} pixels, its image {by(image.size)} "
                    f"({axis_names(len(image.size))})",
                    "export the mask at the size of its image",
                )
            )
        elif apart is not None:
            self.problems.append(
                Problem(
                    "mask-geometry",
                    "refuse",
                    str(path),
                    f"the mask does not lie on its image: {apart}",
                    "export the mask in the space of its image, or resample it there",
                )
            )
        elif _same_pixels(image.array, mask.array) and mask.array.min() != mask.array.max():
            self.problems.append(
                Problem(
                    "mask-is-image",
                    "refuse",
                    str(path),
                    "the mask is the image itself",
                    "put the drawn mask in its place",
                )
            )

    def report(self, dataset: Dataset, config: DataConfig) -> CheckReport:
        """Everything that was found."""
        has_masks = any(case.mask is not None for case in dataset.cases)
        label_map, label_problems = decide(self.census, config) if has_masks else (None, [])
        cases, duplicates = self._join_duplicates(dataset.cases)
        root = str(dataset.root)
        scanned = bool(self.spacings or self.unplaced) or any(c.z is not None for c in cases)
        chosen = choices(config, self.images, channels=self._channels(), scanned=scanned, root=root)
        problems = [*dataset.problems, *self.problems, *label_problems, *duplicates]
        problems += [*self._image_problems(root, chosen.resampled), *self.traits.problems(root)]
        problems += chosen.problems
        shares: dict[str, NDArray[np.float64]] = {}
        if label_map is not None:
            shares = self.census.shares(label_map)
        class_shares = self._class_shares(shares, label_map)
        return CheckReport(
            dataset.root,
            cases,
            label_map,
            tuple(problems),
            dict(self.sizes.most_common()),
            self._channels(),
            dict(self.dtypes.most_common()),
            class_shares,
            dataset.grouping,
            dataset.sequence,
            self.digests,
            {
                name: tuple(int(k) for k in np.flatnonzero(shares[mask]))
                for name, mask in self.mask_names.items()
                if mask in shares
            },
            dict(self.spacings.most_common()),
            (*dataset.notes, *self.traits.notes(self.census, label_map), *chosen.notes),
            self.images,
        )

    def _channels(self) -> int:
        if all(grey for _, grey in self.stored):
            return 1
        return max(channels for channels, _ in self.stored)

    def _class_shares(
        self, shares: Mapping[str, NDArray[np.float64]], label_map: LabelMap | None
    ) -> tuple[float, ...]:
        """Shares over all masks, each pixel counting the same."""
        if label_map is None:
            return ()
        pixels = {mask.name: int(mask.counts.sum()) for mask in self.census.masks}
        total = np.zeros(label_map.classes)
        for name, share in shares.items():
            total += share * pixels[name]
        return tuple(float(share) for share in total / max(1, sum(pixels.values())))

    def _image_problems(self, root: str, resampled: bool) -> list[Problem]:
        spacings = {} if resampled else self.spacings
        problems = space_problems(root, self.sizes, spacings, self.unplaced)
        counts = {channels for channels, _ in self.stored}
        if len(counts) > 1 and self._channels() > 1:
            row = ", ".join(f"{n} with {channels}" for channels, n in self._by_channels().items())
            problems.append(
                Problem(
                    "image-channels",
                    "refuse",
                    root,
                    f"images with different numbers of channels: {row}",
                    "convert them to one kind, grey or RGB",
                )
            )
        if len(self.dtypes) > 1:
            problems.append(
                Problem(
                    "image-dtypes",
                    "warn",
                    root,
                    f"images of different data types: {counted(self.dtypes)}",
                    "check that all come from the same source; each is normalised by itself",
                )
            )
        if self.turned:
            problems.append(
                Problem(
                    "exif-turned",
                    "warn",
                    root,
                    f"turned or mirrored as the file asks: {listed(self.turned)}",
                    "check that image and mask lie on each other",
                )
            )
        if self.constant:
            problems.append(
                Problem(
                    "image-constant",
                    "warn",
                    root,
                    f"one value in every pixel: {listed(self.constant)}",
                    "check that this is meant",
                )
            )
        if self.small:
            problems.append(
                Problem(
                    "image-small",
                    "warn",
                    root,
                    f"smaller than the patch of {_patch_text(self.patch_px)} pixels, "
                    f"so mirrored at the border: {listed(self.small)}",
                    "choose a smaller patch_px",
                )
            )
        return problems

    def _by_channels(self) -> Counter[int]:
        counts: Counter[int] = Counter()
        for (channels, _), n in self.stored.items():
            counts[channels] += n
        return counts

    def _join_duplicates(self, cases: tuple[Case, ...]) -> tuple[tuple[Case, ...], list[Problem]]:
        """Cases with identical images join one group, so that a split cannot separate them."""
        alike: dict[str, list[str]] = defaultdict(list)
        for name, digest in self.digests.items():
            alike[digest].append(name)
        group_of = {case.name: case.group for case in cases}
        problems = []
        for names in alike.values():
            if len(names) < 2:
                continue
            joined = {group_of[name] for name in names}
            first = group_of[names[0]]
            group_of = {n: first if group in joined else group for n, group in group_of.items()}
            problems.append(
                Problem(
                    "image-duplicate",
                    "warn",
                    names[0],
                    f"the same image as {listed(names[1:])}; they stay in one part of a split",
                    "delete all but one of them",
                )
            )
        return tuple(replace(case, group=group_of[case.name]) for case in cases), problems


def _patch_text(patch_px: int | tuple[int, ...] | None) -> str:
    return by(patch_px) if isinstance(patch_px, tuple) else str(patch_px)


def _same_pixels(image_CYX: NDArray[Any], mask_CYX: NDArray[Any]) -> bool:
    """Whether two arrays hold the same values, three equal channels counting as one."""
    if len(image_CYX) != len(mask_CYX):
        if not (is_grey(image_CYX) and is_grey(mask_CYX)):
            return False
        image_CYX, mask_CYX = image_CYX[:1], mask_CYX[:1]
    return np.array_equal(image_CYX, mask_CYX)
