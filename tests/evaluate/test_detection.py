"""The free-response curve: the worked example, each rule alone, and two direct evaluations."""

import json
import math

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from maskwright.errors import ConfigError, DataError
from maskwright.evaluate.detection import LUNA16_RATES, Candidate, Finding, Froc, froc


def mark(scan, x, y, z, probability):
    return Candidate(scan, (float(x), float(y), float(z)), probability)


def nodule(scan, x, y, z, diameter_mm):
    return Finding(scan, (float(x), float(y), float(z)), float(diameter_mm))


SCANS = ("A", "B", "C")
NODULES = (nodule("A", 0, 0, 0, 10), nodule("B", 0, 0, 0, 6))
MARKS = (
    mark("A", 1, 0, 0, 0.9),
    mark("A", 2, 0, 0, 0.95),
    mark("A", 50, 0, 0, 0.8),
    mark("B", 3, 0, 0, 0.7),
    mark("B", 0, 0, 2, 0.6),
    mark("C", 0, 0, 0, 0.5),
)


def random_case(seed, ties=False):
    """Marks, findings, scans and excluded findings that hit, miss and overlap one another."""
    generator = np.random.default_rng(seed)
    scans = [f"scan{k}" for k in range(12)]

    def some(count, build):
        drawn = zip(
            generator.choice(scans[:-2], count), generator.integers(0, 12, (count, 3)), strict=True
        )
        return [build(str(scan), tuple(map(float, xyz))) for scan, xyz in drawn]

    def probability():
        return float(generator.integers(0, 8) / 8 if ties else generator.random())

    def diameter_mm():
        return float(generator.integers(3, 9))

    return (
        some(150, lambda scan, xyz: Candidate(scan, xyz, probability())),
        some(25, lambda scan, xyz: Finding(scan, xyz, diameter_mm())),
        scans,
        some(15, lambda scan, xyz: Finding(scan, xyz, diameter_mm())),
    )


def hits(candidate, finding):
    distance = math.dist(candidate.position_xyz_mm, finding.position_xyz_mm)
    return candidate.scan == finding.scan and distance < finding.diameter_mm / 2


def test_the_worked_example_has_its_values():
    result = froc(MARKS, NODULES, SCANS)
    assert result.rates == (0.125, 0.25, 0.5, 1, 2, 4, 8)
    assert result.sensitivities == (0.5, 0.5, 0.5, 1, 1, 1, 1)
    assert result.cpm == pytest.approx(0.7857, abs=5e-5)
    assert result.found == NODULES
    assert result.missed == ()
    assert (result.false_positives, result.ignored_duplicates) == (3, 1)
    assert (result.n_scans, result.n_findings) == (3, 2)
    assert result.curve_fp_per_scan == (0, 2 / 3, 2 / 3, 1)
    assert result.curve_sensitivity == (0.5, 0.5, 1, 1)
    assert result.curve_threshold == (0.95, 0.7, 0.6, 0.5)


def test_a_mark_exactly_on_the_radius_is_no_hit():
    touching = [mark("A", 3, 0, 0, 0.9)]
    assert froc(touching, [nodule("A", 0, 0, 0, 6)], ["A"]).missed
    assert froc(touching, [nodule("A", 0, 0, 0, 6.001)], ["A"]).found


def test_marks_on_excluded_findings_count_neither_way():
    excluded = [nodule("A", 50, 0, 0, 4), nodule("C", 0, 0, 0, 4)]
    result = froc(MARKS, NODULES, SCANS, excluded)
    assert result.ignored_excluded == 2
    assert result.false_positives == 1
    assert result.sensitivities == (0.5, 0.5, 1, 1, 1, 1, 1)
    assert result.n_findings == 2


def test_a_mark_on_a_finding_and_on_an_excluded_one_counts():
    result = froc(MARKS, NODULES, SCANS, [nodule("A", 0, 0, 0, 102)])
    assert result.found == NODULES
    assert (result.ignored_excluded, result.ignored_duplicates) == (1, 1)


def test_a_mark_inside_two_findings_finds_both():
    overlapping = [nodule("A", 0, 0, 0, 10), nodule("A", 4, 0, 0, 10)]
    result = froc([mark("A", 2, 0, 0, 0.9)], overlapping, ["A"])
    assert result.found == tuple(overlapping)
    assert (result.false_positives, result.ignored_duplicates) == (0, 0)


def test_missed_findings_stay_in_the_denominator():
    result = froc(MARKS, [*NODULES, nodule("C", 90, 0, 0, 5), nodule("C", 99, 0, 0, 5)], SCANS)
    assert result.sensitivities == (0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5)
    assert [finding.scan for finding in result.missed] == ["C", "C"]


