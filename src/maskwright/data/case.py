"""One image with all that belongs to it, and how each part is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.companions import region_of
from maskwright.data.object_folders import read_objects
from maskwright.data.slices import read_slice
from maskwright.errors import DataError
from maskwright.io.channels import read_channels
from maskwright.io.dicom import is_segmentation
from maskwright.io.dicom_seg import placed_on
from maskwright.io.image import Image
from maskwright.io.registry import mask_suffix, read_mask
from maskwright.io.source import open_source


@dataclass(frozen=True)
class Case:
    """One image, its mask, and the group it must not be separated from.

    Args:
        name: Stem of the image file, without the number of the channel; of a slice that of the
            stack with its number, as in ``stack_z0007``.
        image: The image file, or that of its first channel.
        mask: The mask file, or the folder with a mask for each object; ``None`` for none.
        group: Cases of one group go to the same part of a split.
        more: The files of the other channels, in their order.
        objects: Where there is a mask for each object, their files in natural order.
        roi: File that says where pixels count, see
            :func:`maskwright.data.companions.region_of`.
        second: What a second person drew.
        z: Which slice of the files it is; ``None`` for all of them.
        image_label: Class of the image as a whole, where a manifest says it.
        part: Part of the split, where a manifest says it.

    Example:
        >>> Case("a", Path("images/a.png"), None, "a").name
        'a'
    """

    name: str
    image: Path
    mask: Path | None
    group: str
    more: tuple[Path, ...] = ()
    objects: tuple[Path, ...] = ()
    roi: Path | None = None
    second: Path | None = None
    z: int | None = None
    image_label: str = ""
    part: str = ""

    @property
    def image_name(self) -> str:
        """What its image is called in messages."""
        return self.image.name if self.z is None else self.name

    @property
    def mask_name(self) -> str:
        """What its mask is called in messages; empty where there is none."""
        if self.mask is None:
            return ""
        return self.mask.name if self.z is None and not self.objects else self.name

    @property
    def mask_suffix(self) -> str:
        """Suffix of a predicted mask: that of the image's format, ``.png`` for a slice."""
        return mask_suffix(self.image) if self.z is None else ".png"

    def read_image(self) -> Image:
        """The image with all its channels.

        Raises:
            ImageReadError: When a file cannot be read, or the channels do not fit each other.
        """
        files = (self.image, *self.more)
        return read_channels(files) if self.z is None else read_slice(read_channels, files, self.z)

    def read_mask(self) -> Image:
        """The mask with its values as they are stored; objects in files of their own numbered.

        Raises:
            DataError: ``mask-missing`` where there is none.
            ImageReadError: When a file cannot be read.
        """
        if self.mask is None:
            raise DataError(
                "mask-missing",
                str(self.image),
                expected="a mask",
                found="none",
                remedy="run `maskwright check`",
            )
        return read_objects(self.objects).mask if self.objects else self._read(self.mask)

    def read_region(self) -> NDArray[np.bool_] | None:
        """Where pixels count, shape of the image without channels; ``None`` where all do.

        Raises:
            ImageReadError: When the file cannot be read.
        """
        return None if self.roi is None else region_of(self._read(self.roi))

    def read_second(self) -> Image | None:
        """What a second person drew, values as they are stored, or ``None``.

        Raises:
            ImageReadError: When the file cannot be read.
        """
        return None if self.second is None else self._read(self.second)

    def to_json(self) -> dict[str, Any]:
        """The case as plain values."""
        return {
            "name": self.name,
            "image": str(self.image),
            "channels": [str(path) for path in self.more],
            "group": self.group,
            "mask": None if self.mask is None else str(self.mask),
            "objects": len(self.objects),
            "roi": None if self.roi is None else str(self.roi),
            "second_observer": None if self.second is None else str(self.second),
            "slice": self.z,
            "image_label": self.image_label,
            "part": self.part,
        }

    def _read(self, path: Path) -> Image:
        if self.z is None:
            return self._placed(path)
        return read_slice(lambda paths: self._placed(paths[0]), (path,), self.z)

    def _placed(self, path: Path) -> Image:
        """A mask, of a DICOM-SEG with the slices of the image that it leaves out."""
        mask = read_mask(path)
        if not is_segmentation(path):
            return mask
        image = open_source(self.image)
        return placed_on(mask, image.shape[1:], image.geometry)
