"""Windows and percentiles: known numbers, and the same from memory and from blocks."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.config import ChannelIntensity, DataConfig, RunConfig, apply_settings
from maskwright.data.image_facts import ImageFacts, image_facts
from maskwright.data.intensity import Intensity, apply, measure, measure_clipped
from maskwright.data.intensity_choice import choose_ways, fit_channels
from maskwright.data.labelmap import IGNORED
from maskwright.data.sampler import Source
from maskwright.errors import ConfigError, DataError
from maskwright.io.image import Image

_WINDOW = ChannelIntensity(way="window", low=-1000, high=400)
_PERCENTILE = ChannelIntensity(way="percentile")


def _scan(seed: int, shape: tuple[int, ...] = (1, 12, 30, 40)) -> NDArray[np.int16]:
    """Air, a body of about 40 HU and a bright implant."""
    generator = np.random.default_rng(seed)
    scan = np.full(shape, -1024, np.int16)
    body = generator.normal(40, 30, (1, 12, 20, 30)).astype(np.int16)
    scan[:, :, 5:25, 5:35] = body
    scan[:, 4, 8, 8] = 3071
    return scan


def test_a_known_window_needs_no_look_at_the_image() -> None:
    way = ChannelIntensity(way="window", low=-100, high=300, mean=50, std=20)
    found = measure(np.empty((1, 0, 4), np.int16), 1, (way,))
    assert found == Intensity((50.0,), (20.0,), (-100.0,), (300.0,))
    values = apply(np.array([[[-1024, 50, 90, 3000]]], np.int16), found, 1)
    np.testing.assert_allclose(values[0, 0], [-7.5, 0, 2, 12.5])


def test_a_given_window_leaves_the_z_score_of_the_clipped_image() -> None:
    scan = _scan(0)
    normal = apply(scan, measure(scan, 1, (_WINDOW,)), 1)
    clipped = np.clip(scan.astype(float), -1000, 400)
    np.testing.assert_allclose(normal, (clipped - clipped.mean()) / clipped.std(), atol=1e-5)


def test_percentiles_are_those_of_the_image_itself() -> None:
    image = np.random.default_rng(1).normal(5, 2, (1, 60, 70)).astype(np.float32)
    image[0, 0, 0] = 1e6
    found = measure(image, 1, (_PERCENTILE,))
    ends = np.quantile(image, (0.005, 0.995), method="lower")
    assert (found.low[0], found.high[0]) == tuple(ends)
    normal = apply(image, found, 1)
    assert abs(float(normal.mean())) < 1e-4
    assert normal.max() < 4


@pytest.mark.parametrize("way", [_WINDOW, _PERCENTILE])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_blocks_give_the_very_numbers_of_the_whole(way: ChannelIntensity, dtype: Any) -> None:
    scan = np.concatenate([_scan(2), _scan(3)]).astype(dtype)
    ways = (way, ChannelIntensity())
    whole = measure(scan, 2, ways)
    assert measure_clipped(lambda: [scan], 2, ways) == whole
    assert whole.low[1] == -np.inf
    assert whole.mean[1] == pytest.approx(measure(scan, 2).mean[1], rel=1e-12)


@pytest.mark.parametrize("way", [_WINDOW, _PERCENTILE])
def test_a_large_image_is_never_held_as_numbers_of_eight_bytes(way: ChannelIntensity) -> None:
    image = np.random.default_rng(4).integers(-1024, 900, (1, 4000, 4000)).astype(np.int16)
    tracemalloc.start()
    measure(image, 1, (way,))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * image.nbytes


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(DataError, match="intensity-channels"):
        measure(np.ones((2, 4, 4)), 2, (_WINDOW,))


def _facts(*scans: NDArray[Any]) -> list[ImageFacts]:
    return [image_facts(Image(scan)) for scan in scans]


def test_values_of_ct_are_recognised_and_others_are_not() -> None:
    scans = _facts(*(_scan(seed) for seed in range(3)))
    assert choose_ways(DataConfig(), scans, 1)[0] == ("window",)
    assert "-1000 (air) in 3 of 3 images" in choose_ways(DataConfig(), scans, 1)[1]
    for other in (
        _scan(0) + 1024,  # begins at 0, as a photograph does
        _scan(0) / 1000,  # normalised by somebody
        _scan(0) + 0.5,  # no whole numbers
        np.clip(_scan(0), -1024, 50),  # no tissue above
    ):
        assert choose_ways(DataConfig(), _facts(other, other), 1)[0] == ("z-score",)
    # Scanners fill what lies outside their round field of view; and floats may be whole.
    padded = np.where(_scan(0) == -1024, -3024, _scan(0)).astype(np.float64)
    assert choose_ways(DataConfig(), _facts(padded, _scan(1)), 1)[0] == ("window",)


def test_one_image_in_two_like_ct_is_not_enough() -> None:
    mixed = _facts(_scan(0), _scan(1) + 1024)
    assert choose_ways(DataConfig(), mixed, 1)[0] == ("z-score",)


def test_each_channel_is_chosen_by_itself() -> None:
    both = _facts(np.concatenate([_scan(0), _scan(0) + 1024]))
    ways, reason = choose_ways(DataConfig(), both, 2)
    assert ways == ("window", "z-score")
    assert "channel 0" in reason


def test_what_is_asked_for_wins() -> None:
    scans = _facts(_scan(0))
    assert choose_ways(DataConfig(intensity="percentile"), scans, 1)[0] == ("percentile",)
    given = DataConfig(window=(-1000, 400))
    assert fit_channels(choose_ways(given, scans, 1)[0], given, []) == (_WINDOW,)


def _source(seed: int, ignored: bool = False) -> Source:
    scan = _scan(seed)
    classes = (scan[0] > -500).astype(np.uint8)
    if ignored:
        classes[4, 8, 8] = IGNORED
    return Source(str(seed), scan, classes, measure(scan, 1))


def test_a_window_is_measured_where_something_is_drawn() -> None:
    sources = [_source(seed, ignored=True) for seed in range(3)]
    (found,) = fit_channels(("window",), DataConfig(), sources)
    values = np.concatenate([s.image_CYX[0][s.classes_YX == 1] for s in sources])
    low, high = np.quantile(values, (0.005, 0.995), method="lower")
    assert (found.low, found.high) == (low, high)
    assert (found.mean, found.std) == pytest.approx((values.mean(), values.std()), rel=1e-9)
    assert high < 200  # neither air nor the implant that does not count


def test_without_anything_drawn_all_pixels_are_measured() -> None:
    scan = _scan(0)
    empty = Source("a", scan, np.zeros(scan.shape[1:], np.uint8), measure(scan, 1))
    (found,) = fit_channels(("window",), DataConfig(), [empty])
    assert found.low == -1024


def test_the_z_score_needs_no_entry_in_the_configuration() -> None:
    assert fit_channels(("z-score",), DataConfig(), [_source(0)]) == ()


def test_settings_are_read_as_people_type_them() -> None:
    asked = ("window=(-1000, 400)", "data.spacing=2,0.7,0.7")
    data = apply_settings(RunConfig(), asked).data
    assert (data.window, data.spacing_mm) == ((-1000.0, 400.0), (2.0, 0.7, 0.7))
    assert apply_settings(RunConfig(), ("data.spacing=none",)).data.spacing_mm is None


@pytest.mark.parametrize(
    "setting",
    ["data.spacing=soup", "data.spacing=0,1,1", "data.spacing=1", "window=400,-1000", "window=4"],
)
def test_settings_that_mean_nothing_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="config-value"):
        apply_settings(RunConfig(), (setting,))


def test_a_window_and_another_way_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="config-value"):
        apply_settings(RunConfig(), ("window=-1000,400", "intensity=percentile"))


@pytest.mark.parametrize(
    "values",
    [{"way": "window"}, {"low": 1, "high": 2}, {"way": "window", "low": 2, "high": 1},
     {"way": "window", "low": 0, "high": 1, "mean": 3}],
)  # fmt: skip
def test_half_a_window_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"window|together"):
        ChannelIntensity(**values)
