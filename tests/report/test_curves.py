"""Learning curves: valid SVG that survives odd events and hostile names."""

import math
from xml.etree import ElementTree

import pytest

from maskwright.report.chart import to_svg
from maskwright.report.curves import learning_charts, validations


def events(steps=50):
    for step in range(1, steps + 1):
        yield {"kind": "step", "step": step, "loss": 1 / step}
        if step % 10 == 0:
            yield {"kind": "validation", "step": step, "dice": {"cell": 0.9, "<b>&": 0.02 * step}}
    yield {"kind": "end"}


def curves_svg(told):
    return "\n".join(to_svg(chart) for chart in learning_charts(told))


def charts(text):
    return list(ElementTree.fromstring(f"<page>{text}</page>"))  # noqa: S314 - made here


def curves_of(chart):
    """Lines in a colour of the page that are no sample of the legend."""
    lines = [line for line in chart.findall("polyline") if "--line" in line.get("style")]
    return [line for line in lines if line.get("points").count(" ") > 3]


def test_loss_and_dice_each_get_a_chart():
    loss, scores = charts(curves_svg(events()))
    assert loss.find("title").text == "Loss in training"
    assert len(curves_of(loss)) == 1
    assert len(curves_of(scores)) == 2
    assert len(scores.findall("circle")) == 10


def test_a_name_with_markup_stays_text():
    text = curves_svg(events())
    assert "<b>" not in text
    assert "<b>&" in [node.text for node in charts(text)[1].iter("text")]


def test_each_class_differs_in_more_than_colour():
    lines = [line.get("style") for line in curves_of(charts(curves_svg(events()))[1])]
    assert "dasharray" not in lines[0]
    assert "dasharray" in lines[1]


def test_points_lie_inside_the_frame_even_with_a_spike():
    spiky = [{"kind": "step", "step": k, "loss": 1e6 if k == 500 else 1.0} for k in range(1000)]
    (chart,) = charts(curves_svg(spiky))
    _, _, width, height = (float(v) for v in chart.get("viewBox").split())
    for line in chart.findall("polyline"):
        numbers = [float(v) for v in line.get("points").split()]
        assert 0 <= min(numbers[::2]) <= max(numbers[::2]) <= width
        assert 0 <= min(numbers[1::2]) <= max(numbers[1::2]) <= height


@pytest.mark.parametrize(
    "odd",
    [
        [{"kind": "step", "step": 1, "loss": 0.0}],
        [{"kind": "step", "step": 1, "loss": -2.5}, {"kind": "step", "step": 2, "loss": -2.5}],
        [{"kind": "step", "step": 1, "loss": None}, {"kind": "step", "step": 2, "loss": 1.0}],
        [{"kind": "step", "step": 1, "loss": math.nan}, {"kind": "step", "step": 2, "loss": 1e-9}],
        [{"kind": "validation", "step": 0, "dice": [0.5, None]}],
    ],
)
def test_odd_events_still_give_one_valid_chart(odd):
    assert len(charts(curves_svg(odd))) == 1


def test_without_events_there_is_nothing_to_draw():
    assert curves_svg([]) == ""
    assert curves_svg([{"kind": "start"}]) == ""


def test_validations_come_as_mapping_sequence_or_number():
    rows = [
        {"kind": "validation", "step": 1, "dice": {"a": 0.5, "b": None}},
        {"kind": "validation", "step": 2, "dice": [0.25, 0.75]},
        {"kind": "validation", "step": 3, "dice": 1.0},
        {"kind": "validation", "step": 4},
    ]
    assert validations(rows) == [
        (1, {"a": 0.5}),
        (2, {"class 0": 0.25, "class 1": 0.75}),
        (3, {"mean": 1.0}),
    ]
