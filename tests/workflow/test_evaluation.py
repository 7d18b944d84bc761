"""Masks of any origin: formats, pairs, regions, objects, and what must never be dropped."""

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
import tifffile
import zarr
from PIL import Image

from maskwright.errors import ConfigError, DataError
from maskwright.io.probabilities import write_probabilities
from maskwright.progress import Events
from maskwright.workflow import masks, pairs
from maskwright.workflow.comparing import compare
from maskwright.workflow.evaluation import evaluate


def disc(radius=8, centre=(20, 24), shape=(40, 48)):
    y, x = np.indices(shape)
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2).astype(np.uint8)


def ball(radius=5, centre=(6, 10, 11), shape=(12, 20, 22)):
    z, y, x = np.indices(shape)
    distance = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
    return (distance < radius**2).astype(np.uint8)


def write_png(folder, **arrays):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        Image.fromarray(array).save(folder / f"{name}.png")
    return folder


def messages(into):
    return Events([lambda event: into.append(event) if event["kind"] == "message" else None])


def test_a_folder_with_every_kind_of_gap_drops_nothing(tmp_path):
    shape, empty = disc() * 255, np.zeros((40, 48), np.uint8)
    truth = write_png(
        tmp_path / "truth", good=shape, lost=shape, nothing=shape, clean=empty, invented=empty
    )
    predicted = write_png(
        tmp_path / "masks", good=shape, nothing=empty, clean=empty, invented=shape, stray=shape
    )
    found = evaluate(predicted, truth, table_file=tmp_path / "scores.csv")
    dice = {case.case: case.value("dice", 1) for case in found.cases}
    assert dice == {"good": 1.0, "lost": 0.0, "nothing": 0.0, "clean": 1.0, "invented": 0.0}
    assert found.summary.headline.mean == pytest.approx(0.4)
    assert (found.summary.missing, found.summary.extra) == (("lost",), ("stray",))
    for name, estimate in found.summary.measures["foreground"].items():
        left_out = sum(
            u.measure == name and u.class_name == "foreground" for u in found.summary.undefined
        )
        assert estimate.n_used + left_out == estimate.n == 5, name
    notes = "\n".join(found.notes())
    assert "the prediction is empty" in notes
    assert "the truth is empty" in notes
    rows = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 5 * 2


def test_two_single_files_belong_together_whatever_their_names(tmp_path):
    one = write_png(tmp_path / "a", mine=disc() * 255) / "mine.png"
    other = write_png(tmp_path / "b", yours=disc() * 255) / "yours.png"
    assert evaluate(one, other).summary.headline.mean == 1.0


def test_both_folders_empty_of_anything_drawn_is_a_perfect_score(tmp_path):
    empty = np.zeros((9, 9), np.uint8)
    truth = write_png(tmp_path / "t", a=empty)
    found = evaluate(write_png(tmp_path / "p", a=empty), truth)
    assert found.summary.headline.mean == 1.0
    assert evaluate(write_png(tmp_path / "q", a=disc(shape=(9, 9), centre=(4, 4), radius=3)), truth
                    ).summary.headline.mean == 0.0  # fmt: skip


def test_two_classes_in_other_values_are_understood_and_told(tmp_path):
    truth = write_png(tmp_path / "t", a=disc() * 255, b=disc(5) * 255)
    predicted = write_png(tmp_path / "p", a=disc(), b=disc(5))
    heard = []
    assert evaluate(predicted, truth, events=messages(heard)).summary.headline.mean == 1.0
    assert any("In the predictions, value 1 is read" in event["text"] for event in heard)


def test_values_that_cannot_be_mapped_are_refused_with_both_sides(tmp_path):
    labels = disc() + disc(4)
    truth = write_png(tmp_path / "t", a=labels, b=labels)
    predicted = write_png(tmp_path / "p", a=labels * 7, b=labels)
    with pytest.raises(DataError, match=r"values of the truth, 0, 1, 2.*7, 14.*mask-value"):
        evaluate(predicted, truth)


