"""The evaluation's page: complete, self-contained and reproducible."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from evaluated_models import HOSTILE, IMAGES, digit_images, evaluated_report
from page_structure import check_page
from visiongate.evaluation import figures
from visiongate.evaluation.curves import precision_recall_points, roc_points
from visiongate.evaluation.gallery import MAX_SIDE, is_pixelated, pick_galleries, thumbnail_uri
from visiongate.evaluation.label_errors import LabelErrors
from visiongate.evaluation.page import draw_figures, render_report, write_report
from visiongate.models.predictions import Predictions
from visiongate.records.evaluation import Slice, SuspectedLabel
from visiongate.records.interval import Interval

NO_ERRORS = LabelErrors(0.0, (), ())
FIGURES = [
    "confusion",
    "classes",
    "reliability",
    "confidence",
    "roc",
    "precision_recall",
    "robustness",
    "training",
]


@pytest.mark.parametrize("classes", [2, 40])
def test_page_is_complete_and_self_contained(classes: int, tmp_path: Path) -> None:
    write_report(evaluated_report(classes), 10, tmp_path)

    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    parsed = check_page(page)
    assert not re.search(r"@import|url\((?!data:)", page)
    # The class name is text, not an element.
    assert HOSTILE in parsed.text
    assert len(page) < 1_500_000
    assert "class 1" in parsed.text
    pictures = {path.stem: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    assert sorted(pictures) == sorted(FIGURES)
    for name, content in pictures.items():
        picture = Image.open(io.BytesIO(content))
        assert (picture.format, picture.size[0]) == ("PNG", 600)
        assert len(content) < 60_000, name
        assert len(picture.convert("RGB").getcolors(maxcolors=100_000)) > 3


def test_failed_rules_come_first() -> None:
    report = evaluated_report(skill=0.0)

    text = check_page(render_report(report, {})).text

    failed = [rule.name for rule in report.result.verdict.failed]
    assert "beats_majority" in failed
    assert f"The gate failed: {', '.join(failed)}." in text
    assert text.index("Fail") < text.index("Pass")
    assert "Not evaluated" in text


def test_page_states_how_the_model_was_judged() -> None:
    report = evaluated_report()
    folded = replace(report, result=replace(report.result, folds=5))

    assert (
        f"Judged on {IMAGES} test images, which the model has not seen."
        in check_page(render_report(report, {})).text
    )
    text = check_page(render_report(folded, {"training": b""})).text
    assert f"Judged by 5-fold cross-validation over all {IMAGES} images" in text
    assert "Training, mean of the 5 folds" in text
    assert "test images" not in text.partition("All metrics")[0]


def test_only_a_significantly_worse_slice_is_called_worse() -> None:
    report = evaluated_report()
    weak = Slice("brightness", "dark", 60, 0.5, 0.38, 0.62, -0.1234, 0.001)
    diagnosis = replace(report.result.diagnosis, slices=[replace(weak, name="bright", p_value=1.0), weak])
    pages = [
        check_page(render_report(replace(report, result=replace(report.result, diagnosis=each)), {})).text
        for each in (diagnosis, replace(diagnosis, slices=diagnosis.slices[:1]))
    ]

    assert "Significantly less accurate than the rest: brightness dark, 50.00%" in pages[0]
    assert "-12.34 points" in pages[0]
    assert "Significantly" not in pages[1]
    assert "None of the 1 slices is significantly less accurate" in pages[1]
    assert "Lowest recall of a class" in pages[1]


def test_perfect_model_has_a_page() -> None:
    text = check_page(render_report(evaluated_report(skill=50.0), {})).text

    assert "The gate passed" in text
    assert "All test images are predicted correctly" in text


def test_leaks_are_shown() -> None:
    report = evaluated_report()
    report.result.card.metrics["leaked_images"] = 7

    assert "7 test images are also in another split" in render_report(report, {})


def test_figure_without_data_is_left_out() -> None:
    report = evaluated_report(complete=False)
    del report.result.card.metrics["roc_auc"]

    assert list(draw_figures(report, 10)) == ["confusion", "classes", "reliability", "confidence"]


def test_measured_times_do_not_change_page() -> None:
    report, pages = evaluated_report(), []
    verdict = report.result.verdict
    for value in (1.25, 7.75):
        slow = replace(verdict.rules[0], metric="latency_p95_ms", value=value, margin=100 - value)
        result = replace(report.result, verdict=replace(verdict, rules=(slow, *verdict.rules[1:])))
        pages.append(render_report(replace(report, result=result), {}))

    assert pages[0] == pages[1]
    assert "latency_p95_ms" in pages[0]


def predictions() -> Predictions:
    """Return one correct and two wrong predictions; the more confident one gives the label the higher probability."""
    shares = np.array([[0.8, 0.1, 0.1], [0.01, 0.5, 0.49], [0.3, 0.7, 0.0]])
    return Predictions(shares, np.zeros(3, dtype=np.int64), ("a", "b", "c"))


def test_galleries_are_sorted() -> None:
    suspects = LabelErrors(0.1, (2,), (SuspectedLabel("z", "a", "b", 0.3, -0.4),))

    doubtful, worst = pick_galleries(predictions(), digit_images()[:3], ["x", "y", "z"], suspects, 5)

    assert [(tile.title, tile.caption) for tile in doubtful.tiles] == [("a, predicted b (70%)", "z")]
    assert [(tile.title, tile.caption) for tile in worst.tiles] == [("a, predicted b (50%)", "y")]


@pytest.mark.parametrize(("right", "doubted"), [(8, False), (7, True)])
def test_suspected_labels_are_doubted_if_the_model_is_often_wrong(right: int, *, doubted: bool) -> None:
    test = Predictions(np.tile([0.3, 0.7], (10, 1)), np.array([1] * right + [0] * (10 - right)), ("a", "b"))
    suspects = LabelErrors(0.1, (9,), (SuspectedLabel("z", "a", "b", 0.3, -0.4),))
    first, second = pick_galleries(test, digit_images()[:10], ["x"] * 10, suspects, 5)
    assert ("probably correct, because the model is wrong on 30%" in first.lead) == doubted
    assert "listed apart" in second.lead


def test_a_class_has_one_color_in_both_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    report, drawn = evaluated_report(5), list[list[tuple[object, object]]]()

    def collect(_: float, draw: Callable[[Figure], None]) -> bytes:
        draw(figure := Figure())
        lines = figure.axes[0].lines
        drawn.append([(line.get_label(), line.get_color()) for line in lines if line.get_linewidth() == 2])
        return b""

    monkeypatch.setattr(figures, "render", collect)
    classes = report.result.card.classes
    # Their areas rank the classes differently.
    ranked = [
        replace(each, roc_auc=1 - number / 9, average_precision=number / 9)
        for number, each in enumerate(classes)
    ]
    figures.draw_roc(roc_points(report.result.test), ranked, 0.5)
    figures.draw_precision_recall(precision_recall_points(report.result.test), ranked, 0.5)
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == figures.MAX_NAMED_CURVES


def test_the_lowest_recall_has_one_interval() -> None:
    report = evaluated_report()
    card = report.result.card
    card.intervals["recall_min"] = Interval(card.metrics["recall_min"], 0.01234, 0.98765)
    assert "0.01234" not in render_report(report, {})


def test_galleries_are_limited_and_show_an_image_once() -> None:
    galleries = pick_galleries(predictions(), digit_images()[:3], ["x", "y", "z"], NO_ERRORS, 1)
    shown = [(gallery.title, [tile.caption for tile in gallery.tiles]) for gallery in galleries]
    assert shown == [("Worst mistakes", ["y"]), ("Most confident mistakes", ["z"])]


@pytest.mark.parametrize(("shape", "kind"), [((8, 8, 1), "png"), ((300, 200, 3), "jpeg")])
def test_small_images_are_embedded_as_png(shape: tuple[int, int, int], kind: str) -> None:
    image = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)

    assert thumbnail_uri(image).startswith(f"data:image/{kind};base64,")
    assert is_pixelated(image) == (kind == "png")
    assert len(thumbnail_uri(image)) < 4 * MAX_SIDE**2
