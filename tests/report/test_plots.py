"""The charts of the report: the right marks for the right values, and files of both kinds."""

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from PIL import Image

from maskwright.report.chart import Dots, Line, Rect, Text, to_svg
from maskwright.report.content import (
    GroupScore,
    QualityTrend,
    ReliabilityCurve,
    ReportData,
    SizeBin,
    SizeScores,
    ThresholdChoice,
    TrustScores,
)
from maskwright.report.figure_files import write_figures
from maskwright.report.plots import (
    MOST_GROUPS,
    case_charts,
    group_charts,
    quality_chart,
    reliability_chart,
    report_charts,
    size_chart,
    threshold_chart,
    trust_chart,
)
from maskwright.report.raster import to_png


def of(chart, kind):
    return [mark for mark in chart.marks if isinstance(mark, kind)]


def words(chart):
    return [mark.text for mark in of(chart, Text)]


def test_every_image_is_a_dot_that_names_it(small_report):
    (chart,) = case_charts(small_report)
    (dots,) = of(chart, Dots)
    expected = sorted(f"{case.name}: {case.mean_dice:.3f}" for case in small_report.cases)
    assert sorted(dots.labels) == expected
    assert [x for x, _ in dots.points] == sorted(x for x, _ in dots.points)


def test_equal_images_stack_instead_of_hiding_each_other(small_report):
    cases = [replace(small_report.cases[0], name=f"i{k}", mean_dice=0.5) for k in range(60)]
    (dots,) = of(case_charts(replace(small_report, cases=cases))[0], Dots)
    assert len(set(dots.points)) == 60


def test_two_images_make_no_strip(small_report):
    assert case_charts(replace(small_report, cases=small_report.cases[:2])) == []


def test_images_without_a_score_are_not_drawn(small_report):
    lost = replace(small_report.cases[0], name="lost", mean_dice=math.nan)
    (chart,) = case_charts(replace(small_report, cases=[*small_report.cases, lost]))
    assert len(of(chart, Dots)[0].points) == len(small_report.cases)


def test_bars_are_the_share_found_and_say_how_many():
    bins = [SizeBin("below 6 mm", 14, 7, 0.4), SizeBin("6–12 mm", 0, 0, math.nan)]
    chart = size_chart(SizeScores("tumour", "mm", bins))
    legend, bar = of(chart, Rect)
    grid = [line.points[0][0] for line in of(chart, Line)]
    assert bar.x == grid[0]
    assert bar.x + bar.width == pytest.approx(grid[1])
    assert "7 of 14" in words(chart)
    assert legend.width == 14
    assert "below 6 mm: 7 of 14 found" in chart.description


def test_groups_come_worst_first_and_only_when_they_tell_something():
    groups = [GroupScore(f"g{k}", 2, 0.9 - 0.02 * k, 0.2, 0.95) for k in range(30)]
    (chart,) = group_charts(groups)
    labels = [text for text in words(chart) if text.startswith("g")]
    assert labels[0] == "g29"
    assert len(labels) == MOST_GROUPS
    assert f"The {MOST_GROUPS} worst of 30 groups." in chart.description
    assert group_charts(groups[:2]) == []
    assert group_charts([replace(group, n=1) for group in groups]) == []


def test_perfect_calibration_lies_on_the_diagonal_and_empty_bins_are_left_out():
    bins = [(0.1, 0.1, 5000), (0.5, 0.5, 10), (0.9, 0.9, 800), (math.nan, math.nan, 0)]
    chart = reliability_chart(ReliabilityCurve("cell", bins, 0.0, 0.01))
    (diagonal,) = [line for line in of(chart, Line) if line.dash]
    (x0, y0), (x1, y1) = diagonal.points
    for x, y in of(chart, Dots)[0].points:
        assert (y - y0) / (y1 - y0) == pytest.approx((x - x0) / (x1 - x0))
    heights = [rect.height for rect in of(chart, Rect)]
    assert len(heights) == 3
    assert max(heights) == heights[0] == 44


@pytest.mark.parametrize("chosen", [0.05, 0.5, 0.95])
def test_the_chosen_threshold_is_marked_beside_its_line(chosen):
    curve = [(k / 10, 0.8 - (k / 10 - chosen) ** 2) for k in range(11)]
    chart = threshold_chart(ThresholdChoice("cell", curve, chosen, 0.7, 0.8, 0.81, 0.4))
    (rule,) = [line for line in of(chart, Line) if line.dash]
    (note,) = [text for text in of(chart, Text) if text.text.startswith("chosen")]
    assert note.text == f"chosen: {chosen:.2f}"
    assert (note.x < rule.points[0][0]) == (note.anchor == "end")


def test_dots_of_trust_below_the_diagonal_promised_too_much():
    chart = trust_chart(TrustScores([("a", 0.9, 0.6)]))
    (x, y), (corner_x, corner_y) = of(chart, Dots)[0].points[0], of(chart, Line)[-1].points[1]
    assert corner_x - x < y - corner_y
    assert of(chart, Dots)[0].labels == ("a: expected 0.900, actual 0.600",)


def test_charts_of_nothing_still_draw():
    charts = [
        reliability_chart(ReliabilityCurve("cell", [], math.nan, math.nan)),
        threshold_chart(ThresholdChoice("cell", [], 0.5, 0.1, 0.1, 0.1, 0.5)),
        quality_chart(QualityTrend("noise", "", [("a", math.nan, 0.5)])),
        size_chart(SizeScores("cell", "px", [])),
    ]
    for chart in charts:
        ElementTree.fromstring(to_svg(chart))  # noqa: S314 - made here
        assert to_png(chart).startswith(b"\x89PNG")


def test_all_text_stays_inside_its_chart(build_report):
    report = build_report(("background", "liver", "tumour"), cases=12, size=24)
    for charts in report_charts(report).values():
        for chart in charts:
            for text in of(chart, Text):
                width = 6.5 * len(text.text)
                left = text.x - {"start": 0, "middle": width / 2, "end": width}[text.anchor]
                assert left >= -1, (chart.name, text)
                assert left + width <= chart.width + 1, (chart.name, text)
                assert 8 < text.y <= chart.height, (chart.name, text)


def test_every_chart_is_written_as_svg_and_png(tmp_path, small_report):
    paths = write_figures(small_report, tmp_path / "figures")
    charts = [c for drawn in report_charts(small_report).values() for c in drawn]
    assert len(paths) == 2 * len(charts) == len(set(paths))
    assert sorted(paths) == sorted((tmp_path / "figures").iterdir())
    for path in paths:
        if path.suffix == ".png":
            assert Image.open(path).format == "PNG"
        else:
            ElementTree.parse(path)  # noqa: S314 - made here


def test_names_of_files_are_safe_and_never_the_same(tmp_path, small_report):
    curve = ReliabilityCurve("../a/b", [(0.5, 0.5, 3)], 0.1, 0.1)
    twins = [curve, replace(curve, class_name="a b"), replace(curve, class_name="核")]
    report = ReportData(
        title="t", summary=small_report.summary, cases=(), reliability=[*twins, twins[0]]
    )
    names = [path.name for path in write_figures(report, tmp_path)]
    assert len(names) == len(set(names)) == 8
    assert all(re.fullmatch(r"[a-z0-9-]+\.(svg|png)", name) for name in names)
