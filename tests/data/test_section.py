import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from maskwright.data.section import check_seed, simulate_section
from maskwright.errors import ConfigError, SizeError

SOURCE = Path(__file__).parents[2] / "src"
SECTIONS = [simulate_section(seed, (256, 256)) for seed in range(8)]

PRINT_HASH = """
import hashlib
from maskwright.data.section import simulate_section
print(hashlib.sha256(b"".join(a.tobytes() for a in simulate_section(7, (80, 120)))).hexdigest())
"""


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


@pytest.mark.parametrize("threads", ["1", "3"])
def test_another_process_with_any_number_of_threads_draws_the_same_bytes(threads: str) -> None:
    here = hashlib.sha256(b"".join(a.tobytes() for a in simulate_section(7, (80, 120))))
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "PYTHONHASHSEED": threads,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }
    there = subprocess.run(
        [sys.executable, "-c", PRINT_HASH],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert there.stdout.strip() == here.hexdigest()


def test_other_seeds_draw_other_sections() -> None:
    images = {image_YX.tobytes() for image_YX, _ in SECTIONS}
    masks = {mask_YX.tobytes() for _, mask_YX in SECTIONS}
    assert len(images) == len(masks) == len(SECTIONS)


def test_a_threshold_of_otsu_does_not_find_the_membranes() -> None:
    scores = [dice(image < threshold_otsu(image), mask > 0) for image, mask in SECTIONS]
    assert np.mean(scores) < 0.6


def test_no_threshold_at_all_finds_the_membranes() -> None:
    best = [
        max(dice(image < grey, mask > 0) for grey in range(10, 250, 10)) for image, mask in SECTIONS
    ]
    assert np.mean(best) < 0.65


def test_membranes_are_darker_than_the_inside_of_cells() -> None:
    for image_YX, mask_YX in SECTIONS:
        assert image_YX[mask_YX > 0].mean() < image_YX[mask_YX == 0].mean() - 10


def test_membranes_take_between_a_tenth_and_a_third_of_a_section() -> None:
    shares = [(mask_YX > 0).mean() for _, mask_YX in SECTIONS]
    assert min(shares) > 0.1
    assert max(shares) < 0.33
    assert 0.15 < np.mean(shares) < 0.27


def test_cells_touch_so_that_no_pixel_of_membrane_is_far_from_one() -> None:
    for _, mask_YX in SECTIONS:
        assert ndimage.distance_transform_cdt(mask_YX > 0, "chessboard").max() <= 14


def test_membranes_are_four_to_eight_pixels_thick() -> None:
    for _, mask_YX in SECTIONS:
        inside_px = ndimage.distance_transform_edt(np.pad(mask_YX, 1, mode="reflect") > 0)
        ridge = inside_px == ndimage.maximum_filter(inside_px, 5)
        assert 4 <= 2 * np.median(inside_px[ridge & (inside_px > 1)]) <= 8


def test_cells_are_many_and_their_sizes_differ_widely() -> None:
    for seed in (11, 12):
        _, mask_YX = simulate_section(seed, (512, 512))
        labels_YX, cells = ndimage.label(mask_YX == 0)
        sizes_px = np.bincount(labels_YX.ravel())[1:]
        assert cells > 40
        assert np.percentile(sizes_px, 90) > 8 * np.percentile(sizes_px, 10)


def test_the_inside_of_a_cell_is_never_a_speck() -> None:
    for _, mask_YX in SECTIONS:
        labels_YX, _ = ndimage.label(mask_YX == 0)
        touching = np.unique(np.r_[labels_YX[0], labels_YX[-1], labels_YX[:, 0], labels_YX[:, -1]])
        sizes_px = np.bincount(labels_YX.ravel())
        whole = np.setdiff1d(np.arange(1, sizes_px.size), touching)
        assert sizes_px[whole].min() >= 25


def test_grey_values_use_the_range_and_are_rarely_clipped() -> None:
    for image_YX, _ in SECTIONS:
        assert image_YX.std() > 25
        assert ((image_YX == 0) | (image_YX == 255)).mean() < 0.06


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**63), st.integers(16, 90), st.integers(16, 90))
def test_any_size_is_drawn_with_a_mask_of_two_values(seed: int, rows: int, columns: int) -> None:
    image_YX, mask_YX = simulate_section(seed, (rows, columns))
    assert image_YX.shape == mask_YX.shape == (rows, columns)
    assert image_YX.dtype == mask_YX.dtype == np.uint8
    assert set(np.unique(mask_YX)) <= {0, 255}
    assert image_YX.flags.c_contiguous


@pytest.mark.parametrize("size_px", [(15, 64), (64, 0), (-3, 64), (64, 4097)])
def test_a_size_out_of_range_is_refused(size_px: tuple[int, int]) -> None:
    with pytest.raises(SizeError, match="16 to 4096") as caught:
        simulate_section(0, size_px)
    assert caught.value.code == "sample-size"


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        check_seed(-1)
    assert caught.value.code == "sample-seed"
    with pytest.raises(ConfigError):
        simulate_section(-1, (64, 64))