def test_false_positives_are_counted_per_listed_scan_also_without_marks():
    few, many = froc(MARKS, NODULES, SCANS), froc(MARKS, NODULES, [*SCANS, "D", "E", "F"])
    assert many.curve_fp_per_scan == pytest.approx([fp / 2 for fp in few.curve_fp_per_scan])
    assert many.sensitivities == (0.5, 0.5, 1, 1, 1, 1, 1)


def test_only_the_most_probable_marks_of_a_scan_count():
    wrong = [mark("A", 100 + k, 0, 0, 0.5 + k / 1000) for k in range(100)]
    late, early = mark("A", 0, 0, 0, 0.4), mark("A", 0, 0, 0, 0.9)
    assert froc([*wrong, late], NODULES, SCANS).ignored_beyond == 1
    assert not froc([late, *wrong], NODULES, SCANS).found
    result = froc([*wrong, early], NODULES, SCANS)
    assert (result.ignored_beyond, result.false_positives) == (1, 99)
    assert result.found == NODULES[:1]
    assert froc([*wrong, late], NODULES, SCANS, max_marks=101).found == NODULES[:1]


def test_marks_tied_at_the_cut_all_go_in_any_order():
    tied = [mark("A", 100 + k, 0, 0, 0.5) for k in range(3)] + [mark("A", 0, 0, 0, 0.6)]
    for order in (tied, tied[::-1]):
        result = froc(order, NODULES, SCANS, max_marks=2)
        assert (result.ignored_beyond, result.false_positives) == (3, 0)
        assert result.found == NODULES[:1]


def test_excluded_marks_use_up_the_limit_because_it_is_applied_first():
    excluded = [nodule("A", 100, 0, 0, 50)]
    marks = [mark("A", 100 + k, 0, 0, 0.9 + k / 1000) for k in range(3)]
    result = froc([*marks, mark("A", 0, 0, 0, 0.5)], NODULES, SCANS, excluded, max_marks=3)
    assert (result.ignored_excluded, result.ignored_beyond) == (3, 1)
    assert result.missed == NODULES


@pytest.mark.parametrize("seed", range(20))
def test_every_mark_is_accounted_for(seed):
    candidates, findings, scans, excluded = random_case(seed)
    result = froc(candidates, findings, scans, excluded, max_marks=12, resamples=0)
    counting = {
        max((c.probability, c.scan) for c in candidates if hits(c, finding))
        for finding in result.found
    }
    ignored = result.ignored_excluded + result.ignored_duplicates + result.ignored_beyond
    assert len(counting) + result.false_positives + ignored == len(candidates)
    assert len(result.found) + len(result.missed) == len(findings)
    assert result.ignored_beyond > 0


@pytest.mark.parametrize("seed", range(20))
def test_sensitivities_are_those_of_a_sweep_over_all_thresholds(seed):
    candidates, findings, scans, excluded = random_case(seed)
    result = froc(candidates, findings, scans, excluded, resamples=0)
    best = dict.fromkeys(LUNA16_RATES, 0.0)
    for threshold in sorted({c.probability for c in candidates}):
        above = [c for c in candidates if c.probability >= threshold]
        found = sum(any(hits(c, f) for c in above) for f in findings)
        wrong = sum(not any(hits(c, f) for f in (*findings, *excluded)) for c in above)
        for rate in best:
            if wrong / len(scans) <= rate:
                best[rate] = max(best[rate], found / len(findings))
    assert result.sensitivities == pytest.approx(list(best.values()))
    assert result.cpm == pytest.approx(np.mean(list(best.values())))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_the_curve_is_the_rescaled_receiver_operating_characteristic(seed, ties):
    """How LUNA16 computes it: found findings against wrong marks, missed ones left for later."""
    candidates, findings, scans, excluded = random_case(seed, ties)
    result = froc(candidates, findings, scans, excluded, resamples=0)
    found = [
        max(probabilities)
        for f in findings
        if (probabilities := [c.probability for c in candidates if hits(c, f)])
    ]
    wrong = [
        c.probability for c in candidates if not any(hits(c, f) for f in (*findings, *excluded))
    ]
    fpr, tpr, _ = roc_curve([1] * len(found) + [0] * len(wrong), found + wrong)
    sensitivity = tpr * len(found) / len(findings)
    expected = np.interp(LUNA16_RATES, fpr * len(wrong) / len(scans), sensitivity)
    assert result.sensitivities == pytest.approx(expected)


