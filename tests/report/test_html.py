"""The report: self-contained, inert, small, and saying in words what must be said."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from maskwright.errors import OutputError
from maskwright.evaluate.measuring import score_case
from maskwright.evaluate.summary import summarise
from maskwright.report.content import MeasureInfo, ReportSlice
from maskwright.report.curves import learning_charts, validations
from maskwright.report.figures import overlay, overlay_uri, panel_names, slice_uris
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
        learning=learning_charts(steps),
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


def test_links_lead_to_the_picture_of_their_image_even_when_others_have_none():
    report = make(names=tuple("abcd"))
    cases = [replace(case, overlay=None) if k % 2 else case for k, case in enumerate(report.cases)]
    page = render(replace(report, cases=cases))
    links = dict(re.findall(r'<a href="#(image-\d+)">(\w)</a>', page))
    figures = dict(re.findall(r'<figure id="(image-\d+)".*?aria-label="Close (\w)"', page, re.S))
    assert links == figures
    assert set(links.values()) == {"a", "c"}


def test_a_report_of_a_hundred_images_stays_below_five_megabytes():
    noise = np.random.default_rng(0).integers(0, 255, (1, 300, 300)).astype(np.uint8)
    truth, prediction = masks(0, 300)
    uri = overlay_uri(overlay(noise, truth, prediction, 2), 100)
    report = make(names=tuple(f"case_{k:03d}" for k in range(100)))
    heavy = [replace(case, overlay=uri) for case in report.cases]
    assert len(render(replace(report, cases=heavy)).encode()) < 5_000_000


def headings(page_text):
    return re.findall(r'<h2 id="([a-z]+)"', page_text)


def test_a_full_report_has_every_section_in_order(small_report):
    assert headings(render(small_report)) == [
        "attention", "failures", "measures", "images", "where", "probabilities", "learning",
        "data", "plan", "repeat", "cite",
    ]  # fmt: skip


def test_sections_without_content_do_not_appear(bare_report):
    page = Page(render(bare_report))
    assert headings(render(bare_report)) == ["measures", "images"]
    assert not any(tag == "img" for tag, _ in page.elements)
    assert "these masks" in page.text
    assert "network" not in page.text.replace("needs no network", "")


def test_every_chart_of_the_page_has_a_title_and_words(small_report):
    text = render(small_report)
    charts = re.findall(r'<svg class="chart".*?</svg>', text, re.S)
    assert len(charts) == 8
    for chart in charts:
        assert re.search(r'role="img" aria-label="[^"]{20,}"', chart)
        assert "<title>" in chart
        assert "<desc>" in chart


def test_the_catalogue_orders_and_explains_the_measures(small_report):
    text = Page(render(small_report)).text
    positions = [text.index(word) for word in ("Overlap", "Ranking by probability", "Distance")]
    assert positions == sorted(positions)
    for words in ("12.3", "3.2–21.7", "5 of 6", "mm, lower is better", "All but the worst 5 %"):
        assert words in text
    assert "Hausdorff 95 % of tumour, mm" in text


def test_a_measure_that_a_class_lacks_is_a_dash_and_unknown_ones_are_skipped(small_report):
    more = [*small_report.catalogue, MeasureInfo("nsd", "Surface Dice", "Not computed here.")]
    text = Page(render(replace(small_report, catalogue=more))).text
    assert "Surface Dice" not in text
    assert "nan" not in text


def test_a_second_person_is_no_method_without_training(small_report):
    text = Page(render(small_report)).text
    assert "The best method without training, k-means on filtered images, reaches 0.55" in text
    assert "A second person, who marked the same images, reaches 0.88 against this truth" in text
    assert "the network lies 0.04 below" in text
    assert "Compared with methods that need no training and with a second person" in text
    person = {"second observer": small_report.baselines["second observer"]}
    alone = Page(render(replace(small_report, baselines=person))).text
    assert "without training" not in alone
    assert "Clusters" not in alone
    assert "Compared with a second person" in alone


def test_a_person_is_listed_after_the_methods_even_when_better(small_report):
    rows = re.findall(r'<tr class="(ours|method|person)">', render(small_report))
    assert rows[: len(rows) // 2] == ["ours", "method", "method", "person"]


def test_a_threshold_chosen_on_the_test_images_is_called_an_oracle(small_report):
    text = Page(render(small_report)).text
    assert "at 0.62, chosen on validation images" in text
    assert "at 0.71, oracle: chosen on the test images, for comparison only" in text


def test_regions_are_told_apart_with_who_marked_them(small_report):
    rows = [*small_report.regions, replace(small_report.regions[0], method="second observer")]
    text = Page(render(replace(small_report, regions=rows))).text
    assert "Inside and outside the region of interest" in text
    assert "outside the trained network tumour 0.100" in text
    assert "inside a second person tumour 0.840" in text


def test_the_confusion_matrix_shows_shares_of_each_row_and_pixels(small_report):
    page = render(replace(small_report, confusion=((75, 25), (0, 0))))
    text = Page(page).text.replace("\u00a0", " ")
    assert "75.0 % 75" in text
    assert "25.0 % 25" in text
    assert "--heat:33.8%" in page


def test_a_volume_has_a_slider_and_shows_its_worst_slice_without_it(build_report):
    report = build_report(cases=2, size=32, depth=10)
    page = Page(render(report))
    sliders = [a for tag, a in page.elements if tag == "input"]
    assert [slider["type"] for slider in sliders] == ["range", "range"]
    pictures = [a for tag, a in page.elements if tag == "img"]
    assert len(pictures) == sum(len(case.slices) for case in report.cases)
    shown = [a for a in pictures if "hidden" not in a]
    worst = {str(case.slices[0].index) for case in report.cases}
    assert len(shown) == 2
    assert {a["data-slice"] for a in shown} == worst
    assert all("the worst" in a["alt"] for a in shown)


def test_a_slice_that_is_not_embedded_is_refused(bare_report):
    case = replace(bare_report.cases[0], slices=(ReportSlice(0, "https://x/y.png"),))
    with pytest.raises(OutputError, match="report-picture"):
        render(replace(bare_report, cases=[case]))


def test_pictures_name_the_panels_they_have(small_report):
    cases = [replace(case, panels=panel_names(image=False)) for case in small_report.cases]
    page = render(replace(small_report, cases=cases))
    assert "<span>image</span>" not in page
    assert "truth, prediction, errors side by side" in page


def test_hostile_content_of_the_new_sections_stays_text(small_report):
    trend = replace(small_report.quality[0], name=HOSTILE, meaning=HOSTILE, sentence=HOSTILE)
    report = replace(
        small_report,
        failures=[HOSTILE],
        plan=[(HOSTILE, HOSTILE)],
        cost={HOSTILE: HOSTILE},
        citation=HOSTILE,
        bibtex=HOSTILE,
        data_hash=HOSTILE,
        subject=HOSTILE,
        quality=[trend],
        sizes=[replace(small_report.sizes[0], class_name=HOSTILE, note=HOSTILE)],
        thresholds=[replace(small_report.thresholds[0], class_name=HOSTILE)],
        reliability=[replace(small_report.reliability[0], class_name=HOSTILE)],
        partitions=[replace(small_report.partitions[0], class_name=HOSTILE, note=HOSTILE)],
        groups=[replace(group, group=HOSTILE + group.group) for group in small_report.groups],
        trust=replace(small_report.trust, sentence=HOSTILE),
    )
    page = Page(render(report))
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert sum(tag == "script" for tag, _ in page.elements) == 1


def test_a_hundred_volumes_stay_below_five_megabytes(build_report):
    report = build_report(cases=2, size=48, depth=6)
    noise = np.random.default_rng(0).integers(0, 256, (12, 128, 536, 3)).astype(np.uint8)
    slices = slice_uris(list(enumerate(noise)), 100)
    cases = [replace(report.cases[0], name=f"v{k}", slices=slices) for k in range(100)]
    assert len(render(replace(report, cases=cases)).encode()) < 5_000_000
