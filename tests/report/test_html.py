"""The report: self-contained, inert, small, and saying in words what must be said."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from maskwright.errors import OutputError
from maskwright.evaluate.summary import score_case, summarise
from maskwright.report.curves import curves_svg, validations
from maskwright.report.figures import overlay, overlay_uri
from maskwright.report.html import ReportCase, ReportData, render

NAMES = ("cell", "membrane")
HOSTILE = "<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Collects elements, addresses and text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def masks(seed, size=48):
    generator = np.random.default_rng(seed)
    truth = (np.indices((size, size)).sum(0) // 8) % 2
    wrong = generator.random((size, size)) < 0.05 * (1 + seed % 5)
    return truth.astype(np.uint8), np.where(wrong, 1 - truth, truth).astype(np.uint8)


def make(names=("a", "b", "c"), lost=(), **changes):
    scores, cases, flat = [], [], []
    for k, name in enumerate(names):
        truth, prediction = masks(k)
        case = score_case(name, None if name in lost else prediction, truth, 2)
        scores.append(case)
        flat.append(score_case(name, np.ones_like(truth), truth, 2))
        uri = overlay_uri(overlay(truth[None] * 90.0, truth, prediction, 2), len(names))
        dice = {label: case.value("dice", j) for j, label in enumerate(NAMES)}
        flags = ("no prediction",) if name in lost else ()
        cases.append(ReportCase(name, dice, case.mean_dice, name, flags, uri))
    steps = [{"kind": "step", "step": k, "loss": 1 / k} for k in range(1, 30)]
    steps.append({"kind": "validation", "step": 29, "dice": {"membrane": 0.5}})
    report = ReportData(
        title="Membranes",
        simulated=False,
        summary=summarise(scores, NAMES),
        baselines={"otsu": summarise(flat, NAMES)},
        curves=curves_svg(steps),
        cases=cases,
        config={"version": 1, "train": {"steps": 9, "augment": {"flip": 0.5}}},
        split={"train": ["t1", "t2"], "validation": [], "test": list(names)},
        facts=["Value 255 is read as class 1."],
        warnings=[],
        timings_s={"train": 192.0},
        versions={"maskwright": "0.1.0"},
        hardware={"cores": "2"},
        commands=["maskwright train data --out run"],
        validations=validations(steps),
    )
    return replace(report, **changes)


def test_nothing_is_loaded_from_anywhere():
    text = render(make())
    for tag, attributes in Page(text).elements:
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            address = attributes.get(name) or "#"
            assert address.startswith(("#", "data:")), (tag, name, address)
        assert "style" not in attributes or "url(" not in attributes["style"]
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_the_policy_of_the_page_forbids_loading_and_foreign_scripts():
    page = Page(render(make()))
    (policy,) = [a["content"] for t, a in page.elements if "http-equiv" in a and t == "meta"]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]+'$", policy)


def test_a_hostile_name_stays_text_wherever_it_appears():
    report = make(
        names=(HOSTILE, "b", "c"),
        lost=(HOSTILE,),
        title=HOSTILE,
        facts=[HOSTILE],
        warnings=[HOSTILE],
        versions={HOSTILE: HOSTILE},
        hardware={HOSTILE: HOSTILE},
        commands=[HOSTILE],
        model={HOSTILE: HOSTILE},
        timings_s={HOSTILE: 1.0},
        config={HOSTILE: {HOSTILE: HOSTILE}},
        split={HOSTILE: [HOSTILE]},
        images=HOSTILE,
    )
    page = Page(render(report))
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    assert HOSTILE in page.text


def test_a_hostile_class_name_stays_text():
    truth, prediction = masks(0)
    report = make(
        summary=summarise([score_case("a", prediction, truth, 2)], ("x", HOSTILE)),
        baselines={},
        cases=[ReportCase("a", {"x": 1.0, HOSTILE: 0.5}, 0.5, "a")],
    )
    page = Page(render(report))
    assert all("onerror" not in attributes for _, attributes in page.elements)


def test_a_picture_that_is_not_embedded_is_refused():
    case = ReportCase("a", {"cell": 1.0, "membrane": 1.0}, 1.0, "a", (), "overlays/a.png")
    with pytest.raises(OutputError, match="report-picture"):
        render(make(cases=[case]))


def test_the_headline_is_a_sentence_with_its_number_of_images():
    report = make()
    sentence = report.summary.sentence("held-out image").replace("95 %", "95\u00a0%")
    assert sentence.replace("\u00a0", " ") in Page(render(report)).text.replace("\u00a0", " ")


def test_missing_and_extra_predictions_are_named_in_words():
    report = make(lost=("b",))
    report = replace(report, summary=replace(report.summary, extra=("stray.png",)))
    text = Page(render(report)).text
    assert "1 of 3 images has no prediction and counts as all background: b." in text
    assert "stray.png" in text


def test_the_comparison_is_honest_in_both_directions():
    report = make()
    assert "training gained" in Page(render(report)).text
    swapped = replace(
        report, summary=report.baselines["otsu"], baselines={"kmeans": report.summary}
    )
    assert "the network is no better than that" in Page(render(swapped)).text


def test_only_a_simulated_sample_carries_the_banner():
    assert "Simulated sample." in Page(render(make(simulated=True))).text
    assert "Simulated" not in Page(render(make())).text


def test_images_come_worst_first_and_every_picture_has_words():
    report = make(names=tuple("abcdef"), lost=("d",))
    page = Page(render(report))
    alts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    order = [case.name for case in sorted(report.cases, key=lambda c: c.mean_dice)]
    assert [alt.split(":")[0] for alt in alts] == order
    assert order[0] == "d"


def test_an_undefined_value_shows_as_a_dash_with_its_reason():
    full = np.ones((8, 8), np.uint8)
    summary = summarise([score_case("full", full, full, 2)], NAMES)
    case = ReportCase("full", {"cell": 1.0, "membrane": 1.0}, 1.0, "full")
    text = Page(render(make(summary=summary, baselines={}, cases=[case]))).text
    assert "Specificity of membrane on 1 image (full): there are no negatives" in text
    assert "nan" not in text


def test_settings_split_and_commands_are_shown():
    text = Page(render(make())).text
    for words in ("augment.flip", "t1, t2", "maskwright train data --out run", "3 min 12 s"):
        assert words in text


def test_every_link_inside_the_page_has_its_target():
    page = Page(render(make()))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for t, a in page.elements if t == "a"} - {"-"}
    assert links <= set(ids)


def test_a_report_of_a_hundred_images_stays_below_five_megabytes():
    noise = np.random.default_rng(0).integers(0, 255, (1, 300, 300)).astype(np.uint8)
    truth, prediction = masks(0, 300)
    uri = overlay_uri(overlay(noise, truth, prediction, 2), 100)
    report = make(names=tuple(f"case_{k:03d}" for k in range(100)))
    heavy = [replace(case, overlay=uri) for case in report.cases]
    assert len(render(replace(report, cases=heavy)).encode()) < 5_000_000
