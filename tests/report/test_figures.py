"""Overlays: what each panel shows, in which colour, and how large it gets."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from maskwright.report import figures
from maskwright.report.figures import (
    GAP_PX,
    overlay,
    overlay_uri,
    panel_names,
    slice_uris,
    volume_slices,
    write_overlay,
)


def square(size=64, low=16, high=48):
    mask = np.zeros((size, size), np.uint8)
    mask[low:high, low:high] = 1
    return mask


def panels(picture, number=4):
    width = (picture.shape[1] - (number - 1) * GAP_PX) // number
    return [picture[:, k * (width + GAP_PX) :][:, :width] for k in range(number)]


def noisy(size=64):
    return np.random.default_rng(0).integers(0, 60000, (1, size, size)).astype(np.uint16)


def has(panel, mask, colour):
    return bool((panel[mask] == colour).all())


def test_four_panels_with_gaps_have_the_size_of_the_image():
    picture = overlay(noisy(), square(), square(), 2)
    assert picture.shape == (64, 4 * 64 + 3 * GAP_PX, 3)
    assert picture.dtype == np.uint8


def test_without_a_truth_image_and_prediction_show():
    assert overlay(noisy(), None, square(), 2).shape == (64, 2 * 64 + GAP_PX, 3)


def test_truth_and_prediction_are_outlined_in_their_colours_over_a_visible_image():
    image, mask = noisy(), square()
    plain, truth, prediction, _ = panels(overlay(image, mask, mask, 2))
    edge = mask.astype(bool).copy()
    edge[18:46, 18:46] = False
    assert has(truth, edge, figures.TRUTH_RGB)
    assert has(prediction, edge, figures.PREDICTION_RGB)
    middle = np.s_[20:44, 20:44]
    expected = 0.65 * plain[middle] + 0.35 * np.array(figures.TRUTH_RGB)
    assert np.abs(truth[middle] - expected).max() <= 1
    assert truth[16, 14].sum() <= plain[16, 14].sum() * 0.45
    assert np.array_equal(truth[:10], plain[:10])


def test_false_positives_are_solid_and_false_negatives_hatched():
    image = np.zeros((1, 64, 64))
    truth, prediction = square(low=8, high=32), square(low=24, high=56)
    errors = panels(overlay(image, truth, prediction, 2))[3]
    assert has(errors, (prediction == 1) & (truth == 0), figures.FALSE_POSITIVE_RGB)
    missed = errors[(prediction == 0) & (truth == 1)]
    share = np.mean((missed == figures.FALSE_NEGATIVE_RGB).all(1))
    assert 0.4 < share < 0.6
    assert not errors[(prediction == truth)].any()


def test_a_pixel_of_the_wrong_class_is_solid_and_hatched():
    truth = square()
    errors = panels(overlay(np.zeros((1, 64, 64)), truth, truth * 2, 3))[3]
    colours = {tuple(colour) for colour in errors[truth == 1].tolist()}
    assert colours == {figures.FALSE_POSITIVE_RGB, figures.FALSE_NEGATIVE_RGB}


def test_classes_differ_in_shade():
    truth = square(low=4, high=20) + 2 * square(low=40, high=60)
    panel = panels(overlay(np.zeros((1, 64, 64)), truth, truth, 3))[1]
    assert tuple(panel[4, 4]) == figures.TRUTH_RGB
    assert tuple(panel[40, 40]) != figures.TRUTH_RGB


def test_no_error_shows_outside_the_region_of_interest():
    valid = np.zeros((64, 64), bool)
    errors = panels(overlay(np.zeros((1, 64, 64)), square(), 1 - square(), 2, valid=valid))[3]
    assert not errors.any()


def test_a_large_image_is_reduced_and_its_mask_keeps_its_place():
    truth = np.zeros((1200, 600), np.uint8)
    truth[:600] = 1
    panel = panels(overlay(np.zeros((1, 1200, 600)), truth, truth, 2))[1]
    assert panel.shape == (512, 256, 3)
    assert panel[:256].any(axis=2).all()
    assert not panel[260:].any()


def test_colour_images_keep_their_colours_and_sixteen_bits_are_stretched():
    colour = np.zeros((3, 32, 32), np.uint8)
    colour[0, :16] = 200
    shown = panels(overlay(colour, None, np.zeros((32, 32), int), 2), 2)[0]
    assert tuple(shown[0, 0]) == (255, 0, 0)
    grey = panels(overlay(noisy(), None, square(), 2), 2)[0]
    assert grey.min() == 0
    assert grey.max() == 255


@pytest.mark.parametrize("value", [0, 5, 65535])
def test_a_constant_image_shows_without_a_warning(value, recwarn):
    overlay(np.full((1, 8, 8), value), None, np.zeros((8, 8), int), 2)
    assert not recwarn.list


def test_the_written_file_holds_the_panels(tmp_path):
    path = tmp_path / "overlay.png"
    write_overlay(path, noisy(), square(), square(), 2)
    assert np.array_equal(np.asarray(Image.open(path)), overlay(noisy(), square(), square(), 2))


def test_noise_fits_the_budget_of_a_report_of_many():
    panels_YX3 = np.random.default_rng(0).integers(0, 256, (512, 2072, 3)).astype(np.uint8)
    uri = overlay_uri(panels_YX3, images=100)
    data = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    assert len(data) <= figures.REPORT_BYTES // 100
    picture = Image.open(io.BytesIO(data))
    assert picture.width / picture.height == pytest.approx(2072 / 512, rel=0.02)


def test_without_an_image_the_masks_lie_on_grey():
    panel = panels(overlay(None, square(), square(), 2), 3)
    assert panel_names(image=False) == ("truth", "prediction", "errors")
    assert tuple(panel[0][0, 0]) == (figures.NO_IMAGE,) * 3
    assert tuple(panel[0][16, 16]) == figures.TRUTH_RGB
    assert overlay(None, None, square(), 2).shape == (64, 64, 3)


def test_a_region_is_bordered_with_dashes_and_dimmed_outside():
    valid = np.zeros((64, 64), bool)
    valid[8:, 8:] = True
    plain, truth, prediction, errors = panels(overlay(noisy(), square(), square(), 2, valid=valid))
    for panel in (truth, prediction, errors):
        dashes = (panel[8, 8:] == 255).all(1)
        assert 0.3 < dashes.mean() < 0.7
    assert np.array_equal(truth[:8], (plain[:8] * figures.OUTSIDE).astype(np.uint8))
    assert np.array_equal(truth[50:, 50:], plain[50:, 50:])


def test_errors_outside_the_region_are_not_drawn():
    valid = np.zeros((64, 64), bool)
    valid[:, :32] = True
    errors = panels(overlay(noisy(), square(), square() * 0, 2, valid=valid))[3]
    blue = (errors == figures.FALSE_NEGATIVE_RGB).all(2)
    assert blue[:, :32].any()
    assert not blue[:, 32:].any()


def volume(depth=20):
    truth = np.zeros((depth, 32, 32), np.uint8)
    truth[5:15, 8:24, 8:24] = 1
    truth[9, 4:28, 4:28] = 1
    prediction = truth.copy()
    prediction[13] = 0
    return truth, prediction


def test_the_worst_slice_comes_first_and_the_largest_is_among_them():
    truth, prediction = volume()
    for most in (2, 4, 12):
        places = [z for z, _ in volume_slices(None, truth, prediction, 2, most=most)]
        assert places[0] == 13
        assert 9 in places
        assert places[1:] == sorted(places[1:])
        assert len(places) == len(set(places)) <= most
        assert 5 <= min(places) <= max(places) <= 14


def test_errors_outside_the_region_do_not_make_a_slice_the_worst():
    truth, prediction = volume()
    prediction[6, 8:12, 8:12] = 0
    valid = np.ones(truth.shape, bool)
    valid[13] = False
    assert volume_slices(None, truth, prediction, 2, valid=valid)[0][0] == 6


def test_slices_share_one_window_of_intensities():
    truth, prediction = volume()
    image = np.zeros((1, *truth.shape))
    image[:, 5:10] = 10.0
    image[:, 10:] = 20.0
    shown = {z: int(p[0, 0, 0]) for z, p in volume_slices(image, truth, prediction, 2)}
    assert shown[5] < 255
    assert shown[14] == 255


def test_an_empty_volume_still_shows_slices():
    nothing = np.zeros((7, 8, 8), np.uint8)
    assert len(volume_slices(None, nothing, nothing, 2, most=3)) >= 2
    assert volume_slices(None, nothing[:1], nothing[:1], 2)[0][0] == 0


@pytest.mark.parametrize("volumes", [1, 20, 100, 1000])
def test_slices_of_noise_fit_the_budget_of_the_report(volumes):
    noise = np.random.default_rng(0).integers(0, 256, (12, 128, 536, 3)).astype(np.uint8)
    slices = slice_uris(list(enumerate(noise)), volumes)
    assert slices[0].index == 0
    assert all(entry.picture.startswith("data:image/webp;base64,") for entry in slices)
    if volumes <= 100:
        data = sum(len(entry.picture) * 3 // 4 for entry in slices)
        assert data <= figures.REPORT_BYTES // volumes
