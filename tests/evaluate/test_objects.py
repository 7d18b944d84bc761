"""Matching and scores of objects: known answers, laws, StarDist and direct evaluations."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage.filters import threshold_otsu
from stardist.matching import matching as stardist_matching

from maskwright.errors import ConfigError
from maskwright.evaluate.objects import (
    DSB_THRESHOLDS,
    OBJECT_MEASURES,
    ObjectCounts,
    ObjectRow,
    aji,
    ap,
    components,
    counts_at,
    det,
    dsb_score,
    f1,
    match_objects,
    object_rows,
    pool,
    pq,
    precision,
    recall,
    seg,
)

NUCLEI = Path(__file__).parents[3] / "shared" / "data" / "nuclei"
NUCLEI_3D = NUCLEI.with_name("nuclei3d")
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 1.0)

shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8)
label_pairs = shapes.flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint16, shape, elements=st.integers(0, 5)),
        hnp.arrays(np.uint16, shape, elements=st.integers(0, 5)),
    )
)


def scores(prediction, truth):
    return {
        name: measure(match_objects(prediction, truth)) for name, measure in OBJECT_MEASURES.items()
    }


def line(ids):
    return np.array([int(i) for i in ids])


def blobs(seed, side=40, count=12):
    """Overlapping discs, so that objects touch, merge and split."""
    generator = np.random.default_rng(seed)
    image = np.zeros((side, side), np.int32)
    rows, columns = np.mgrid[:side, :side]
    for label in range(1, count + 1):
        y, x, radius = (*generator.integers(0, side, 2), generator.integers(2, 7))
        image[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = label
    return image


def shifted_pair(seed):
    truth = blobs(seed)
    return np.roll(truth, (1, 2), (0, 1)), truth


def test_the_worked_example_has_its_values():
    matching = match_objects(line("11110"), line("11220"))
    counts = counts_at(matching, 0.5)
    assert counts == ObjectCounts(tp=1, fp=0, fn=1, iou_sum=0.5)
    assert ap(counts) == 0.5
    assert f1(counts) == pytest.approx(0.667, abs=5e-4)
    assert seg(matching) == 0.5
    assert (precision(counts), recall(counts)) == (1.0, 0.5)


def test_panoptic_quality_does_not_take_a_pair_at_exactly_one_half():
    prediction, truth = line("11110"), line("11220")
    assert stardist_matching(truth, prediction).panoptic_quality == pytest.approx(1 / 3)
    assert pq(counts_at(match_objects(prediction, truth), 0.5)) == pytest.approx(1 / 3)
    assert scores(prediction, truth)["pq"] == 0.0


def test_a_perfect_prediction_scores_one_whatever_its_ids():
    truth = blobs(0)
    assert set(scores(truth * 1000 + (truth > 0), truth).values()) == {1.0}


def test_nothing_to_find_and_nothing_claimed_scores_one_where_stardist_says_zero():
    nothing = np.zeros((4, 4), np.uint8)
    assert set(scores(nothing, nothing).values()) == {1.0}
    theirs = stardist_matching(nothing, nothing)
    assert (theirs.accuracy, theirs.f1, theirs.panoptic_quality) == (0, 0, 0)
    assert precision(ObjectCounts(0, 0, 0, 0.0)) == recall(ObjectCounts(0, 0, 0, 0.0)) == 1.0


def test_objects_on_one_side_only_score_zero():
    nothing, something = np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)
    assert set(scores(nothing, something).values()) == {0.0}
    assert set(scores(something, nothing).values()) == {0.0}


@settings(deadline=None)
@given(label_pairs)
def test_counts_are_those_of_stardist_at_every_threshold(pair):
    truth, prediction = pair
    matching = match_objects(prediction, truth)
    for threshold in THRESHOLDS:
        ours = counts_at(matching, threshold)
        theirs = stardist_matching(truth, prediction, thresh=threshold)
        assert (ours.tp, ours.fp, ours.fn) == (theirs.tp, theirs.fp, theirs.fn)
        if ours.tp + ours.fp + ours.fn:
            assert ap(ours) == theirs.accuracy
            assert f1(ours) == theirs.f1
            assert precision(ours) == theirs.precision
            assert recall(ours) == theirs.recall
        n_truth = max(ours.tp + ours.fn, 1)
        if threshold >= 0.5:
            assert ours.iou_sum / n_truth == pytest.approx(theirs.mean_true_score, abs=1e-6)
            assert pq(ours) == pytest.approx(theirs.panoptic_quality, abs=1e-6) or not theirs.n_pred
        else:
            assert ours.iou_sum / n_truth >= theirs.mean_true_score - 1e-6


def test_below_one_half_stardist_lets_pairs_under_the_threshold_settle_ties():
    truth = line("1" * 20 + "2" * 10 + "0" * 3)
    prediction = line("3" * 10 + "4" * 8 + "0" * 2 + "3" * 5 + "0" * 5 + "4" * 3)
    matching = match_objects(prediction, truth)
    assert matching.iou.tolist() == [0.4, 8 / 23, 0.25]
    assert counts_at(matching, 0.3) == ObjectCounts(tp=1, fp=1, fn=1, iou_sum=0.4)
    theirs = stardist_matching(truth, prediction, thresh=0.3)
    assert (theirs.tp, theirs.mean_matched_score) == (1, pytest.approx(8 / 23))


@pytest.mark.parametrize("seed", range(30))
def test_contested_matches_are_those_of_the_dense_hungarian_method(seed):
    generator = np.random.default_rng(seed)
    truth, prediction = generator.integers(0, 15, (2, 12, 12))
    matching = match_objects(prediction, truth)
    dense = np.zeros((matching.truth_ids.size, matching.prediction_ids.size))
    dense[matching.pairs[0], matching.pairs[1]] = matching.iou
    for threshold in (0.02, 0.05, 0.08, 0.12):
        gain = (dense >= threshold) * (1 + dense / (2 * len(dense)))
        chosen = linear_sum_assignment(gain, maximize=True)
        expected = dense[chosen][dense[chosen] >= threshold]
        ours = counts_at(matching, threshold)
        assert ours.tp == expected.size
        assert ours.iou_sum == pytest.approx(expected.sum())


def test_thresholds_that_come_from_adding_up_lose_no_object():
    matching = match_objects(line("1110000000"), line("1111100000"))
    assert matching.iou.tolist() == [0.6]
    assert 0.1 + 0.2 + 0.3 > 0.6
    assert counts_at(matching, 0.1 + 0.2 + 0.3).tp == 1
    assert counts_at(matching, 0.6, strict=True).tp == 0
    assert DSB_THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    assert dsb_score(matching) == pytest.approx(0.3)


def slow_aji(prediction, truth):
    common = union = 0
    used = set()
    for i in np.unique(truth[truth > 0]):
        true = truth == i
        best, best_iou = None, 0.0
        for j in np.unique(prediction[true & (prediction > 0)]):
            iou = (true & (prediction == j)).sum() / (true | (prediction == j)).sum()
            if iou > best_iou:
                best, best_iou = j, iou
        used.add(best)
        partner = prediction == best if best is not None else np.zeros_like(true)
        common += (true & partner).sum()
        union += (true | partner).sum()
    unused = [j for j in np.unique(prediction[prediction > 0]) if j not in used]
    return common / (union + np.isin(prediction, unused).sum())


@pytest.mark.parametrize("seed", range(20))
def test_the_aggregated_jaccard_index_is_its_definition_object_by_object(seed):
    generator = np.random.default_rng(seed)
    pairs = [shifted_pair(seed), (blobs(seed + 100), blobs(seed))]
    pairs.append(tuple(generator.integers(0, 6, (2, 9, 9))))
    for prediction, truth in pairs:
        assert aji(match_objects(prediction, truth)) == pytest.approx(slow_aji(prediction, truth))


def test_one_predicted_object_may_serve_two_true_ones_in_aji():
    prediction, truth = line("1111022"), line("1122000")
    assert aji(match_objects(prediction, truth)) == 4 / (4 + 4 + 2)


def slow_ctc(prediction, truth):
    """SEG and the cost of DET, object by object."""
    partners, total = [], 0.0
    for i in np.unique(truth[truth > 0]):
        true = truth == i
        for j in np.unique(prediction[true & (prediction > 0)]):
            both = (true & (prediction == j)).sum()
            if both / true.sum() > 0.5:
                partners.append(j)
                total += both / (true | (prediction == j)).sum()
    n_truth = np.unique(truth[truth > 0]).size
    splits = len(partners) - len(set(partners))
    spurious = np.unique(prediction[prediction > 0]).size - len(set(partners))
    cost = 5 * splits + 10 * (n_truth - len(partners)) + spurious
    return total / n_truth, 1 - min(cost, 10 * n_truth) / (10 * n_truth)


@pytest.mark.parametrize("seed", range(20))
def test_seg_and_det_are_their_definitions_object_by_object(seed):
    for prediction, truth in (shifted_pair(seed), (blobs(seed + 100), blobs(seed))):
        matching = match_objects(prediction, truth)
        expected = slow_ctc(prediction, truth)
        assert (seg(matching), det(matching)) == pytest.approx(expected)


def test_det_weighs_a_split_five_a_miss_ten_and_a_spurious_object_one():
    truth = line("1102203300")
    assert det(match_objects(line("1111103300"), truth)) == 1 - 5 / 30
    assert det(match_objects(line("0002203300"), truth)) == pytest.approx(1 - 10 / 30)
    assert det(match_objects(line("1102203304"), truth)) == 1 - 1 / 30
    assert det(match_objects(line("0040000055"), truth)) == 0.0


def test_half_of_a_true_object_is_not_more_than_half():
    assert seg(match_objects(line("1000"), line("1100"))) == 0.0
    assert seg(match_objects(line("1100"), line("1110"))) == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(5))
def test_flips_turns_and_new_ids_change_nothing(seed):
    prediction, truth = shifted_pair(seed)
    expected = scores(prediction, truth)
    for change in (np.flipud, np.fliplr, np.rot90, np.transpose):
        assert scores(change(prediction), change(truth)) == pytest.approx(expected)
    generator = np.random.default_rng(seed)
    new_ids = np.concatenate(([0], generator.permutation(10**6)[:12] + 1))
    assert scores(new_ids[prediction], new_ids[truth]) == pytest.approx(expected)


@settings(deadline=None)
@given(label_pairs)
def test_every_score_lies_between_zero_and_one(pair):
    for name, value in scores(*pair).items():
        assert 0 <= value <= 1 + 1e-12, name


def test_counts_of_images_add_up_to_those_of_the_pool():
    matchings = [match_objects(*shifted_pair(seed)) for seed in range(4)]
    pooled = pool(matchings)
    for threshold in (0.3, 0.5, 0.8):
        added = sum((counts_at(m, threshold) for m in matchings), start=ObjectCounts(0, 0, 0, 0.0))
        together = counts_at(pooled, threshold)
        assert (together.tp, together.fp, together.fn) == (added.tp, added.fp, added.fn)
        assert together.iou_sum == pytest.approx(added.iou_sum)
    sizes = [m.truth_ids.size for m in matchings]
    assert seg(pooled) == pytest.approx(np.average([seg(m) for m in matchings], weights=sizes))
    assert seg(pool([])) == 1.0


def test_an_image_without_true_objects_leaves_seg_of_the_pool_alone():
    found, spurious = match_objects(line("11"), line("11")), match_objects(line("1"), line("0"))
    assert seg(spurious) == 0.0
    assert seg(pool([found, spurious])) == 1.0


def test_ten_thousand_touching_objects_are_matched():
    ids = np.arange(1, 10_001).reshape(100, 100)
    truth = np.kron(ids, np.ones((12, 12), np.int64))
    prediction = np.roll(truth, (5, 4), (0, 1))
    matching = match_objects(prediction, truth)
    assert matching.pairs[0].size == 40_000
    assert counts_at(matching, 0.2).tp == 10_000
    assert counts_at(matching, 0.5) == ObjectCounts(0, 10_000, 10_000, 0.0)


def test_rows_tell_which_objects_were_missed():
    truth, prediction = line("11110022033"), line("11100040000")
    rows = object_rows(match_objects(prediction, truth))
    assert rows == (
        ObjectRow(1, 4, found=True, iou=0.75),
        ObjectRow(2, 2, found=True, iou=0.5),
        ObjectRow(3, 2, found=False, iou=0.0),
    )
    strict = object_rows(match_objects(prediction, truth), 0.6)
    assert [row.found for row in strict] == [True, False, False]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_that_matches_anything_or_nothing_is_refused(threshold):
    with pytest.raises(ConfigError, match="object-threshold"):
        counts_at(match_objects(line("1"), line("1")), threshold)


def spoiled(truth, seed):
    """Predictions as they go wrong: eroded, dropped, merged, numbered anew."""
    generator = np.random.default_rng(seed)
    ids = np.unique(truth[truth > 0])
    inner = ndimage.minimum_filter(truth, 3) == ndimage.maximum_filter(truth, 3)
    dropped = np.where(np.isin(truth, generator.choice(ids, ids.size // 3)), 0, truth)
    merged = (truth + 1) // 2
    anew = np.concatenate(([0], generator.permutation(int(truth.max())) + 1))[truth]
    return [truth * inner, dropped, merged, np.roll(anew, 3, 1)]


@pytest.mark.skipif(not NUCLEI.is_dir(), reason=f"the real images are not at {NUCLEI}")
def test_real_nuclei_score_as_in_stardist_and_by_definition():
    paths = sorted((NUCLEI / "masks").glob("*.png"))[::12]
    assert len(paths) > 5
    for seed, path in enumerate(paths):
        truth = np.asarray(Image.open(path)).astype(np.int64)
        image = np.asarray(Image.open(NUCLEI / "images" / path.name).convert("L"))
        otsu = components(image > threshold_otsu(image)).astype(np.int64)
        for prediction in (*spoiled(truth, seed), otsu):
            matching = match_objects(prediction, truth)
            theirs = stardist_matching(truth, prediction, thresh=DSB_THRESHOLDS)
            for threshold, their in zip(DSB_THRESHOLDS, theirs, strict=True):
                ours = counts_at(matching, threshold)
                assert (ours.tp, ours.fp, ours.fn) == (their.tp, their.fp, their.fn)
                assert ours.iou_sum / their.n_true == pytest.approx(their.mean_true_score)
                assert pq(ours) == pytest.approx(their.panoptic_quality)
            assert dsb_score(matching) == pytest.approx(np.mean([t.accuracy for t in theirs]))
        assert aji(matching) == pytest.approx(slow_aji(otsu, truth))
        assert (seg(matching), det(matching)) == pytest.approx(slow_ctc(otsu, truth))


@pytest.mark.skipif(not NUCLEI_3D.is_dir(), reason=f"the real images are not at {NUCLEI_3D}")
def test_real_nuclei_in_three_dimensions_score_as_in_stardist():
    import tifffile

    truth = tifffile.imread(NUCLEI_3D / "masks" / "img3d.tif").astype(np.int64)
    prediction = components(truth > 0).astype(np.int64)
    for threshold in (0.5, 0.7):
        ours = counts_at(match_objects(prediction, truth), threshold)
        theirs = stardist_matching(truth, prediction, thresh=threshold)
        assert (ours.tp, ours.fp, ours.fn) == (theirs.tp, theirs.fp, theirs.fn)
        assert 0 < ours.tp < theirs.n_true
