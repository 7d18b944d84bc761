"""Charts: one description, the same picture as SVG and as PNG."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from maskwright.report.axes import LETTER, WIDTH, Axes, shortened, ticks
from maskwright.report.chart import SOLID, VARIABLES, Chart, Dots, Line, Rect, Text, to_svg
from maskwright.report.raster import plain, to_png

SVG = "{http://www.w3.org/2000/svg}"
MARKS = (
    Rect(10, 10, 20, 10, "blue", 1.0),
    Line(((10, 40), (90, 40)), "orange", 4.0),
    Line(((10, 60), (90, 60)), "green", 4.0, (10, 10)),
    Dots(((70, 15),), "pink", 5.0, labels=("a <b>",)),
    Text(50, 90, "x < y", "middle"),
)
CHART = Chart("n", "Title & more", "It says <this>.", 100, 100, MARKS)


def picture(chart, scale=2):
    return np.asarray(Image.open(io.BytesIO(to_png(chart, scale=scale))))


def rgb(colour):
    return tuple(int(SOLID[colour][k : k + 2], 16) for k in (1, 3, 5))


def test_a_chart_in_the_page_has_words_and_takes_the_colours_of_the_page():
    (svg,) = ElementTree.fromstring(f"<page>{to_svg(CHART)}</page>")  # noqa: S314 - made here
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == "Title & more. It says <this>."
    assert svg.find("title").text == "Title & more"
    assert svg.find("desc").text == "It says <this>."
    assert VARIABLES["blue"] in svg.find("rect").get("style")
    assert svg.find("circle/title").text == "a <b>"
    assert svg.find("text").text == "x < y"


def test_a_chart_of_its_own_has_fixed_colours_on_white():
    text = to_svg(CHART, standalone=True)
    svg = ElementTree.fromstring(text)  # noqa: S314 - made here
    assert "var(" not in text
    assert "currentColor" not in text
    assert svg.find(f"{SVG}rect").get("fill") == "#fff"
    assert SOLID["orange"] in svg.find(f"{SVG}polyline").get("style")


def test_letters_that_xml_forbids_do_not_break_the_file():
    chart = Chart("n", "a\x00b\x1f", "\ud800", 10, 10, (Text(0, 9, "\x0b"),))
    assert ElementTree.fromstring(to_svg(chart)).find("title").text == "a\ufffdb\ufffd"  # noqa: S314


def test_the_picture_has_each_mark_in_its_place_and_colour():
    shown = picture(CHART)
    assert shown.shape == (200, 200, 3)
    assert tuple(shown[30, 40]) == rgb("blue")
    assert tuple(shown[80, 100]) == rgb("orange")
    assert tuple(shown[30, 140]) == rgb("pink")
    assert tuple(shown[1, 1]) == (255, 255, 255)
    assert (shown[160:185] < 100).any()


def test_dashes_are_drawn_and_left_out_in_turn():
    row = picture(CHART)[120]
    drawn = (row == rgb("green")).all(1)
    assert drawn[30]
    assert not drawn[50]
    assert drawn[70]
    assert 0.4 < drawn[20:180].mean() < 0.6


def test_translucent_marks_let_what_is_below_show():
    below, above = Rect(0, 0, 10, 10, "ink", 1.0), Rect(0, 0, 10, 10, "blue", 0.0)
    assert tuple(picture(Chart("n", "t", "d", 10, 10, (below, above)))[5, 5]) == rgb("ink")


@pytest.mark.parametrize("points", [(), ((5.0, 5.0),), ((5.0, 5.0), (5.0, 5.0))])
@pytest.mark.parametrize("dash", [(), (4.0, 4.0)])
def test_lines_without_length_are_no_error(points, dash):
    assert picture(Chart("n", "t", "d", 10, 10, (Line(points, dash=dash),))).shape == (20, 20, 3)


def test_typographic_letters_have_plain_ones():
    assert plain("−0.5 … 3 × 4 µm, é") == "-0.5 ... 3 x 4 um, e"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.37, 0.93), (-2, 5), (0, 1e-6), (3, 3)])
def test_ticks_are_few_and_cover_the_range(low, high):
    found = ticks(low, high)
    assert len(found) <= 8
    assert found[0] <= low + 1e-9
    assert found[-1] >= high - 1e-9


def test_values_beyond_an_axis_stay_on_its_end():
    axes = Axes((0.0, 1.0), (0.0, 1.0), ("x", "y"))
    assert axes.at(7.0, -3.0) == axes.at(1.0, 0.0)
    assert axes.at(0.5, 0.25)[1] > axes.at(0.5, 0.75)[1]


def test_a_long_legend_takes_more_rows_and_no_more_width():
    names = [f"a class with a long name {k}" for k in range(6)]
    axes = Axes((0, 1), (0, 1), ("x", "y"), legend=[(name, "blue", ()) for name in names])
    short = Axes((0, 1), (0, 1), ("x", "y"), legend=[("a", "blue", ())])
    assert axes.height > short.height
    texts = [mark for mark in axes.marks if isinstance(mark, Text)]
    assert all(mark.x + LETTER * len(mark.text) <= WIDTH for mark in texts)
    assert len(shortened("x" * 300, 100)) <= 100 / LETTER
