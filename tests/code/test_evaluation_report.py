"""The page on a judged model: complete, self-contained, and the same twice."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from judged_models import HOSTILE, digit_images, judged_report
from visiongate.evaluation.gallery import LARGEST, embed, pick_galleries, small_enough
from visiongate.evaluation.label_errors import Suspect
from visiongate.evaluation.page import draw_pictures, write_report
from visiongate.models.predictions import Predictions

VOID = {"meta", "img", "br", "link", "input", "hr"}
PICTURES = [
    "confusion",
    "classes",
    "reliability",
    "confidence",
    "roc",
    "precision_recall",
    "robustness",
    "training",
]


class Balanced(HTMLParser):
    """Notes the elements that are open, what loads something, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_page_holds_everything_and_links_nothing(classes: int, tmp_path: Path) -> None:
    write_report(judged_report(classes), 10, tmp_path)

    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    parsed = read(page)
    assert all(address.startswith("data:image/") for address in parsed.loaded)
    assert not re.search(r"@import|url\((?!data:)|<script|<iframe", page)
    assert HOSTILE in parsed.text  # as text, and no element
    assert len(page) < 1_500_000
    assert parsed.text.count("class 1") >= 1
    assert sorted(path.stem for path in (tmp_path / "pictures").iterdir()) == sorted(PICTURES)


def test_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_report(judged_report(), 10, tmp_path / name)

    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in ("first", "second")
    )
    assert len(first) == len(PICTURES) + 1
    assert first == second


def test_the_verdict_comes_first_and_names_what_fails(tmp_path: Path) -> None:
    report = judged_report(skill=0.0)
    write_report(report, 10, tmp_path)

    text = read((tmp_path / "index.html").read_text(encoding="utf-8")).text
    failed = [rule.name for rule in report.verdict.failed]
    assert "beats_majority" in failed
    assert f"The gate fails: {', '.join(failed)}." in text
    assert text.index("The gate fails") < text.index("Accuracy")
    assert "not judged" in text


def test_a_model_without_mistakes_has_a_page_too(tmp_path: Path) -> None:
    write_report(judged_report(skill=50.0), 10, tmp_path)

    text = read((tmp_path / "index.html").read_text(encoding="utf-8")).text
    assert "The gate passes: 7 rules hold, 1 not judged: against_base." in text
    assert "There are none among the test images" in text


def test_known_test_images_are_told_on_top(tmp_path: Path) -> None:
    report = judged_report()
    report.card.metrics["leaked_images"] = 7
    write_report(report, 10, tmp_path)

    assert "7 test images are known to training" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_what_was_not_measured_has_no_picture() -> None:
    report = judged_report(robust=False)
    del report.card.metrics["roc_auc"]

    assert list(draw_pictures(report, 10)) == ["confusion", "classes", "reliability", "confidence"]


def test_measured_times_do_not_change_the_page(tmp_path: Path) -> None:
    pages = []
    for value in (1.25, 7.75):
        report = judged_report()
        slow = replace(report.verdict.rules[0], metric="latency_p95_ms", value=value, margin=100 - value)
        verdict = replace(report.verdict, rules=(slow, *report.verdict.rules[1:]))
        write_report(replace(report, verdict=verdict), 10, tmp_path)
        pages.append((tmp_path / "index.html").read_text(encoding="utf-8"))

    assert pages[0] == pages[1]
    assert "latency_p95_ms" in pages[0]


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_pictures_are_small_and_of_one_width(classes: int) -> None:
    for name, content in draw_pictures(judged_report(classes), 10).items():
        picture = Image.open(io.BytesIO(content))
        assert picture.format == "PNG"
        assert picture.size[0] == 600
        assert len(content) < 60_000, name
        assert len(picture.convert("RGB").getcolors(maxcolors=100_000)) > 3  # something is drawn


def predictions() -> Predictions:
    """Of images of class a: one right, and two wrong, the surer of which is not the one that gave the truth least."""
    shares = np.array([[0.8, 0.1, 0.1], [0.01, 0.5, 0.49], [0.3, 0.7, 0.0]])
    return Predictions(shares, np.zeros(3, dtype=np.int64), ("a", "b", "c"))


def test_galleries_are_sorted_by_what_they_are_of() -> None:
    suspects = [Suspect(2, "a", "b", 0.3, -0.4)]

    worst, surest, doubtful = pick_galleries(predictions(), digit_images()[:3], ["x", "y", "z"], suspects, 5)

    assert [tile.caption for tile in worst.tiles] == ["y", "z"]
    assert [tile.caption for tile in surest.tiles] == ["z", "y"]
    assert [tile.title for tile in surest.tiles] == ["a, taken for b (70%)", "a, taken for b (50%)"]
    assert [(tile.title, tile.caption) for tile in doubtful.tiles] == [("labeled a, looks like b", "z")]


def test_galleries_are_cut_and_one_that_shows_the_same_again_is_left_out() -> None:
    [only] = pick_galleries(predictions(), digit_images()[:3], ["x", "y", "z"], [], 1)[:1]
    assert len(only.tiles) == 1
    same = Predictions(predictions().probabilities[2:], np.zeros(1, dtype=np.int64), ("a", "b", "c"))
    assert [gallery.title for gallery in pick_galleries(same, digit_images()[:1], ["z"], [], 5)] == [
        "Worst mistakes"
    ]


@pytest.mark.parametrize(("shape", "kind"), [((8, 8, 1), "png"), ((300, 200, 3), "jpeg")])
def test_tiles_are_small_and_tiny_images_lose_nothing(shape: tuple[int, int, int], kind: str) -> None:
    image = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)

    assert embed(image).startswith(f"data:image/{kind};base64,")
    assert small_enough(image) == (kind == "png")
    assert len(embed(image)) < 4 * LARGEST**2
