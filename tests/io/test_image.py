"""Orientation and grey images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from maskwright.io.image import Image, apply_orientation, apply_orientation_to_pair, is_grey


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(orientation: int) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    picture = Pillow.fromarray(array)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    turned = apply_orientation(array[None], orientation)
    assert np.array_equal(turned[0], expected)
    assert apply_orientation_to_pair((2, 3), orientation) == expected.shape


def test_an_unknown_orientation_leaves_the_image_upright() -> None:
    array = np.arange(6).reshape(1, 2, 3)
    assert apply_orientation(array, 9) is array


def test_size_and_channels_follow_the_array() -> None:
    image = Image(np.zeros((3, 4, 5)))
    assert (image.size, image.channels) == ((4, 5), 3)


def test_three_equal_channels_are_grey_and_others_are_not() -> None:
    grey = np.broadcast_to(np.arange(12).reshape(1, 3, 4), (3, 3, 4)).copy()
    assert is_grey(grey)
    grey[2, 2, 3] += 1
    assert not is_grey(grey)
    assert not is_grey(np.zeros((2, 3, 4)))
