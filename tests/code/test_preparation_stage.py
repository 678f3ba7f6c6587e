"""The preparation stage: from a raw table with every kind of damage to a clean one and a page that tells."""

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visiongate.config import Settings, load_settings
from visiongate.data.image_table import (
    Dataset,
    content_hash,
    read_dataset,
    read_table,
    write_dataset,
    write_shards,
)
from visiongate.data.sources import find_source
from visiongate.errors import DataError
from visiongate.files import read_json
from visiongate.stages import preparation

ROOT = Path(__file__).parents[2]
HOSTILE = '<script>alert("x")</script>'
NOISE = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
OUTPUTS = ("data/prepared", "reports/preparation")


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401 - Pillow's
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(number: int) -> Image.Image:
    return Image.fromarray(NOISE[number])


def write_raw(images: list[tuple[str, str, bytes]], classes: list[str] | None = None) -> None:
    """Write the raw table from label, path and bytes."""
    rows = [
        {"image": image, "label": label, "path": path, "sha256": hashlib.sha256(image).hexdigest()}
        for label, path, image in images
    ]
    write_shards(Path("data/raw"), rows)
    hashes = content_hash(str(row["sha256"]) for row in rows)
    known = classes or sorted({label for label, _, _ in images})
    write_dataset(Path("data/raw"), Dataset("tried", known, len(rows), "none", "none", "none", "", hashes))


def good_images() -> list[tuple[str, str, bytes]]:
    """Each an unusual kind of image, and none to be left out."""
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [noise(number).convert("P") for number in (10, 11)]
    levels = Image.fromarray(NOISE[12, :, :, 0].astype(np.uint16) << 8)
    return [
        ("a", "cmyk.jpg", encode(noise(0).convert("CMYK"), "JPEG")),
        ("a", "palette.png", encode(noise(1).convert("P"))),
        ("a", "alpha.png", encode(noise(2).convert("RGBA"))),
        ("a", "animated.gif", encode(frames[0], "GIF", save_all=True, append_images=frames[1:])),
        ("b", "turned.jpg", encode(noise(3).resize((24, 16)), "JPEG", exif=exif)),
        ("b", "levels.png", encode(levels)),
        (HOSTILE, f"{HOSTILE}.png", encode(noise(4))),
        (HOSTILE, "large.png", encode(noise(5).resize((200, 100)))),
    ]


