"""The preparation stage: from a raw table with every kind of damage to a clean table and a page."""

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from page_structure import check_page
from visiongate.errors import DataError
from visiongate.images.decoding import DecodeOptions
from visiongate.images.measurement import measure_images
from visiongate.images.survey import choose_conversion, count_traits
from visiongate.images.table import content_hash, read_table, write_shards
from visiongate.ingestion.embedded import open_digits
from visiongate.preparation import stage as preparation
from visiongate.records.conversion import write_conversion
from visiongate.records.dataset import DatasetRecord, read_dataset, write_dataset
from visiongate.records.files import read_json, write_text
from visiongate.records.measurements import remove_measurements, write_measurements
from visiongate.records.preparation import QuarantinedImage, parse_quarantine
from visiongate.records.splits import SPLITS
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings
from visiongate.transformation.units import read_candidates

ROOT = Path(__file__).parents[2]
HOSTILE = '<script>alert("x")</script>'
NOISE = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
MAX_PIXELS = 1_000_000
OUTPUTS = ("data/prepared", "reports/preparation")


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_corrections()


@pytest.fixture(scope="module")
def settings() -> Settings:
    near = {"max_distance": 8, "max_difference": 0.125}
    values = {f"preparation.near_duplicates.{name}": value for name, value in near.items()}
    return replace_settings(load_settings(ROOT / "params.yaml"), values, "test")


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401 - Pillow's
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(number: int) -> Image.Image:
    return Image.fromarray(NOISE[number])


def write_corrections(*rows: str) -> None:
    write_text(Path("data/corrections.csv"), "\n".join(["sha256,label,exclude,who,when,why", *rows, ""]))


def write_raw(images: list[tuple[str, str, bytes]], classes: list[str] | None = None) -> None:
    """Write a raw table and its measurements from label, path and bytes; the first folder of a path may be a given split."""
    rows = [
        {
            "image": image,
            "label": label,
            "path": path,
            "split": next((split for split in SPLITS if path.startswith(f"{split}/")), None),
            "sha256": hashlib.sha256(image).hexdigest(),
        }
        for label, path, image in sorted(images, key=itemgetter(1))
    ]
    write_shards(Path("data/raw"), rows)
    hashes = [str(row["sha256"]) for row in rows]
    remove_measurements(Path("data/measured"))
    chosen = choose_conversion(
        lambda: count_traits((row["image"] for row in rows), DecodeOptions()), "auto", "auto"
    )
    options = DecodeOptions(chosen.conversion, MAX_PIXELS)
    measurements = measure_images((row["image"] for row in rows), options)
    write_measurements(Path("data/measured"), hashes, measurements)
    write_conversion(Path("data/measured"), chosen)
    known = classes or sorted({label for label, _, _ in images})
    write_dataset(
        Path("data/raw"),
        DatasetRecord(
            "tried", known, len(rows), "none", "none", "none", "here", "", content_hash(hashes), {}
        ),
    )


def good_images() -> list[tuple[str, str, bytes]]:
    """Unusual images, all of which must be kept."""
    exif = Image.Exif()
    exif[0x0112] = 6
    levels = Image.fromarray(NOISE[12, :, :, 0].astype(np.uint16) << 8)
    return [
        ("a", "alpha.png", encode(noise(2).convert("RGBA"))),
        ("a", "cmyk.jpg", encode(noise(0).convert("CMYK"), "JPEG")),
        ("a", "misnamed.jpg", encode(noise(22))),
        ("a", "palette.png", encode(noise(1).convert("P"))),
        ("a", "scan.0001", encode(noise(6))),
        ("b", "levels.png", encode(levels)),
        ("b", "turned.jpg", encode(noise(3).resize((24, 16)), "JPEG", exif=exif)),
        (HOSTILE, f"{HOSTILE}.png", encode(noise(4))),
        (HOSTILE, "large.png", encode(noise(5).resize((200, 100)))),
    ]


