"""A report with every section filled, from computed masks and made-up scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from maskwright.report.content import (
    CATALOGUE,
    GroupScore,
    MeasureInfo,
    PartitionTable,
    QualityTrend,
    RegionScore,
    ReliabilityCurve,
    ReportCase,
    ReportData,
    SizeBin,
    SizeScores,
    ThresholdChoice,
    TrustScores,
)
from maskwright.report.curves import learning_charts, validations
from maskwright.report.figures import overlay, overlay_uri, slice_uris, volume_slices

MEASURES = (
    *CATALOGUE,
    MeasureInfo(
        "hd95", "Hausdorff 95 %", "All but the worst 5 % lie closer.", "mm", "low", "surface"
    ),
    MeasureInfo("assd", "Mean distance", "Mean gap between outlines.", "mm", "low", "surface"),
    MeasureInfo("f1", "F1 of objects", "Objects found, one to one.", group="objects"),
    MeasureInfo("v_info", "Variation", "Bits by which the partitions differ.", "bits", "low",
                "partition"),
)  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    mean: float
    interval: tuple[float, float] | None
    n_used: int
    n: int
    pooled: float


@dataclass(frozen=True)
class Summary:
    class_names: tuple[str, ...]
    n: int
    n_groups: int
    headline: Estimate
    measures: dict[str, dict[str, Estimate]]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    undefined: tuple[object, ...] = field(default=())

    def sentence(self, images: str = "image") -> str:
        low, high = self.headline.interval or (0.0, 1.0)
        return (
            f"Mean Dice of {' and '.join(self.class_names[1:])} on {self.n} {images}s: "
            f"{self.headline.mean:.2f} (95 % interval {low:.2f}–{high:.2f})"
        )


def summary_of(names: tuple[str, ...], n: int, mean: float) -> Summary:
    share = Estimate(mean, (mean - 0.05, min(1.0, mean + 0.04)), n, n, mean + 0.01)
    far = Estimate(12.34, (3.2, 21.7), n - 1, n, math.nan)
    by_name = {info.name: far if info.unit == "mm" else share for info in MEASURES}
    bare = {info.name: share for info in MEASURES if info.group in ("overlap", "ranking")}
    measures = {name: by_name if k else bare for k, name in enumerate(names)}
    return Summary(names, n, max(1, n // 3), share, measures)


def blobs(shape: tuple[int, ...], classes: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    grid = np.indices(shape)
    for k in range(3 * (classes - 1)):
        centre = [generator.uniform(0.25, 0.75) * side for side in shape]
        radius = generator.uniform(0.1, 0.22) * shape[-1]
        scaled = [
            (g - c) * shape[-1] / side for g, c, side in zip(grid, centre, shape, strict=True)
        ]
        mask[sum(d * d for d in scaled) < radius * radius] = k % (classes - 1) + 1
    return mask


def case_of(k: int, names: tuple[str, ...], cases: int, size: int, depth: int) -> ReportCase:
    generator = np.random.default_rng(k)
    shape = (depth, size, size) if depth else (size, size)
    truth = blobs(shape, len(names), k)
    prediction = np.roll(truth, generator.integers(1, 2 + size // 12), axis=-1)
    image = (truth * 40 + generator.normal(60, 12, shape)).clip(0, 255)[None]
    dice = float(np.clip(generator.normal(0.84, 0.09), 0.05, 0.99))
    valid = np.ones(shape, bool)
    valid[..., : size // 9] = False
    picture = {"overlay": overlay_uri(overlay(image, truth, prediction, len(names), valid=valid),
                                      cases)} if not depth else {"slices": slice_uris(
        volume_slices(image, truth, prediction, len(names)), cases)}  # fmt: skip
    return ReportCase(
        f"patient_{k // 4:02d}_slice_{k:03d}",
        {name: min(1.0, dice + 0.02 * j) for j, name in enumerate(names)},
        dice,
        f"patient_{k // 4:02d}",
        ("touches the border",) if k % 7 == 0 else (),
        values={"hd95": dict.fromkeys(names[1:2], 3.0 + k)},
        expected=min(1.0, dice + 0.03),
        **picture,
    )


def make_full_report(
    names: tuple[str, ...] = ("background", "tumour"),
    cases: int = 12,
    size: int = 96,
    depth: int = 0,
) -> ReportData:
    generator = np.random.default_rng(5)
    shown = [case_of(k, names, cases, size, depth) for k in range(cases)]
    events = [{"kind": "step", "step": s, "loss": 0.7 / (1 + s / 90) + 0.05 * generator.random()}
              for s in range(1, 601)]  # fmt: skip
    events += [
        {"kind": "validation", "step": s,
         "dice": {name: (0.9 - 0.06 * k) * (1 - math.exp(-s / 150))
                  for k, name in enumerate(names)}}
        for s in range(50, 601, 50)
    ]  # fmt: skip
    thresholds = np.linspace(0, 1, 41)
    bins = [(p, p**1.4, int(10 ** (5 - 8 * p * (1 - p)))) for p in np.arange(0.05, 1, 0.1)]
    labels = ("below 6 mm", "6–12 mm", "12–24 mm", "above 24 mm")
    groups = sorted({case.group for case in shown})
    return ReportData(
        title="Tumours of the liver, depth 4",
        summary=summary_of(names, cases, 0.84),
        cases=shown,
        baselines={
            "otsu": summary_of(names, cases, 0.41),
            "kmeans on filters": summary_of(names, cases, 0.55),
            "second observer": summary_of(names, cases, 0.88),
        },
        catalogue=MEASURES,
        warnings=["Two images are smaller than the patch and were padded."],
        failures=["3 of 14 tumours missed, all below 6 mm."],
        sizes=[SizeScores(name, "mm", [SizeBin(label, 14 - k, 9 + (k > 0) * (5 - k), 0.5 + 0.1 * k)
                                       for k, label in enumerate(labels)],
                          "Found means that more than half of the object was predicted.")
               for name in names[1:]],
        quality=[QualityTrend("contrast", "Contrast is the difference of means over the noise.",
                              [(c.name, float(generator.normal(2, 0.5)), c.mean_dice)
                               for c in shown],
                              0.41, "Images of low contrast score lower.")],
        groups=[GroupScore(g, 4, 0.7 + 0.02 * k, 0.5 + 0.01 * k, min(1, 0.82 + 0.02 * k))
                for k, g in enumerate(groups)],
        regions=[RegionScore(where, "network", names[1], *[summary_of(
                     names, cases, mean).headline] * 4)
                 for where, mean in (("inside", 0.84), ("outside", 0.1), ("whole image", 0.8))],
        confusion=tuple(tuple(900_000 if i == j else 21_000 * (1 + i) for j in range(len(names)))
                        for i in range(len(names))),
        reliability=[ReliabilityCurve(name, bins, 0.031, 0.042, 1.37, 0.082) for name in names[1:]],
        thresholds=[ThresholdChoice(name, [(t, 0.85 - (t - 0.62) ** 2) for t in thresholds],
                                    0.62, 0.836, 0.848, 0.853, 0.71) for name in names[1:]],
        partitions=[PartitionTable(names[1], [(t, 0.9 - (t - 0.4) ** 2, 0.95 - (t - 0.5) ** 2)
                                              for t in np.arange(0, 1.01, 0.1)],
                                   (0.4, 0.9), (0.5, 0.95), "Chosen on these images.")],
        trust=TrustScores([(c.name, c.expected, c.mean_dice) for c in shown],
                          "Expected and actual Dice differ by 0.03 on average."),
        learning=learning_charts(events),
        validations=validations(events),
        facts=["Value 255 is read as class 1."],
        split={"train": [f"t{k}" for k in range(30)], "test": [case.name for case in shown]},
        data_hash="3f2a" * 16,
        plan=[("patch of 256 px", "It holds the largest tumour with its surroundings."),
              ("depth 4", "The receptive field of 188 pixels covers nine of ten objects.")],
        model={"network": "U-Net, padded", "parameters": "1,940,818"},
        timings_s={"training": 1920.0, "prediction": 8.2},
        cost={"core hours": "1.1", "electricity": "about 0.05 kWh"},
        config={"train": {"steps": 600, "augment": {"flip": 0.5}}},
        versions={"maskwright": "0.1.0"},
        hardware={"cores": "2"},
        commands=["maskwright train data --out run --steps 600"],
        citation="Maskwright 0.1.0, 2026.",
        bibtex="@software{maskwright, title = {Maskwright}}",
        has_region=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_report() -> ReportData:
    return make_full_report(cases=6, size=48)


@pytest.fixture(scope="session")
def build_report() -> Callable[..., ReportData]:
    return make_full_report


@pytest.fixture
def bare_report(small_report: ReportData) -> ReportData:
    """As it is for masks of another tool: scores only, no run."""
    cases = [
        replace(case, expected=None, values={}, slices=(), overlay=None)
        for case in small_report.cases
    ]
    return ReportData(
        title="Masks", summary=small_report.summary, cases=cases, subject="these masks"
    )
