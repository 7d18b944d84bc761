"""Pictures of real volumes and images, where they are at hand."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.report.figures import REPORT_BYTES, overlay, overlay_uri, slice_uris, volume_slices

DATA = Path(__file__).parents[3] / "shared" / "data"
HIPPOCAMPUS = DATA / "hippocampus"
MEMBRANES = DATA / "membranes"


@pytest.mark.skipif(not HIPPOCAMPUS.is_dir(), reason=f"no real volumes at {HIPPOCAMPUS}")
def test_slices_of_a_real_volume_lie_where_its_masks_are():
    import SimpleITK as sitk  # noqa: N813

    label = sorted((HIPPOCAMPUS / "labelsTr").glob("*.nii.gz"))[0]
    truth = sitk.GetArrayFromImage(sitk.ReadImage(label)).astype(np.uint8)
    image = sitk.GetArrayFromImage(sitk.ReadImage(HIPPOCAMPUS / "imagesTr" / label.name))
    prediction = np.roll(truth, 2, axis=2)
    slices = volume_slices(image[None], truth, prediction, 3)
    wrong = (truth != prediction).sum((1, 2))
    covered = np.flatnonzero(((truth > 0) | (prediction > 0)).any((1, 2)))
    assert slices[0][0] == int(wrong.argmax())
    assert 10 <= len(slices) <= 12
    assert {covered[0] <= z <= covered[-1] for z, _ in slices} == {True}
    size = sum(len(entry.picture) * 3 // 4 for entry in slice_uris(slices, 100))
    assert size <= REPORT_BYTES // 100


def coloured(panels):
    """Shares of orange and blue pixels in the panel of errors."""
    errors = panels[:, -panels.shape[1] // 5 :].astype(int)
    red_over_blue = errors[..., 0] - errors[..., 2]
    return (red_over_blue > 20).mean(), (red_over_blue < -20).mean()


@pytest.mark.skipif(not MEMBRANES.is_dir(), reason=f"no real images at {MEMBRANES}")
def test_errors_of_a_real_image_stay_visible_in_a_report_of_a_hundred():
    truth = np.asarray(Image.open(MEMBRANES / "masks" / "slice_00.png").convert("L")) == 0
    image = np.asarray(Image.open(MEMBRANES / "images" / "slice_00.png").convert("L"))
    panels = overlay(image[None], truth.astype(int), np.roll(truth, 8, axis=0).astype(int), 2)
    data = base64.b64decode(overlay_uri(panels, 100).partition(",")[2])
    assert len(data) <= REPORT_BYTES // 100
    for before, after in zip(
        coloured(panels),
        coloured(np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))),
        strict=True,
    ):
        assert after > 0.5 * before