def bad_images() -> list[tuple[str, str, bytes]]:
    whole = encode(noise(20))
    return [
        ("a", "truncated.png", whole[: len(whole) // 2]),
        ("a", f"{HOSTILE}.txt", b"this is a text"),
        ("a", "empty.png", b""),
        ("b", "dot.png", encode(Image.new("L", (1, 1)))),
        ("b", "blank.png", encode(Image.new("L", (16, 16), 255))),
        ("b", "again.png", good_images()[1][2]),  # with the first, under another label
        ("b", "copy.png", good_images()[5][2]),
        (HOSTILE, f"{HOSTILE}-copy.png", good_images()[6][2]),
    ]


def quarantine() -> dict[str, dict[str, str]]:
    with Path("reports/preparation/quarantine.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def prepared(column: str) -> list[Any]:
    values: list[Any] = read_table(Path("data/prepared")).column(column).to_pylist()
    return values


def page() -> str:
    return Path("reports/preparation/index.html").read_text(encoding="utf-8")


def output_bytes() -> dict[str, bytes]:
    files = (path for folder in OUTPUTS for path in sorted(Path(folder).iterdir()))
    return {str(path): path.read_bytes() for path in files}


class Tags(HTMLParser):
    """Collects the tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.found if name == tag)


def test_every_damaged_image_is_quarantined_with_its_reason(settings: Settings) -> None:
    write_raw(good_images() + bad_images())
    preparation.run(settings)
    assert {path: row["reason"] for path, row in quarantine().items()} == {
        "truncated.png": "undecodable",
        f"{HOSTILE}.txt": "undecodable",
        "empty.png": "undecodable",
        "dot.png": "too_small",
        "blank.png": "blank",
        "palette.png": "label_conflict",
        "again.png": "label_conflict",
        "copy.png": "duplicate",
        f"{HOSTILE}-copy.png": "duplicate",
    }
    assert quarantine()["copy.png"]["detail"] == "same bytes as levels.png"
    assert quarantine()["palette.png"]["detail"] == "same bytes as again.png (b)"
    assert quarantine()["blank.png"]["sha256"] == hashlib.sha256(bad_images()[4][2]).hexdigest()
    assert all(row["detail"] for row in quarantine().values())


def test_the_rest_is_kept_in_order_byte_for_byte(settings: Settings) -> None:
    write_raw(good_images() + bad_images())
    preparation.run(settings)
    kept = [image for image in good_images() if image[1] != "palette.png"]
    assert list(zip(prepared("label"), prepared("path"), prepared("image"), strict=True)) == kept
    dataset = read_dataset(Path("data/prepared"))
    assert dataset.images == len(kept)
    assert dataset.content_sha256 == content_hash(prepared("sha256"))
    assert dataset.classes == read_dataset(Path("data/raw")).classes


def test_the_summary_accounts_for_every_image(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    write_raw(good_images() + bad_images())
    preparation.run(settings)
    assert read_json(Path("reports/preparation/summary.json")) == {
        "images": 16,
        "kept": 7,
        "quarantined": 9,
        "by_reason": {"undecodable": 3, "too_small": 1, "blank": 1, "label_conflict": 2, "duplicate": 2},
        "kept_per_class": {HOSTILE: 2, "a": 3, "b": 2},
    }
    assert capsys.readouterr().out == "16 images: 7 kept, 9 quarantined\n"


def test_a_clean_set_is_kept_as_the_same_files(settings: Settings) -> None:
    opened = find_source("digits").open()
    write_raw([(image.label, image.path, image.image) for image in opened.read()])
    preparation.run(settings)
    for raw in Path("data/raw").iterdir():
        assert (Path("data/prepared") / raw.name).read_bytes() == raw.read_bytes()
    assert quarantine() == {}
    assert "Nothing was quarantined." in page()
    assert len(page()) < 300_000
    pictures = list(Tags(page()).named("img"))
    assert len(pictures) == 10 * settings.preparation.samples_per_class


def test_running_twice_gives_the_same_bytes(settings: Settings) -> None:
    write_raw(good_images() + bad_images())
    preparation.run(settings)
    first = output_bytes()
    preparation.run(settings)
    assert output_bytes() == first
    assert len(first) == 5


def test_the_page_holds_all_it_shows_and_runs_nothing(settings: Settings) -> None:
    write_raw(good_images() + bad_images())
    preparation.run(settings)
    tags = Tags(page())
    assert not {"script", "link", "iframe", "a"} & {tag for tag, _ in tags.found}
    assert HOSTILE not in page()
    assert "&lt;script&gt;" in page()
    assert not re.search(r"https?://|url\(|@import", page())
    sources = [str(picture["src"]) for picture in tags.named("img")]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert len(sources) == 7 + 6  # the kept, and the quarantined that decode
    assert page().count("no picture") == 3
    assert any(picture["title"] == f"{HOSTILE}.png" for picture in tags.named("img"))


def test_the_page_says_when_it_does_not_show_all_quarantined(settings: Settings) -> None:
    copies = [("a", f"copy-{number}.png", good_images()[0][2]) for number in range(60)]
    write_raw([*good_images(), *copies])
    preparation.run(settings)
    assert "50 of 60 are shown" in page()
    assert len(quarantine()) == 60


def test_a_class_left_empty_stops_the_line_and_leaves_the_reasons(settings: Settings) -> None:
    write_raw([*good_images(), ("c", "text.png", b"text"), ("c", "dot.png", bad_images()[3][2])])
    with pytest.raises(
        DataError, match=r"^class 'c': no image is left, 2 came in: 1 undecodable, 1 too_small$"
    ):
        preparation.run(settings)
    assert set(quarantine()) == {"text.png", "dot.png"}
    assert not Path("data/prepared").exists()


def test_nothing_left_stops_the_line(settings: Settings) -> None:
    write_raw([("a", "one.png", b"one"), ("b", "two.png", b"two")])
    with pytest.raises(DataError, match=r"^no image is left, 2 came in: 2 undecodable$"):
        preparation.run(settings)


def test_an_incomplete_table_stops_the_line(settings: Settings) -> None:
    write_raw(good_images())
    raw = Path("data/raw")
    write_shards(raw, read_table(raw).to_pylist()[:-1])
    with pytest.raises(DataError, match="speaks of 8 images, the table has 7"):
        preparation.run(settings)


def test_the_limits_are_the_settings(settings: Settings) -> None:
    write_raw([image for image in good_images() if image[0] == HOSTILE] + [("a", "flat.png", flat())])
    with pytest.raises(DataError, match="1 blank"):
        preparation.run(settings)
    preparation.run(settings.with_values({"preparation.min_contrast": 0.0}, "test"))
    assert prepared("path")[-1] == "flat.png"
    with pytest.raises(DataError, match="1 too_small"):
        preparation.run(settings.with_values({"preparation.min_side": 33}, "test"))


def flat() -> bytes:
    """32×32 of one colour."""
    return encode(Image.new("L", (32, 32), 90))