def bad_images() -> list[tuple[str, str, bytes]]:
    whole = encode(noise(20))
    frames = [noise(number).convert("P") for number in (10, 11)]
    return [
        ("a", "truncated.png", whole[: len(whole) // 2]),
        ("a", "lab.tif", encode(noise(21).convert("LAB"), "TIFF")),
        ("a", "vast.png", encode(Image.new("1", (2000, 2000)))),
        ("a", "animated.gif", encode(frames[0], "GIF", save_all=True, append_images=frames[1:])),
        ("a", f"{HOSTILE}.txt", b"this is a text"),
        ("a", "empty.png", b""),
        ("b", "dot.png", encode(Image.new("L", (1, 1)))),
        ("b", "blank.png", encode(Image.new("L", (16, 16), 255))),
        # The image with a palette, under another label.
        ("b", "again.png", good_images()[3][2]),
        ("b", "the-copy.png", good_images()[5][2]),
        (HOSTILE, f"{HOSTILE}2.png", good_images()[7][2]),
    ]


def leaking_images() -> list[tuple[str, str, bytes]]:
    """Given splits with copies of each other's images."""
    pictures = [noise(number).resize((64, 64), Image.Resampling.BICUBIC) for number in range(30, 36)]
    own = [(split, pictures[number]) for number, split in enumerate(("train", "val", "test"))]
    near = encode(pictures[2], "JPEG", quality=80)
    return [
        *(("a", f"{split}/own.png", encode(picture)) for split, picture in own),
        *(("b", f"{split}/other-{number}.png", encode(noise(number))) for number, split in enumerate(SPLITS)),
        ("a", "train/exact.png", encode(pictures[2])),
        ("a", "train/near.jpg", near),
        ("b", "val/near.jpg", encode(pictures[2], "JPEG", quality=70)),
        ("a", "train/near-val.jpg", encode(pictures[1], "JPEG", quality=80)),
        ("a", "train/twice.png", encode(pictures[3])),
        ("a", "train/twice.jpg", encode(pictures[3], "JPEG", quality=80)),
    ]


def quarantine() -> dict[str, QuarantinedImage]:
    content = Path("reports/preparation/quarantine.csv").read_bytes()
    return {image.path: image for image in parse_quarantine(content)}


def prepared(column: str) -> list[Any]:
    values: list[Any] = read_table(Path("data/prepared")).column(column).to_pylist()
    return values


def summary() -> dict[str, Any]:
    found: dict[str, Any] = read_json(Path("reports/preparation/summary.json"))
    return found


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


@pytest.fixture(scope="module")
def strict(settings: Settings) -> Settings:
    return replace_settings(settings, {"dataset.limits.max_pixels": MAX_PIXELS}, "test")


def test_every_damaged_image_is_quarantined_with_its_reason(strict: Settings) -> None:
    write_raw(good_images() + bad_images())
    preparation.run(strict)
    assert {path: image.reason for path, image in quarantine().items()} == {
        "truncated.png": "truncated",
        "lab.tif": "unsupported_mode",
        "vast.png": "too_large",
        "animated.gif": "animated",
        f"{HOSTILE}.txt": "unsupported_format",
        "empty.png": "unsupported_format",
        "dot.png": "too_small",
        "blank.png": "blank",
        "palette.png": "label_conflict",
        "again.png": "label_conflict",
        "the-copy.png": "duplicate",
        f"{HOSTILE}2.png": "duplicate",
    }
    assert quarantine()["the-copy.png"].detail == "same bytes as levels.png"
    assert quarantine()["palette.png"].detail == "same bytes as again.png (b)"
    assert quarantine()["empty.png"].detail.startswith("empty file; ")
    assert quarantine()["blank.png"].sha256 == hashlib.sha256(bad_images()[7][2]).hexdigest()
    assert all(image.detail for image in quarantine().values())


def test_the_rest_is_kept_unchanged_and_in_order(strict: Settings) -> None:
    write_raw(good_images() + bad_images())
    preparation.run(strict)
    kept = sorted((image for image in good_images() if image[1] != "palette.png"), key=itemgetter(1))
    assert list(zip(prepared("label"), prepared("path"), prepared("image"), strict=True)) == kept
    dataset = read_dataset(Path("data/prepared"))
    assert dataset.images == len(kept)
    assert dataset.content_sha256 == content_hash(prepared("sha256"))
    assert dataset.classes == read_dataset(Path("data/raw")).classes


def test_the_summary_accounts_for_every_image(strict: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    write_raw(good_images() + bad_images())
    preparation.run(strict)
    assert summary() == {
        "images": 20,
        "kept": 8,
        "quarantined": 12,
        "corrections": {"relabeled": 0, "excluded": 0, "confirmed": 0, "unmatched": 0},
        "by_reason": {
            "excluded": 0,
            "unsupported_format": 2,
            "undecodable": 0,
            "truncated": 1,
            "too_large": 1,
            "unsupported_mode": 1,
            "animated": 1,
            "too_small": 1,
            "blank": 1,
            "label_conflict": 2,
            "duplicate": 2,
            "split_leak": 0,
        },
        "kept_per_class": {HOSTILE: 2, "a": 4, "b": 2},
        "near_duplicates": {
            "clusters": 0,
            "images": 0,
            "largest": 0,
            "with_several_labels": 0,
            "across_given_splits": 0,
        },
        "leaks": [],
        "given_splits": {},
    }
    assert capsys.readouterr().out == (
        "20 images: 8 kept, 12 quarantined (2 unsupported_format, 1 truncated, 1 too_large, 1 unsupported_mode, 1 animated, "
        "1 too_small, 1 blank, 2 label_conflict, 2 duplicate)\n"
    )


def test_corrections_come_first_and_leave_the_raw_table(
    settings: Settings, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    write_raw(good_images() + bad_images())
    raw = read_table(Path("data/raw"))
    hashes = {path: hashlib.sha256(image).hexdigest() for _, path, image in good_images() + bad_images()}
    write_corrections(
        f"{hashes['palette.png']},b,,Ada,2026-11-28,the stripes",
        f"{hashes['turned.jpg']},a,,Ada,2026-11-28,",
        f"{hashes['cmyk.jpg']},,yes,{HOSTILE},2026-11-28,not an animal",
        f"{hashes['alpha.png']},a,,Ada,2026-11-28,",
        f"{'0' * 64},a,,Ada,2026-11-28,",
    )
    preparation.run(settings)
    assert quarantine()["cmyk.jpg"].reason == "excluded"
    assert quarantine()["cmyk.jpg"].detail == "by correction: not an animal"
    labels = dict(zip(prepared("path"), prepared("label"), strict=True))
    # Both copies have one label now, so that one is kept and the other is a duplicate.
    assert labels["again.png"] == "b"
    assert quarantine()["palette.png"].reason == "duplicate"
    assert labels["turned.jpg"] == labels["alpha.png"] == "a"
    assert read_table(Path("data/raw")) == raw
    assert summary()["corrections"] == {"relabeled": 2, "excluded": 1, "confirmed": 1, "unmatched": 1}
    assert any("1 of 5 corrections name images that the data do not have" in text for text in caplog.messages)
    assert capsys.readouterr().out.endswith("; corrections: 2 relabeled, 1 excluded, 1 confirmed\n")
    assert "the stripes" in page()
    assert HOSTILE not in page()
    check_page(page())


def test_a_shortcut_is_logged_and_shown(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    sides = {"a": 16, "b": 20}
    write_raw(
        [
            (label, f"{label}{number}.png", encode(noise(number).resize((side, side))))
            for label, side in sides.items()
            for number in range(10)
        ]
    )
    preparation.run(settings)
    message = next(text for text in caplog.messages if "alone predicts" in text)
    assert message.startswith(
        "preparation: warning: the size of the images alone predicts the class a (16 × 16), b (20 × 20)"
    )
    assert "alone predicts the class a (16 × 16)" in page()


def test_leaks_between_given_splits_are_quarantined_and_counted(settings: Settings) -> None:
    write_raw(leaking_images())
    preparation.run(settings)
    assert {path: (image.reason, image.detail, image.split) for path, image in quarantine().items()} == {
        "train/exact.png": ("duplicate", "same bytes as test/own.png (test)", "train"),
        "train/near.jpg": ("split_leak", "near-duplicate of test/own.png (test)", "train"),
        "val/near.jpg": ("split_leak", "near-duplicate of test/own.png (test)", "val"),
        "train/near-val.jpg": ("split_leak", "near-duplicate of val/own.png (val)", "train"),
    }
    assert summary()["leaks"] == [
        {"source": "train", "into": "test", "exact": 1, "near": 1},
        {"source": "val", "into": "test", "exact": 0, "near": 1},
        {"source": "train", "into": "val", "exact": 0, "near": 1},
    ]
    assert summary()["given_splits"] == {
        "train": {"images": 7, "exposed": 0},
        "val": {"images": 3, "exposed": 2},
        "test": {"images": 2, "exposed": 1},
    }
    assert summary()["near_duplicates"] == {
        "clusters": 3,
        "images": 7,
        "largest": 3,
        "with_several_labels": 1,
        "across_given_splits": 2,
    }
    assert page().count("across given splits") == 2
    # Once at the cluster, once in the warning above the clusters.
    assert page().count("several labels") == 1 + 1


def test_clusters_are_recorded_for_transformation_and_listed(settings: Settings) -> None:
    write_raw(leaking_images())
    preparation.run(settings)
    clustered = {
        image.sha256: image.cluster for image in read_candidates(Path("data/prepared")) if image.cluster
    }
    hashes = dict(zip(prepared("path"), prepared("sha256"), strict=True))
    twice = {hashes["train/twice.png"], hashes["train/twice.jpg"]}
    assert clustered == dict.fromkeys(twice, min(twice)[:16])
    with Path("reports/preparation/near_duplicates.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert {row["path"]: row["reason"] for row in listed} == {
        "test/own.png": "",
        "train/near.jpg": "split_leak",
        "val/near.jpg": "split_leak",
        "val/own.png": "",
        "train/near-val.jpg": "split_leak",
        "train/twice.png": "",
        "train/twice.jpg": "",
    }
    assert len({row["cluster"] for row in listed}) == 3
    assert [row["cluster"] for row in listed] == sorted(row["cluster"] for row in listed)


def test_a_new_image_changes_one_shard_and_renames_no_cluster(settings: Settings) -> None:
    many = np.random.default_rng(1).integers(0, 256, (3000, 9, 9), dtype=np.uint8)
    images = [
        ("a", f"train/{number:04d}.png", encode(Image.fromarray(own))) for number, own in enumerate(many)
    ]
    write_raw([*images, *leaking_images()])
    preparation.run(settings)
    before = output_bytes()
    write_raw([*images, *leaking_images(), ("a", "train/zz.png", encode(noise(29).resize((50, 50))))])
    preparation.run(settings)
    after = output_bytes()
    changed = {name for name in before if after.get(name) != before[name] and name.endswith(".parquet")}
    assert len(changed) == 1
    assert len([name for name in before if name.endswith(".parquet")]) > 1
    listed = before["reports/preparation/near_duplicates.csv"].splitlines()
    assert set(listed) <= set(after["reports/preparation/near_duplicates.csv"].splitlines())


def test_a_clean_set_is_kept_as_the_same_files(settings: Settings) -> None:
    opened = open_digits()
    write_raw([(image.label, image.path, image.image) for image in opened.read()])
    preparation.run(settings)
    for raw in Path("data/raw").iterdir():
        assert (Path("data/prepared") / raw.name).read_bytes() == raw.read_bytes()
    assert (Path("data/prepared") / "near_duplicates.csv").read_text() == "sha256,cluster\n"
    assert quarantine() == {}
    assert "quarantine.csv" not in page()
    assert len(page()) < 300_000
    pictures = list(Tags(page()).named("img"))
    # The samples and the mean image of each class.
    assert len(pictures) == 10 * (settings.preparation.samples_per_class + 1)


def test_running_twice_gives_the_same_bytes(strict: Settings) -> None:
    write_raw(good_images() + bad_images() + leaking_images())
    preparation.run(strict)
    first = output_bytes()
    preparation.run(strict)
    assert output_bytes() == first
    assert len(first) == 10


def test_the_page_is_self_contained_and_escapes_names(strict: Settings) -> None:
    write_raw(good_images() + bad_images())
    preparation.run(strict)
    tags = Tags(page())
    check_page(page())
    assert HOSTILE not in page()
    assert "&lt;script&gt;" in page()
    assert not re.search(r"https?://|url\(|@import", page())
    sources = [str(picture["src"]) for picture in tags.named("img")]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    # The kept, the means of three classes, the quarantined that decode, and two that these are copies of.
    assert len(sources) == 7 + 3 + 8 + 2
    assert page().count("no image") == 5
    assert any(picture.get("title") == f"{HOSTILE}.png" for picture in tags.named("img"))


def test_the_page_limits_the_clusters_and_their_images(settings: Settings) -> None:
    def copies(number: int, count: int) -> list[tuple[str, str, bytes]]:
        picture = noise(number).resize((64, 64), Image.Resampling.BICUBIC)
        return [
            ("a", f"{number:02d}-{quality}.jpg", encode(picture, "JPEG", quality=quality))
            for quality in range(95, 95 - count, -1)
        ]

    write_raw([image for number in range(30) for image in copies(number, 12 if number == 7 else 2)])
    preparation.run(settings)
    assert summary()["near_duplicates"]["clusters"] == 30
    assert "shows 24 clusters" in page()
    assert "and 4 more" in page()
    assert len(list(Tags(page()).named("img"))) == 1 + settings.preparation.samples_per_class + 8 + 23 * 2


def test_the_page_states_how_many_quarantined_images_it_shows(settings: Settings) -> None:
    copies = [("a", f"copy-{number}.png", good_images()[0][2]) for number in range(60)]
    write_raw([*good_images(), *copies])
    preparation.run(settings)
    assert "50 of 60" in page()
    assert len(quarantine()) == 60


def test_an_empty_class_raises_and_leaves_the_reasons(settings: Settings) -> None:
    write_raw([*good_images(), ("c", "text.png", b"text"), ("c", "dot.png", bad_images()[6][2])])
    with pytest.raises(
        DataError,
        match=r"^class 'c': .* 1 too_small, such as dot\.png \(.*1 unsupported_format, such as text\.png",
    ):
        preparation.run(settings)
    assert set(quarantine()) == {"text.png", "dot.png"}
    assert not Path("data/prepared").exists()


def test_no_image_left_raises(settings: Settings) -> None:
    write_raw([("a", "one.png", b"one"), ("b", "two.png", b"two")])
    with pytest.raises(DataError, match="1 unsupported_format"):
        preparation.run(settings)


def test_an_incomplete_table_raises(settings: Settings) -> None:
    write_raw(good_images())
    raw = Path("data/raw")
    write_shards(raw, read_table(raw).to_pylist()[:-1])
    with pytest.raises(DataError, match=r"dataset\.json"):
        preparation.run(settings)


def test_the_limits_are_the_settings(settings: Settings) -> None:
    write_raw([image for image in good_images() if image[0] == HOSTILE] + [("a", "flat.png", flat())])
    with pytest.raises(DataError, match="1 blank"):
        preparation.run(settings)
    preparation.run(replace_settings(settings, {"preparation.min_contrast": 0.0}, "test"))
    assert "flat.png" in prepared("path")
    with pytest.raises(DataError, match="1 too_small"):
        preparation.run(replace_settings(settings, {"preparation.min_side": 33}, "test"))


@pytest.mark.parametrize("content", [b"path,label\n", b"path,label,split,sha256,reason,detail\na,b\n", b'"'])
def test_an_invalid_quarantine_raises(content: bytes) -> None:
    with pytest.raises(DataError, match=r"quarantine\.csv"):
        parse_quarantine(content)


def flat() -> bytes:
    """32×32 of one color."""
    return encode(Image.new("L", (32, 32), 90))
