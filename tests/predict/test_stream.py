"""From store to store: the same mask as in memory, whatever the band, the tile or the kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright import geometry
from maskwright.config import ModelConfig
from maskwright.data import intensity
from maskwright.errors import OutputError
from maskwright.io.sink import LabelStore
from maskwright.nn.unet import build_unet
from maskwright.predict.engine import torch_engine
from maskwright.predict.predictor import Engine, Found, Rule, predict_image
from maskwright.predict.stream import BandReader, bands_left, measure_source, predict_stream
from maskwright.tiling import BlendRule, Interval, TileRule, read_mirrored


@dataclass
class Stored:
    """An array that counts what is read of it."""

    array_CS: NDArray[Any]
    chunks: tuple[int, ...] | None = None
    reads: list[tuple[slice, ...]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array_CS.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array_CS.dtype

    @property
    def read(self) -> Callable[[tuple[slice, ...]], NDArray[Any]]:
        def block(where: tuple[slice, ...]) -> NDArray[Any]:
            self.reads.append(where)
            return self.array_CS[(slice(None), *where)].copy()

        return block


class Stop(Exception):  # noqa: N818
    """What a test ends a prediction with."""


def _image(*shape: int, channels: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(len(shape)).integers(0, 255, (channels, *shape)).astype(np.uint8)


def _network(dims: int = 2, **settings: Any) -> tuple[Engine, tuple[geometry.Axis, ...]]:
    model = ModelConfig(**{"dims": dims, "depth": 2, "width": 4, "classes": 3, **settings})
    network = build_unet(model, seed=2).eval()
    return torch_engine(network), geometry.axes_of(model)


def _stream(source: Stored, store: LabelStore, engine: Engine, rule: Rule, **options: Any) -> None:
    measured = measure_source(source, 1, 1 << 20)
    predict_stream(source, store, engine, rule, measured, 1, most_bytes=1 << 20, **options)


def _whole(store: LabelStore) -> NDArray[np.uint8]:
    return store.read(tuple(slice(0, n) for n in store.shape))


@pytest.mark.parametrize("rule", [TileRule, BlendRule])
@pytest.mark.parametrize("shape", [(150, 211), (30, 41, 52), (7, 300)])
def test_the_mask_is_that_of_the_image_in_memory(
    rule: type[TileRule] | type[BlendRule], shape: tuple[int, ...], tmp_path: Path
) -> None:
    settings = {"depth": 1} if len(shape) == 3 else {}
    engine, axes = _network(len(shape), **settings)
    source = Stored(_image(*shape))
    tiles = rule(axes, 64 if len(shape) == 2 else 24, 8)
    assert len(tiles.cover(shape)) > 3
    expected = predict_image(source.array_CS, engine, tiles, 1).classes_YX
    store = LabelStore.begin(tmp_path / "s", shape, {})
    _stream(source, store, engine, tiles)
    np.testing.assert_array_equal(_whole(store), expected)
    assert len(np.unique(expected)) > 1


def test_two_sizes_of_tiles_give_the_same_mask(tmp_path: Path) -> None:
    engine, axes = _network()
    source = Stored(_image(260, 301))
    found = []
    for tile in (80, 160):
        store = LabelStore.begin(tmp_path / str(tile), (260, 301), {})
        _stream(source, store, engine, TileRule(axes, tile, 8))
        found.append(_whole(store))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("most_bytes", [1, 10**6])
def test_windows_are_those_of_the_array_however_much_is_held(most_bytes: int) -> None:
    source = Stored(_image(40, 50, channels=2))
    read = BandReader(source, most_bytes)
    for first in (-9, 0, 3, 3, 20, 31):
        for left in (-30, 5, 44):
            window = (Interval(first, first + 12), Interval(left, left + 33))
            expected = read_mirrored(source.array_CS, window)
            np.testing.assert_array_equal(read(window), expected)
    largest = max(
        (rows.stop - rows.start) * (cols.stop - cols.start) for rows, cols in source.reads
    )
    assert largest <= (12 * 50 if most_bytes > 1 else 12 * 33)


def test_a_row_of_tiles_reads_its_band_once(tmp_path: Path) -> None:
    engine, axes = _network()
    source, rule = Stored(_image(100, 400)), TileRule(axes, 80, 8)
    rows = {tile.write[0].start for tile in rule.cover((100, 400))}
    store = LabelStore.begin(tmp_path / "s", (100, 400), {})
    measured = measure_source(source, 1, 1 << 20)
    source.reads.clear()
    predict_stream(source, store, engine, rule, measured, 1, most_bytes=1 << 20)
    assert 1 < len(source.reads) <= len(rows)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("chunks", [None, (300, 2000)])
def test_an_image_in_a_file_is_measured_as_in_memory(
    dtype: type, chunks: tuple[int, ...] | None
) -> None:
    source = Stored((_image(1300, 2000) * 1.7).astype(dtype), chunks)
    assert measure_source(source, 1, 10**6) == intensity.measure(source.array_CS, 1)
    read = sum(rows.stop - rows.start for rows, _ in source.reads)
    assert read == 1300
    assert len(source.reads) > 1


@pytest.mark.parametrize("rule", [TileRule, BlendRule])
@pytest.mark.parametrize("stop", [1, 7, 16])
def test_a_prediction_that_was_interrupted_goes_on_to_the_same_mask(
    rule: type[TileRule] | type[BlendRule], stop: int, tmp_path: Path
) -> None:
    engine, axes = _network(norm="instance")
    source, tiles = Stored(_image(300, 100)), rule(axes, 72, 8)
    expected = predict_image(source.array_CS, engine, tiles, 1).classes_YX
    done: list[None] = []

    def stopping() -> None:
        done.append(None)
        if len(done) == stop:
            raise Stop

    store = LabelStore.begin(tmp_path / "s", (300, 100), {"tile": 72})
    with pytest.raises(Stop):
        _stream(source, store, engine, tiles, on_tile=stopping)
    again = LabelStore.resume(tmp_path / "s", {"tile": 72})
    assert again is not None
    done.clear()
    _stream(source, again, engine, tiles, on_tile=lambda: done.append(None))
    np.testing.assert_array_equal(_whole(again), expected)
    if rule is TileRule:
        assert len(done) == len(tiles.cover((300, 100))) - stop + 1
    elif stop > 15:
        assert len(done) < len(tiles.cover((300, 100)))


@pytest.mark.parametrize("rule", [TileRule, BlendRule])
def test_a_prediction_that_was_complete_has_no_tile_left(
    rule: type[TileRule] | type[BlendRule], tmp_path: Path
) -> None:
    engine, axes = _network()
    source, tiles = Stored(_image(100, 130)), rule(axes, 80, 8)
    store = LabelStore.begin(tmp_path / "s", (100, 130), {})
    _stream(source, store, engine, tiles)
    before, done = _whole(store), []
    again = LabelStore.resume(tmp_path / "s", {})
    assert again is not None
    _stream(source, again, engine, tiles, on_tile=lambda: done.append(None))
    assert not done
    np.testing.assert_array_equal(_whole(again), before)


def test_labels_of_whole_images_are_the_sum_of_the_notes_after_a_stop_too(tmp_path: Path) -> None:
    _, axes = _network()
    image = _image(150, 100)

    def labelling(batch: NDArray[np.float32]) -> Found:
        share = float(np.tanh(batch).mean()) / 2 + 0.5
        pixels = np.concatenate([batch, -batch], 1)
        label = np.array([[share, 1 - share]], np.float32)
        return {"probabilities": pixels, "image_probabilities": label}

    for rule in (TileRule(axes, 64, 8), BlendRule(axes, 64, 8)):
        expected = predict_image(image, labelling, rule, 1).image_probabilities_L
        done: list[None] = []

        def stopping(done: list[None] = done) -> None:
            done.append(None)
            if len(done) == 9:
                raise Stop

        store = LabelStore.begin(tmp_path / "s", (150, 100), {})
        with pytest.raises(Stop):
            _stream(Stored(image), store, labelling, rule, on_tile=stopping)
        again = LabelStore.resume(tmp_path / "s", {})
        assert again is not None
        _stream(Stored(image), again, labelling, rule)
        np.testing.assert_allclose(np.sum(again.notes(), axis=0), expected, atol=1e-6)


def test_a_torn_line_of_the_journal_is_a_block_to_write_again(tmp_path: Path) -> None:
    store = LabelStore.begin(tmp_path / "s", (4, 4), {})
    blocks = [(slice(0, 4), slice(x, x + 1)) for x in range(4)]
    for block in blocks[:2]:
        store.write(block, np.zeros((4, 1), np.uint8))
    journal = tmp_path / "s" / "journal" / "00000.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    again = LabelStore.resume(tmp_path / "s", {})
    assert again is not None
    assert [again.is_written(block) for block in blocks] == [True, False, False, False]
    again.write(blocks[1], np.ones((4, 1), np.uint8))
    last = LabelStore.resume(tmp_path / "s", {})
    assert last is not None
    assert [last.is_written(block) for block in blocks] == [True, True, False, False]


def test_two_writers_of_other_bands_fill_one_store_with_both_maps(tmp_path: Path) -> None:
    size, cut = (90, 1300), 37
    classes = np.random.default_rng(0).integers(0, 9, size).astype(np.uint8)
    certainty = np.random.default_rng(1).integers(0, 1 << 16, size).astype(np.uint16)
    LabelStore.begin(tmp_path / "s", size, {}, certainty=True)
    writers = [LabelStore(tmp_path / "s") for _ in range(2)]
    for left in range(0, 1300, 130):
        for writer, rows in zip(writers, (slice(0, cut), slice(cut, 90)), strict=True):
            block = (rows, slice(left, left + 130))
            writer.write(block, classes[block], (float(left),), certainty[block])
    store = LabelStore.resume(tmp_path / "s", {})
    assert store is not None
    assert store.has_certainty
    for where in ((slice(0, 90), slice(0, 1300)), (slice(30, 41), slice(100, 777))):
        np.testing.assert_array_equal(store.read(where), classes[where])
        np.testing.assert_array_equal(store.read_certainty(where), certainty[where])
    assert store.notes() == [(float(left),) for left in range(0, 1300, 130)] * 2
    files = [{path.relative_to(tmp_path / "s" / name) for path in (tmp_path / "s" / name).rglob("*")
              if path.is_file()} for name in ("labels", "certainty")]  # fmt: skip
    assert files[0] == files[1]


def test_every_chunk_is_written_once_and_whole(tmp_path: Path) -> None:
    store = LabelStore.begin(tmp_path / "s", (1800, 2000), {})
    chunks: dict[Path, int] = {}
    for top in range(0, 1800, 900):
        for left in range(0, 2000, 800):
            block = (slice(top, min(top + 900, 1800)), slice(left, min(left + 800, 2000)))
            store.write(block, np.zeros([part.stop - part.start for part in block], np.uint8))
            for path in (tmp_path / "s" / "labels").rglob("c/*/*"):
                assert chunks.setdefault(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    assert len(chunks) == 2 * 2 * 5


def test_a_store_that_was_given_up_for_lost_does_no_harm(tmp_path: Path) -> None:
    LabelStore.begin(tmp_path / "s", (40, 60), {})
    lost, heir = LabelStore(tmp_path / "s"), LabelStore(tmp_path / "s")
    blocks = [(slice(0, 40), slice(left, left + 20)) for left in (0, 20, 40)]
    for number, block in enumerate(blocks):
        for store in (lost, heir) if number < 2 else (heir,):
            store.write(block, np.full((40, 20), number + 1, np.uint8), (0.5,))
    lost.write(blocks[2], np.full((40, 20), 3, np.uint8), (0.5,))
    store = LabelStore(tmp_path / "s")
    assert store.notes() == [(0.5,)] * 3
    found = store.read((slice(0, 40), slice(0, 60)))
    assert found[0, ::20].tolist() == [1, 2, 3]


@pytest.mark.parametrize("rule", [TileRule, BlendRule])
@pytest.mark.parametrize("together", [1, 3])
def test_bands_predicted_apart_and_in_any_order_are_those_predicted_together(
    rule: type[TileRule] | type[BlendRule], together: int, tmp_path: Path
) -> None:
    engine, axes = _network(norm="instance", image_classes=2)
    source, tiles = Stored(_image(300, 100)), rule(axes, 72, 8)
    whole = LabelStore.begin(tmp_path / "whole", (300, 100), {})
    _stream(source, whole, engine, tiles)
    apart = LabelStore.begin(tmp_path / "apart", (300, 100), {})
    bands = bands_left(tiles.cover((300, 100)), apart)
    assert len(bands) > 4
    for first in reversed(range(0, len(bands), together)):
        several = bands[first : first + together]
        rows = slice(several[0].start, several[-1].stop)
        _stream(source, LabelStore(apart.folder), engine, tiles, rows=rows)
    apart = LabelStore(apart.folder)
    assert not bands_left(tiles.cover((300, 100)), apart)
    np.testing.assert_array_equal(_whole(apart), _whole(whole))
    assert apart.notes() == whole.notes()
    assert len(apart.notes()[0]) == 2


def test_a_prediction_with_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    LabelStore.begin(tmp_path / "s", (4, 4), {"tile_px": 512})
    with pytest.raises(OutputError, match=r"tile_px 512.*1024.*resume-differs"):
        LabelStore.resume(tmp_path / "s", {"tile_px": 1024})
    (tmp_path / "s" / "settings.json").unlink()
    assert LabelStore.resume(tmp_path / "s", {"tile_px": 1024}) is None
