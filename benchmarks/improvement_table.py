"""Tables and sentences of the comparison of improvements; every word follows from the figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t

from improvement_data import FACTORS
from maskwright.evaluate.paired import signed_rank
from measuring import markdown_table

IMPROVEMENTS = {
    "baseline": "U-Net without any",
    "a": "(a) label of the image",
    "b": "(b) fused levels",
    "c": "(c) batch normalisation",
    "abc": "(a), (b) and (c)",
}
NETWORKS = {
    "c": "baseline (scale changes up to 1.25)",
    "c_unscaled": "no scale changes in training",
    "c_fused": "(b) fused levels",
    "c_scaled": "scale changes up to 2 in training",
}
LOSSES = {"c": "dice+ce", "c_border": "dice+border_ce"}
OBJECT_MEASURES = (
    "objects AP", "precision of objects", "recall of objects", "merged objects", "Dice",
)  # fmt: skip
AREA_AUC, HEAD_AUC = "AUC of drawn area", "AUC of the head"
LOWER_IS_BETTER = frozenset({"merged objects"})

Results = Mapping[str, Any]
Runs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Difference:
    """Paired differences to a reference, one for each seed.

    Args:
        values: Variant minus reference.
        lower_is_better: Whether a negative difference is an improvement.

    Example:
        >>> Difference((0.02, 0.03, 0.025)).verdict
        'helps'
    """

    values: tuple[float, ...]
    lower_is_better: bool = False

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds; NaN for one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    @property
    def verdict(self) -> str:
        """What may be said: all seeds agree, and the mean exceeds twice its standard error."""
        if len(self.values) < 2:
            return "no verdict from one seed"
        signs = {math.copysign(1, value) if value else 0.0 for value in self.values}
        error = self.deviation / math.sqrt(len(self.values))
        if len(signs) > 1 or signs == {0.0} or abs(self.mean) <= 2 * error:
            return "no difference beyond noise"
        return "helps" if (self.mean > 0) != self.lower_is_better else "hurts"

    def text(self) -> str:
        """Verdict and figures, for people."""
        if len(self.values) < 2:
            return f"{self.verdict} ({self.mean:+.4f})"
        return f"{self.verdict} ({self.mean:+.4f} ± {self.deviation:.4f})"


def difference(
    own: Runs, reference: Runs, measure: str, reference_measure: str = ""
) -> Difference | None:
    """Differences of a measure, seed by seed; ``None`` where either has no value.

    Args:
        own: Runs of the variant.
        reference: Runs that it is compared with.
        measure: Name of the measure.
        reference_measure: That of the reference, where it is another one.
    """
    ours = {run["seed"]: _value(run, measure) for run in own}
    theirs = {run["seed"]: _value(run, reference_measure or measure) for run in reference}
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(set(ours) & set(theirs))]
    values = tuple(a - b for a, b in pairs if a is not None and b is not None)
    return Difference(values, measure in LOWER_IS_BETTER) if values else None


def over_images(own: Runs, reference: Runs) -> str:
    """On how many test images the Dice, averaged over the seeds, is higher.

    A signed-rank test goes with it; its units are the groups, such as both eyes of a child.
    """
    means = [_image_means(runs) for runs in (own, reference)]
    names = sorted(set(means[0]) & set(means[1]))
    gains = {name: means[0][name] - means[1][name] for name in names}
    groups = {name: image["group"] for run in own for name, image in run.get("images", {}).items()}
    by_group = [
        statistics.fmean(gains[name] for name in names if groups[name] == group)
        for group in sorted(set(groups.values()))
    ]
    higher = sum(gain > 0 for gain in gains.values())
    p, reason = signed_rank(np.array(by_group))
    tested = f"signed-rank p = {p:.2g}" if p is not None else f"no test: {reason}"
    return f"Dice higher on {higher} of {len(names)} test images ({tested})"


def chance_share(seeds: int) -> float:
    """How often two equal methods would be told apart by :attr:`Difference.verdict`.

    That of Student's t beyond 2, an upper bound.

    Example:
        >>> round(chance_share(3), 2)
        0.18
    """
    return float(2 * t.sf(2, seeds - 1)) if seeds > 1 else 0.0


def spread(values: Sequence[float | None]) -> str:
    """Mean and standard deviation, for people.

    Example:
        >>> spread([0.5, 0.7]), spread([0.5]), spread([None])
        ('0.600 ± 0.141', '0.500', '–')
    """
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{statistics.fmean(known):.3f}"
    return f"{mean} ± {statistics.stdev(known):.3f}" if len(known) > 1 else mean


def render(results: Results) -> str:
    """All tables and sentences as Markdown.

    Args:
        results: What ``improvements.json`` holds.
    """
    parts = [_head(results), _overview(results)]
    parts += [_improvements(name, results) for name in results["sets"]]
    parts += [_sizes(name, results) for name in results["sets"]]
    parts += [_border(name, results) for name in results["sets"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(results: Results) -> str:
    seeds, share = results["seeds"], chance_share(results["seeds"])
    lines = [
        "# Improvements, one by one",
        f"Each network was trained for as many updates as fit {results['seconds']:g} seconds of "
        f"one thread, where nothing else is said, with {_count(seeds, 'seed')}; "
        "how long an update takes was measured beforehand, the variants in turns.",
        "Figures are mean ± standard deviation over the seeds. A variant helps or hurts only if "
        "the differences to the baseline have the same sign for all seeds and their mean exceeds "
        "twice its standard error.",
    ]
    if any(any(facts["validation_dice"].values()) for facts in results["sets"].values()):
        lines[1] += " The learning rate of each was chosen on the validation images of seed 0."
    if seeds > 1:
        lines[-1] += (
            f" With {seeds} seeds that is a weak test: of comparisons without any true difference, "
            f"up to {share:.0%} would pass."
        )
    return "\n\n".join(lines)


def _overview(results: Results) -> str:
    """Verdicts of all sets and measures at a glance."""
    others = [variant for variant in IMPROVEMENTS if variant != "baseline"]
    rows = [["difference to the baseline", *(IMPROVEMENTS[variant] for variant in others)]]
    for name in results["sets"]:
        runs = {variant: _of(results, name, variant) for variant in IMPROVEMENTS}
        for measure in _measures(runs):
            found = [difference(runs[v], runs["baseline"], measure) for v in others]
            if any(found):
                rows.append([f"{name}, {measure}", *(d.text() if d else "–" for d in found)])
    return markdown_table(rows) if len(rows) > 1 else ""


def _improvements(name: str, results: Results) -> str:
    runs = {v: _of(results, name, v) for v in IMPROVEMENTS}
    if not runs["baseline"]:
        return ""
    measures = _measures(runs)
    facts = results["sets"][name]
    rows = [["network", "learning rate", "updates", *measures]]
    for variant, title in IMPROVEMENTS.items():
        if not runs[variant]:
            continue
        first = runs[variant][0]
        rows.append(
            [
                title,
                f"{first['rate']:g}",
                str(first["steps"]),
                *(spread([_value(run, m) for run in runs[variant]]) for m in measures),
            ]
        )
    lines = []
    for variant, title in IMPROVEMENTS.items():
        if variant != "baseline" and runs[variant]:
            lines += _verdicts(title, runs[variant], runs["baseline"], measures)
            lines += _head_sentence(title, runs[variant], runs["baseline"])
        lines += _failures(title, variant, runs[variant], facts)
    return "\n\n".join([f"## {name}", _facts(facts), markdown_table(rows), "\n".join(lines)])


def _verdicts(title: str, own: Runs, reference: Runs, measures: Sequence[str]) -> list[str]:
    found = {measure: difference(own, reference, measure) for measure in measures}
    said = [f"{measure}: {d.text()}" for measure, d in found.items() if d is not None]
    return [f"- {title}. {'; '.join(said)}. {over_images(own, reference)}."] if said else []


def _head_sentence(title: str, own: Runs, baseline: Runs) -> list[str]:
    """Whether the head tells more of the whole image than the mask of the baseline does."""
    found = difference(own, baseline, HEAD_AUC, AREA_AUC)
    if found is None:
        return []
    return [f"- {title}. {HEAD_AUC} against {AREA_AUC} of the baseline: {found.text()}."]


def _failures(title: str, variant: str, runs: Runs, facts: Mapping[str, Any]) -> list[str]:
    refused = facts["refused"].get(variant)
    if refused:
        return [f"- {title}: refused. {_one_line(refused)}"]
    failed = [run for run in runs if run["failed"]]
    if not failed:
        return []
    reason = _one_line(failed[0]["failed"])
    return [f"- {title}: {len(failed)} of {len(runs)} runs did not end. {reason}"]


def _facts(facts: Mapping[str, Any]) -> str:
    own = facts["facts"]
    text = f"{own['training_images']} images for training, {own['test_images']} for the test."
    if "halves" in own:
        parts = [
            f"{counts['with']} with and {counts['without']} without in {part}"
            for part, counts in own["halves"].items()
        ]
        text += (
            f" Each is cut into a left and a right half: {', '.join(parts)}. "
            f"{own['test_slices_of_patients_in_training']} of the test slices are of patients "
            "who have other slices in training."
        )
    if own["split_by_seed"]:
        text += " Every seed keeps other images for the test; these are the numbers of the first."
    return (
        f"{text} Trained for {facts['seconds']:g} seconds; an update of the baseline takes "
        f"{facts['step_s']:.3f} s."
    )


def _sizes(name: str, results: Results) -> str:
    sizes = [entry for entry in results["sizes"] if entry["set"] == name]
    if not sizes:
        return ""
    ways = {
        (variant, averaged): _flat([
            e for e in sizes if (e["variant"], e["averaged"]) == (variant, averaged)
        ])
        for averaged in (False, True)
        for variant in NETWORKS
    }  # fmt: skip
    columns = [*(f"{factor:g}" for factor in FACTORS), "mean of the other sizes"]
    rows = [["network", "prediction", *columns]]
    lines = []
    for (variant, averaged), runs in ways.items():
        title = NETWORKS[variant]
        way = "averaged over scales" if averaged else "plain"
        failed = [run["failed"] for run in runs if run["failed"]]
        if failed:
            lines.append(f"- {title}, {way}: not measured. {_one_line(failed[0])}")
        elif runs:
            rows.append([title, way, *(spread([_value(r, c) for r in runs]) for c in columns)])
            lines += _size_sentence(title, variant, averaged, ways, columns)
    return "\n\n".join(
        [
            f"## Dice on resized images: {name}",
            "The networks have batch normalisation. The test images were resized, their masks too.",
            markdown_table(rows),
            "\n".join(lines),
        ]
    )


def _size_sentence(
    title: str,
    variant: str,
    averaged: bool,
    ways: Mapping[tuple[str, bool], Runs],
    columns: Sequence[str],
) -> list[str]:
    """How far a network falls with the size, or what it gains over its reference."""
    runs = ways[variant, averaged]
    lines = []
    if not averaged:
        size_1, half, double = (
            statistics.fmean(v for r in runs if (v := _value(r, c)) is not None)
            for c in ("1", "0.5", "2")
        )
        lines.append(
            f"- {title}: Dice {size_1:.3f} at the size of the training images, {half:.3f} at half "
            f"of it and {double:.3f} at twice."
        )
    reference = (variant, False) if averaged else ("c", False)
    if (variant, averaged) == reference:
        return lines
    against = "plain prediction" if averaged else "the baseline"
    found = {c: difference(runs, ways[reference], c) for c in ("1", columns[-1])}
    said = [f"{'size 1' if c == '1' else c}: {d.text()}" for c, d in found.items() if d is not None]
    way = f"{title}, averaged over scales," if averaged else title
    return [*lines, f"- {way} against {against}. {'; '.join(said)}."] if said else lines


def _flat(entries: Runs) -> list[dict[str, Any]]:
    """Entries of sizes in the form of runs, with the mean of the sizes other than 1."""
    runs = []
    for entry in entries:
        dice = dict(entry.get("dice", {}))
        others = [value for factor, value in dice.items() if factor != "1"]
        if others:
            dice["mean of the other sizes"] = statistics.fmean(others)
        runs.append({"seed": entry["seed"], "failed": entry["failed"], "measures": dice})
    return runs


def _border(name: str, results: Results) -> str:
    runs = {variant: _of(results, name, variant) for variant in LOSSES}
    if not runs["c_border"] and "c_border" not in results["sets"][name]["refused"]:
        return ""
    rows = [["loss", "updates", *OBJECT_MEASURES]]
    for variant, title in LOSSES.items():
        if runs[variant]:
            values = [spread([_value(r, m) for r in runs[variant]]) for m in OBJECT_MEASURES]
            rows.append([title, str(runs[variant][0]["steps"]), *values])
    lines = _verdicts("dice+border_ce", runs["c_border"], runs["c"], OBJECT_MEASURES)
    lines += _failures("dice+border_ce", "c_border", runs["c_border"], results["sets"][name])
    text = (
        "Objects of all test images are counted together at an IoU of one half. A true object is "
        "merged if the drawn object that holds most of it holds most of another one too."
    )
    return "\n\n".join(
        [f"## Border-weighted loss: {name}", text, markdown_table(rows), "\n".join(lines)]
    )


def _of(results: Results, name: str, variant: str) -> list[Mapping[str, Any]]:
    wanted = (name, variant)
    return [run for run in results["runs"] if (run["set"], run["variant"]) == wanted]


def _measures(runs: Mapping[str, Runs]) -> list[str]:
    names: dict[str, None] = {}
    for several in runs.values():
        for run in several:
            names |= dict.fromkeys(run.get("measures", {}))
    return [name for name in names if name == "Dice" or name not in OBJECT_MEASURES]


def _value(run: Mapping[str, Any], measure: str) -> float | None:
    value: float | None = run.get("measures", {}).get(measure)
    return value


def _image_means(runs: Runs) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, image in run.get("images", {}).items():
            if image["dice"] is not None:
                found.setdefault(name, []).append(image["dice"])
    return {name: statistics.fmean(values) for name, values in found.items()}


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