def test_numbered_objects_are_matched_one_to_one_on_both_sides(tmp_path):
    ids = np.zeros((3, 40, 60), np.uint16)
    for k in range(3):
        for number, left in enumerate(range(2, 50, 9), start=1):
            ids[k, 5 + k : 14 + k, left : left + 9] = 10 * k + number
    arrays = {f"n{k}": ids[k] for k in range(3)}
    truth = write_png(tmp_path / "t", **arrays)
    numbered = write_png(tmp_path / "p", **{n: a[::1] for n, a in arrays.items()})
    merged = write_png(
        tmp_path / "m", **{n: (a > 0).astype(np.uint8) * 255 for n, a in arrays.items()}
    )
    kept = evaluate(numbered, truth, objects=True).summary.measures["foreground"]
    lost = evaluate(merged, truth, objects=True).summary.measures["foreground"]
    assert (kept["dice"].mean, kept["pq"].mean) == (1.0, 1.0)
    assert (lost["dice"].mean, lost["pq"].mean) == (1.0, 0.0)


def save(path, volume, spacing_zyx):
    if path.suffix == ".npy":
        np.save(path, volume)
    elif path.suffix == ".zarr":
        zarr.save_array(path, volume)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, volume, photometric="minisblack")
    else:
        image = sitk.GetImageFromArray(volume)
        image.SetSpacing(spacing_zyx[::-1])
        sitk.WriteImage(image, path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd", ".npy", ".zarr", ".tif"])
def test_volumes_of_every_format_give_the_same_scores(tmp_path, suffix):
    truth, predicted = ball() * 2, ball(centre=(7, 10, 11)) * 2
    for folder, volume in (("t", truth), ("p", predicted)):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / f"case{suffix}", volume, (3.0, 1.0, 1.0))
    spacing = None if suffix in {".nii.gz", ".mha", ".nrrd"} else (3.0, 1.0, 1.0)
    found = evaluate(tmp_path / "p", tmp_path / "t", labels="none=0,organ=2", spacing=spacing)
    assert found.summary.unit == "mm"
    assert found.cases[0].value("hd", 1) == pytest.approx(3.0)
    assert found.cases[0].value("dice", 1) == pytest.approx(
        2 * (truth & predicted).astype(bool).sum() / ((truth > 0).sum() + (predicted > 0).sum())
    )


def test_volumes_that_lie_elsewhere_are_refused_with_the_distance(tmp_path):
    for folder, origin in (("t", 0.0), ("p", 4.0)):
        (tmp_path / folder).mkdir()
        image = sitk.GetImageFromArray(ball())
        image.SetOrigin((origin, 0.0, 0.0))
        sitk.WriteImage(image, tmp_path / folder / "a.nii.gz")
    with pytest.raises(DataError, match=r"origins differ by 4 mm.*mask-geometry"):
        evaluate(tmp_path / "p", tmp_path / "t")
    assert evaluate(tmp_path / "p", tmp_path / "t", spacing=(1, 1, 1)).summary.headline.mean == 1.0