def test_tied_marks_enter_together_so_that_their_order_decides_nothing():
    tied = [mark("A", 0, 0, 0, 0.5), mark("A", 90, 0, 0, 0.5)]
    for order in (tied, tied[::-1]):
        result = froc(order, NODULES[:1], ["A"])
        assert result.sensitivities == (0.125, 0.25, 0.5, 1, 1, 1, 1)


def test_the_listed_turns_are_enough_to_draw_the_curve():
    result = froc(*random_case(3)[:3], resamples=0)
    fp, sensitivity = (0, *result.curve_fp_per_scan), (0, *result.curve_sensitivity)
    assert np.interp(LUNA16_RATES, fp, sensitivity) == pytest.approx(result.sensitivities)
    assert len(fp) < len(random_case(3)[0])


def test_intervals_depend_on_the_seed_and_on_nothing_else():
    case = random_case(1)
    first, again, other = (froc(*case, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.interval != other.interval
    assert first.sensitivities == other.sensitivities


def test_intervals_resample_scans_with_their_findings():
    candidates, findings, scans, excluded = random_case(2)
    result = froc(candidates, findings, scans, excluded, resamples=300, seed=5)
    generator = np.random.default_rng(5)
    means = []
    for _ in range(300):
        drawn = [scans[k] for k in generator.integers(0, len(scans), len(scans))]

        def again(items, drawn=drawn):
            return [
                type(item)(f"{k}", *list(vars(item).values())[1:])
                for k, scan in enumerate(drawn)
                for item in items
                if item.scan == scan
            ]

        names = [f"{k}" for k in range(len(drawn))]
        sets = again(candidates), again(findings), names, again(excluded)
        means.append(froc(*sets, resamples=0).cpm)
    assert result.interval == pytest.approx(np.percentile(means, (2.5, 97.5)))
    low, high = result.interval
    assert low < result.cpm < high
    assert len(result.sensitivity_intervals) == len(LUNA16_RATES)


def test_two_scans_are_too_few_for_an_interval():
    result = froc(MARKS[:5], NODULES, SCANS[:2])
    assert result.interval is None
    assert result.sensitivity_intervals is None


def test_without_findings_the_sensitivity_is_undefined_and_says_why():
    result = froc(MARKS, [], SCANS)
    assert math.isnan(result.cpm)
    assert all(map(math.isnan, result.sensitivities))
    assert result.reason == "the listed scans have no findings"
    assert result.interval is None
    assert result.false_positives == 6


def test_without_marks_every_finding_is_missed():
    result = froc([], NODULES, SCANS)
    assert result.sensitivities == (0,) * 7
    assert result.missed == NODULES
    assert result.interval == (0, 0)
    assert result.curve_fp_per_scan == ()
    assert result.reason is None


def test_a_program_without_false_positives_finds_all_at_every_rate():
    assert froc([MARKS[0], MARKS[4]], NODULES, SCANS).sensitivities == (1,) * 7


@pytest.mark.parametrize("findings", [NODULES, ()])
def test_results_survive_json(findings):
    result = froc(MARKS, findings, SCANS)
    text = json.dumps(result.to_json(), allow_nan=False)
    again = Froc.from_json(json.loads(text))
    assert json.dumps(again.to_json(), allow_nan=False) == text
    assert again.found == result.found
    assert math.isnan(again.cpm) == math.isnan(result.cpm)


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        ({"candidates": [mark("Z", 0, 0, 0, 0.5)]}, "froc-scan-unlisted", "candidates.*Z"),
        ({"findings": [nodule("Z", 0, 0, 0, 5)]}, "froc-scan-unlisted", "findings.*Z"),
        ({"excluded": [nodule("Z", 0, 0, 0, 5)]}, "froc-scan-unlisted", "excluded.*Z"),
        ({"scans": ["A", "B", "A", "C"]}, "froc-scans", "A twice"),
        ({"scans": []}, "froc-scans", "no scan"),
    ],
)
def test_scans_that_do_not_fit_the_list_are_refused(change, code, word):
    case = {"candidates": MARKS, "findings": NODULES, "scans": SCANS, **change}
    with pytest.raises(DataError, match=word) as caught:
        froc(**case)
    assert caught.value.code == code


@pytest.mark.parametrize("change", [{"rates": ()}, {"rates": (0.0, 1.0)}, {"max_marks": 0}])
def test_settings_without_a_meaning_are_refused(change):
    with pytest.raises(ConfigError, match="froc-settings"):
        froc(MARKS, NODULES, SCANS, **change)
