"""What mask values mean, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.config import DataConfig
from maskwright.data.labelmap import default_colors, default_names
from maskwright.data.labels import LabelMap, recognise
from maskwright.data.problem import Problem
from maskwright.errors import ConfigError, DataError
from maskwright.io.image import Image
from maskwright.io.registry import read_mask, write_mask

PALETTE = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0]], np.uint8)
RNG = np.random.default_rng(0)


def _grey(
    *planes: NDArray[np.generic] | list[list[int]], dtype: str = "uint8", suffix: str = ".png"
) -> list[tuple[str, Image]]:
    return [
        (f"{i}{suffix}", Image(np.asarray(p).astype(dtype)[None])) for i, p in enumerate(planes)
    ]


def _recognise(
    masks: list[tuple[str, Image]],
    config: DataConfig = DataConfig(),  # noqa: B008
) -> tuple[LabelMap, list[Problem]]:
    label_map, problems = recognise(masks, config)
    assert label_map is not None, problems
    return label_map, problems


def _refusal(
    masks: list[tuple[str, Image]],
    config: DataConfig = DataConfig(),  # noqa: B008
) -> Problem:
    _, problems = recognise(masks, config)
    refusal, *others = [problem for problem in problems if problem.level == "refuse"]
    assert {other.code for other in others} <= {refusal.code}
    assert refusal.remedy
    return refusal


def _blobs(count: int, size: int = 64) -> NDArray[np.uint16]:
    """Squares numbered from 1, each in one piece."""
    plane = np.zeros((size, size), np.uint16)
    side = size // 8
    for number in range(count):
        y, x = divmod(number, 8)
        plane[y * side : y * side + side - 1, x * side : x * side + side - 1] = number + 1
    return plane


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        ((0, 255), "uint8", "values"),
        ((0, 1), "uint8", "values"),
        ((0, 1), "bool", "bool"),
        ((0, 1, 2), "uint8", "values"),
        ((3, 50, 117), "int16", "values"),
        ((0, 1, 2), "float32", "values"),
        ((0, 500), "uint16", "values"),
    ],
)
def test_few_values_are_classes_in_ascending_order(
    values: tuple[int, ...], dtype: str, kind: str
) -> None:
    label_map, problems = _recognise(_grey([list(values)], [list(values)[::-1]], dtype=dtype))
    assert problems == []
    assert label_map.kind == kind
    assert label_map.values == tuple((value,) for value in values)
    ids = label_map.encode(_grey([list(values)], dtype=dtype)[0][1])
    assert ids.tolist() == [list(range(len(values)))]
    assert ids.dtype == np.uint8


def test_two_classes_are_background_and_foreground() -> None:
    assert default_names(2) == ("background", "foreground")
    assert default_names(3) == ("background", "class 1", "class 2")


def test_every_class_is_described_in_a_sentence() -> None:
    label_map, _ = _recognise(_grey([[0, 255]]))
    assert label_map.describe() == [
        "value 0 is read as class 0 'background'",
        "value 255 is read as class 1 'foreground'",
    ]


def test_three_equal_channels_are_grey() -> None:
    plane = np.array([[0, 255]], np.uint8)
    mask = Image(np.stack([plane] * 3))
    label_map, _ = _recognise([("a.png", mask)])
    assert label_map.kind == "values"
    assert label_map.encode(mask).tolist() == [[0, 1]]


def test_a_palette_gives_its_indices_and_colours() -> None:
    mask = Image(np.array([[[0, 2, 1]]], np.uint8), palette=PALETTE)
    label_map, _ = _recognise([("a.png", mask)])
    assert (label_map.kind, label_map.values) == ("palette", ((0,), (1,), (2,)))
    assert label_map.colors[1] == (200, 0, 0)
    back = label_map.decode(label_map.encode(mask))
    assert np.array_equal(back.array, mask.array)
    assert back.palette is not None
    assert np.array_equal(back.palette, PALETTE)


def test_palettes_that_differ_are_refused() -> None:
    one = Image(np.array([[[0, 1]]], np.uint8), palette=PALETTE)
    two = Image(np.array([[[0, 1]]], np.uint8), palette=PALETTE[::-1])
    assert _refusal([("a.png", one), ("b.png", two)]).code == "mask-palette"


def test_few_exact_colours_are_classes_and_come_back() -> None:
    colours = np.array([[[0, 0, 0], [255, 0, 0], [0, 0, 255]]], np.uint8)
    mask = Image(np.moveaxis(colours, -1, 0))
    empty = Image(np.zeros((3, 1, 3), np.uint8))
    label_map, problems = _recognise([("a.png", mask), ("b.png", empty)])
    assert label_map.kind == "rgb"
    assert label_map.values == ((0,), (0x0000FF,), (0xFF0000,))
    assert label_map.encode(mask).tolist() == [[0, 2, 1]]
    assert np.array_equal(label_map.decode(label_map.encode(mask)).array, mask.array)
    assert [problem.code for problem in problems] == ["mask-empty"]
    assert "#ff0000" in label_map.describe()[2]


def test_many_colours_are_refused_with_their_number() -> None:
    noise = Image(RNG.integers(0, 255, (3, 16, 16)).astype(np.uint8))
    refusal = _refusal([("a.png", noise)])
    assert refusal.code == "mask-colours-many"
    assert refusal.message.startswith("256 ")


def test_colours_beside_single_channels_are_refused() -> None:
    colour = Image(np.array([[[0, 255]], [[0, 0]], [[0, 0]]], np.uint8))
    assert _refusal([("a.png", colour), *_grey([[0, 255]])]).code == "mask-mixed"


def test_other_numbers_of_channels_are_refused() -> None:
    assert _refusal([("a.png", Image(np.zeros((2, 3, 3), np.uint8)))]).code == "mask-channels"


def test_grey_edges_are_read_as_the_nearer_value_and_told() -> None:
    plane = np.zeros((100, 100), np.uint8)
    plane[:, 50:] = 255
    plane[:, 50] = np.arange(100) * 2 + 20
    label_map, problems = _recognise(_grey(plane))
    assert label_map.nearest
    assert label_map.values == ((0,), (255,))
    assert [problem.code for problem in problems] == ["mask-doubtful"]
    assert "1.0%" in problems[0].message
    assert np.array_equal(label_map.encode(Image(plane[None])), plane > 127)


def test_too_many_grey_pixels_are_refused_with_their_share() -> None:
    plane = np.zeros((100, 100), np.uint8)
    plane[:, 50:] = 255
    plane[:, 48:51] = np.arange(300).reshape(100, 3) % 200 + 20
    refusal = _refusal(_grey(plane))
    assert refusal.code == "mask-values-many"
    assert "3.0%" in refusal.message


def test_jpeg_masks_are_read_with_a_warning(tmp_path: Path) -> None:
    plane = np.zeros((160, 160), np.uint8)
    plane[40:120, 40:120] = 255
    path = tmp_path / "a.jpg"
    Pillow.fromarray(plane).save(path, quality=95)
    label_map, problems = _recognise([("a.jpg", read_mask(path))])
    assert problems[0].code == "mask-jpeg"
    assert label_map.values == ((0,), (255,))
    assert np.array_equal(label_map.encode(read_mask(path)), plane // 255)


def test_a_number_an_object_is_recognised_and_can_be_overridden() -> None:
    masks = _grey(*(_blobs(n) for n in (20, 31, 9)), dtype="uint16")
    label_map, problems = _recognise(masks)
    assert (label_map.kind, problems) == ("objects", [])
    assert label_map.classes == 2
    assert "mask_kind=values" in label_map.describe()[1]
    assert np.array_equal(label_map.encode(masks[0][1]), _blobs(20) > 0)
    assert set(np.unique(label_map.decode(label_map.encode(masks[0][1])).array)) == {0, 255}
    as_classes, _ = _recognise(masks, DataConfig(mask_kind="values"))
    assert as_classes.classes == 32


def test_few_numbered_objects_are_ambiguous_and_the_remedy_settles_it() -> None:
    masks = _grey(*(_blobs(n) for n in (3, 5, 7, 9)))
    refusal = _refusal(masks)
    assert refusal.code == "mask-values-ambiguous"
    assert "--objects" in refusal.remedy
    assert _recognise(masks, DataConfig(mask_kind="objects"))[0].classes == 2
    assert _recognise(masks, DataConfig(mask_kind="values"))[0].classes == 10


def test_many_classes_present_in_every_mask_are_classes() -> None:
    label_map, _ = _recognise(_grey(_blobs(30), _blobs(30)[::-1], _blobs(30).T))
    assert (label_map.kind, label_map.classes) == ("values", 31)


def test_scattered_noise_is_not_taken_for_objects() -> None:
    noise = RNG.integers(0, 40, (64, 64))
    assert _refusal(_grey(noise, noise % 31)).code == "mask-values-many"


@pytest.mark.parametrize(
    ("plane", "dtype", "code"),
    [
        ([[0, 0.5]], "float32", "mask-fractional"),
        ([[-1, 1]], "int16", "mask-negative"),
        ([[0, 0]], "uint8", "masks-all-empty"),
        ([[7, 7]], "uint8", "mask-one-value"),
        ([[False, False]], "bool", "masks-all-empty"),
        ([[0, 70000]], "uint32", "mask-value-range"),
    ],
)
def test_values_that_mean_nothing_are_refused(
    plane: list[list[float]], dtype: str, code: str
) -> None:
    mask = Image(np.array([plane], dtype))
    assert _refusal([("a.tif", mask), ("b.tif", mask)]).code == code


def test_an_empty_mask_among_others_is_a_warning() -> None:
    _, problems = _recognise(_grey([[0, 255]], [[0, 0]]))
    assert [(problem.code, problem.level) for problem in problems] == [("mask-empty", "warn")]
    assert "1.png" in problems[0].message


def test_bits_and_black_and_white_go_together() -> None:
    masks = [*_grey([[0, 255]]), ("b.png", Image(np.array([[[False, True]]])))]
    label_map, problems = _recognise(masks)
    assert problems == []
    assert label_map.values == ((0,), (255,))
    assert [label_map.encode(mask).tolist() for _, mask in masks] == [[[0, 1]], [[0, 1]]]


def test_declared_labels_set_order_names_and_merged_values() -> None:
    config = DataConfig(labels=(("cell", 2), ("rest", 0), ("cell", 1)))
    label_map, problems = _recognise(_grey([[0, 1, 2]]), config)
    assert problems == []
    assert (label_map.names, label_map.values) == (("cell", "rest"), ((2, 1), (0,)))
    assert label_map.encode(_grey([[0, 1, 2]])[0][1]).tolist() == [[1, 0, 0]]


def test_bits_may_be_declared_as_255() -> None:
    config = DataConfig(labels=(("none", 0), ("cell", 255)))
    masks = [("a.png", Image(np.array([[[False, True]]])))]
    label_map, problems = _recognise(masks, config)
    assert problems == []
    assert label_map.encode(masks[0][1]).tolist() == [[0, 1]]


def test_a_value_that_was_not_declared_is_refused() -> None:
    config = DataConfig(labels=(("none", 0), ("cell", 1)))
    refusal = _refusal(_grey([[0, 1, 7]]), config)
    assert refusal.code == "mask-value"
    assert "7" in refusal.message


def test_a_declared_class_that_is_never_drawn_is_refused() -> None:
    config = DataConfig(labels=(("none", 0), ("cell", 1), ("nucleus", 2)))
    refusal = _refusal(_grey([[0, 1]]), config)
    assert refusal.code == "class-absent"
    assert "nucleus" in refusal.message


@pytest.mark.parametrize("labels", [(("a", 0),), (("a", 0), ("b", 0))])
def test_labels_that_contradict_are_refused(labels: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(ConfigError):
        LabelMap.from_config(DataConfig(labels=labels))
    assert _refusal(_grey([[0, 1]]), DataConfig(labels=labels)).code.startswith("labels-")


@pytest.mark.parametrize(("kind", "code"), [("palette", "mask-kind"), ("values", "mask-channels")])
def test_a_kind_that_does_not_fit_is_refused(kind: str, code: str) -> None:
    colour = Image(np.array([[[0, 255]], [[0, 0]], [[0, 0]]], np.uint8))
    config = DataConfig.model_validate({"mask_kind": kind})
    assert _refusal([("a.png", colour)], config).code in {code, "mask-channels"}


def test_encoding_an_unknown_value_names_it_and_its_pixels() -> None:
    label_map = LabelMap("values", ("a", "b"), ((0,), (255,)), default_colors(2))
    with pytest.raises(DataError, match="2 pixels with 7") as caught:
        label_map.encode(Image(np.array([[[0, 7, 7, 255]]], np.uint8)), subject="x.png")
    assert caught.value.code == "mask-value"
    with pytest.raises(DataError, match=r"x\.png") as caught:
        label_map.encode(Image(RNG.integers(0, 9, (3, 4, 4))), subject="x.png")
    assert caught.value.code == "mask-channels"


_VALUES = st.lists(st.integers(0, 255), min_size=2, max_size=6, unique=True)


@given(
    st.sampled_from(["values", "rgb", "palette", "bool", "objects"]),
    _VALUES,
    hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 5)
    ),
)
@settings(max_examples=60, deadline=None)
def test_classes_survive_the_mask_the_file_and_the_configuration(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    values: list[int],
    classes_YX: NDArray[np.uint8],
) -> None:
    if kind in ("bool", "objects"):
        values = [0, 1] if kind == "bool" else [0, 255]
    labels = tuple((f"class {v}", v * 1000 if kind == "rgb" else v) for v in values)
    settings_ = DataConfig.model_validate({"labels": labels, "mask_kind": kind})
    label_map = LabelMap.from_config(settings_)
    again = LabelMap.from_config(DataConfig.model_validate(label_map.to_settings()))
    assert again == label_map
    classes_YX = classes_YX % label_map.classes
    path = tmp_path_factory.mktemp("masks") / "a.png"
    write_mask(path, label_map.decode(classes_YX))
    assert np.array_equal(again.encode(read_mask(path)), classes_YX)


def test_nearest_values_survive_the_configuration() -> None:
    label_map = LabelMap("values", ("a", "b"), ((0,), (255,)), default_colors(2), nearest=True)
    again = LabelMap.from_config(DataConfig.model_validate(label_map.to_settings()))
    assert again.encode(Image(np.array([[[100, 200]]], np.uint8))).tolist() == [[0, 1]]


@pytest.mark.parametrize("labels", [(0, 255), (0, 1), (0, 1, 2)])
def test_a_viewer_shows_every_class_in_its_own_colour(
    tmp_path: Path, labels: tuple[int, ...]
) -> None:
    config = DataConfig(labels=tuple((str(value), value) for value in labels))
    classes_YX = np.arange(len(labels), dtype=np.uint8)[None]
    write_mask(tmp_path / "a.png", LabelMap.from_config(config).decode(classes_YX))
    seen = np.asarray(Pillow.open(tmp_path / "a.png").convert("RGB")).astype(int)
    distance = np.abs(seen[0][:, None] - seen[0][None]).sum(-1)
    assert distance[~np.eye(len(labels), dtype=bool)].min() > 100
    assert np.asarray(Pillow.open(tmp_path / "a.png")).tolist() == [list(labels)]


def test_values_above_255_are_written_with_16_bits() -> None:
    label_map = LabelMap("values", ("a", "b"), ((0,), (700,)), default_colors(2))
    assert label_map.decode(np.array([[1]], np.uint8)).array.dtype == np.uint16


def test_colours_of_many_classes_differ() -> None:
    assert len(set(default_colors(40))) == 40