def test_a_mask_above_the_limit_is_counted_in_blocks_with_the_same_counts(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    truth, predicted = (rng.integers(0, 3, (30, 40, 50)).astype(np.uint8) for _ in range(2))
    roi = rng.integers(0, 2, truth.shape).astype(np.uint8)
    for name, array in (("t", truth), ("p", predicted), ("r", roi)):
        zarr.create_array(tmp_path / f"{name}.zarr", data=array, chunks=(7, 16, 50))
    arguments = {
        "labels": "zero=0,one=1,two=2",
        "roi": tmp_path / "r.zarr",
        "spacing": (1, 1, 1),
    }
    whole = evaluate(tmp_path / "p.zarr", tmp_path / "t.zarr", **arguments)
    for module in (masks, pairs):
        monkeypatch.setattr(module, "LARGEST_PX", 1000, raising=False)
    streamed = evaluate(tmp_path / "p.zarr", tmp_path / "t.zarr", **arguments)
    assert streamed.cases[0].confusion == whole.cases[0].confusion
    assert np.sum(whole.cases[0].confusion) == roi.sum()
    assert "hd95" not in streamed.summary.measures["one"]
    assert "only overlap was counted" in "\n".join(streamed.notes())


def test_the_region_of_interest_may_be_one_file_or_a_folder_of_the_truth(tmp_path):
    truth, wrong = disc() * 255, disc() * 255
    wrong[:, 40:] = 255
    inside = np.zeros((40, 48), np.uint8)
    inside[:, :40] = 255
    data = tmp_path / "data"
    data.mkdir()
    write_png(data / "masks", a=truth, b=truth)
    predicted = write_png(tmp_path / "p", a=wrong, b=wrong)
    assert evaluate(predicted, data).summary.headline.mean < 0.8
    one = write_png(tmp_path / "r", any=inside) / "any.png"
    assert evaluate(predicted, data, roi=one).summary.headline.mean == 1.0
    write_png(data / "roi", a=inside, b=inside)
    assert evaluate(predicted, data).summary.headline.mean == 1.0
    (data / "roi" / "b.png").unlink()
    with pytest.raises(DataError, match=r"none for 1 images, such as b.*roi-missing"):
        evaluate(predicted, data)


def test_groups_are_resampled_together(tmp_path):
    names = [f"p{g}_{k}" for g in range(4) for k in range(3)]
    truth = write_png(tmp_path / "t", **dict.fromkeys(names, disc() * 255))
    predicted = write_png(tmp_path / "p", **{n: disc(5 + k % 4) * 255 for k, n in enumerate(names)})
    found = evaluate(predicted, truth, group_by=r"p\d")
    assert (found.summary.n, found.summary.n_groups) == (12, 4)
    with pytest.raises(DataError, match="group-pattern"):
        evaluate(predicted, truth, group_by="(")


def test_the_numbers_are_written_as_json_parquet_and_a_report(tmp_path):
    import pyarrow.parquet

    truth = write_png(tmp_path / "t", a=disc() * 255, b=disc(6) * 255)
    predicted = write_png(tmp_path / "p", a=disc(7) * 255, b=disc(6) * 255)
    evaluate(
        predicted,
        truth,
        json_file=tmp_path / "s.json",
        table_file=tmp_path / "s.parquet",
        report_file=tmp_path / "s.html",
    )
    written = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert [case["case"] for case in written["cases"]] == ["a", "b"]
    table = pyarrow.parquet.read_table(tmp_path / "s.parquet").to_pylist()
    assert [row["class"] for row in table] == ["background", "foreground"] * 2
    assert table[1]["hd95"] == written["cases"][0]["classes"]["foreground"]["hd95"]
    page = (tmp_path / "s.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp") == 2
    assert list((tmp_path / "s_figures").glob("*.svg"))


def test_a_report_of_volumes_has_slices_with_the_images_they_were_drawn_on(tmp_path):
    for folder, volume in (("t", ball()), ("p", ball(4)), ("i", ball().astype(np.float32) * 9.5)):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / "a.nii.gz", volume, (3.0, 1.0, 1.0))
    evaluate(tmp_path / "p", tmp_path / "t", images=tmp_path / "i", report_file=tmp_path / "s.html")
    page = (tmp_path / "s.html").read_text(encoding="utf-8")
    assert 'type="range"' in page
    assert page.count("data:image/webp") > 3


def test_methods_are_compared_on_the_same_cases(tmp_path):
    truth = write_png(tmp_path / "t", **{f"c{k}": disc(6 + k % 3) * 255 for k in range(8)})
    good = write_png(tmp_path / "good", **{f"c{k}": disc(6 + k % 3) * 255 for k in range(8)})
    poor = write_png(tmp_path / "poor", **{f"c{k}": disc(5) * 255 for k in range(8)})
    found = compare([poor, good], truth, group_by=".+", json_file=tmp_path / "c.json")
    assert [method.name for method in found.methods] == ["good", "poor"]
    assert found.differences[0].p_value < 0.05
    assert found.sentence().startswith("Best mean dice of foreground: good, 1.000")
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["n"] == 8
    distances = compare([poor, good], truth, measure="hd95")
    assert distances.methods[0].name == "good"
    with pytest.raises(ConfigError, match="compare-few"):
        compare([good], truth)
    with pytest.raises(ConfigError, match="measure-unknown"):
        compare([good, poor], truth, measure="rvd")


def test_partitions_are_scored_at_every_threshold_where_there_are_probabilities(tmp_path):
    cells = np.ones((40, 48), np.uint8)
    cells[:, 24] = cells[20] = 0
    truth = write_png(tmp_path / "t", a=cells * 255, b=cells * 255)
    predicted = write_png(tmp_path / "p", a=cells * 255, b=cells * 255)
    probabilities = np.stack([1.0 - 0.7 * cells, 0.7 * cells]).astype(np.float32)
    # The doubtful gap joins two cells below a threshold of 0.4.
    probabilities[:, 10, 24] = 0.6, 0.4
    (predicted / "probabilities").mkdir()
    for name in "ab":
        write_probabilities(predicted / "probabilities" / f"{name}.tif", probabilities)
    found = evaluate(predicted, truth, measures="partition,calibration")
    table = found.partitions["foreground"]
    scores = {round(t, 1): rand for t, rand, _ in table["rows"]}
    assert scores[0.5] == pytest.approx(1.0)
    assert scores[0.3] < 0.95
    assert table["best_v_rand"] == [pytest.approx(0.4), pytest.approx(1.0)]
    assert (table["slices"], table["pixel_error"][1]) == (2, 0.0)
    assert evaluate(predicted, truth).partitions == {}


def test_slices_of_one_stack_are_one_group_unless_a_person_says_otherwise(tmp_path):
    names = [f"slice_{k:02d}" for k in range(6)]
    truth = write_png(tmp_path / "t", **dict.fromkeys(names, disc() * 255))
    predicted = write_png(tmp_path / "p", **{n: disc(5 + k % 4) * 255 for k, n in enumerate(names)})
    heard = []
    stack = evaluate(predicted, truth, events=messages(heard)).summary
    assert (stack.n, stack.n_groups, stack.headline.interval) == (6, 1, None)
    assert any("slices of one stack" in event["text"] for event in heard)
    alone = evaluate(predicted, truth, group_by=".+").summary
    assert alone.n_groups == 6
    assert alone.headline.interval is not None


def test_volumes_with_consecutive_numbers_are_no_stack(tmp_path):
    for folder in ("truth", "masks"):
        (tmp_path / folder).mkdir()
        for number in (1, 2, 3):
            volume = sitk.GetImageFromArray(ball(radius=3 + number))
            sitk.WriteImage(volume, str(tmp_path / folder / f"spleen_{number}.nii.gz"))
    told = []
    found = evaluate(tmp_path / "masks", tmp_path / "truth", events=messages(told))
    assert len({case.group for case in found.cases}) == 3
    assert not any("stack" in event["text"] for event in told)


def test_probabilities_of_volumes_are_found_beside_their_masks(tmp_path):
    (tmp_path / "masks" / "probabilities").mkdir(parents=True)
    (tmp_path / "truth").mkdir()
    truth = ball()
    for name in ("a", "b"):
        for folder in ("truth", "masks"):
            volume = sitk.GetImageFromArray(truth)
            sitk.WriteImage(volume, str(tmp_path / folder / f"{name}.nii.gz"))
        sure = np.stack([1 - truth, truth]).astype(np.float32) * 0.8 + 0.1
        write_probabilities(tmp_path / "masks" / "probabilities" / f"{name}.nii.gz", sure)
    found = evaluate(tmp_path / "masks", tmp_path / "truth", measures=("calibration",))
    assert all(case.reliability for case in found.cases)
