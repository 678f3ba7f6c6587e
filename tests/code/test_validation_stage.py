"""The validation stage, on small tables."""

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from page_structure import check_page
from visiongate.errors import DataError, SettingsError
from visiongate.images import table as image_table
from visiongate.images.extras import MODULES
from visiongate.images.measurement import measure_images
from visiongate.images.table import iterate_images, read_table, write_shards
from visiongate.records.conversion import ChosenConversion, Conversion, read_conversion
from visiongate.records.dataset import DatasetRecord, write_dataset
from visiongate.records.files import read_json, write_json
from visiongate.records.measurements import read_measurements
from visiongate.records.validation import ValidationReport, read_validation
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings
from visiongate.settings.validation import Validation
from visiongate.validation import stage as validation

ROOT = Path(__file__).resolve().parents[2]
RAW = Path("data/raw")
MEASURED = Path("data/measured")
RESULT = Path("reports/validation/result.json")
PAGE = Path("reports/validation/index.html")
SCRIPT = "<script>alert(1)</script>"
RULES = list(Validation.model_fields)
OFFLINE = """
import sys
def refuse(event, arguments):
    network = event in ("socket.connect", "socket.getaddrinfo")
    if network or (event == "os.mkdir" and not str(arguments[0]).startswith(("reports", "data/measured", "logs"))):
        sys.exit(f"{event} {arguments}")
sys.addaudithook(refuse)
sys.path.insert(0, sys.argv[1])
import run
sys.exit(run.main(["validation"]))
"""

Rows = list[dict[str, Any]]


class Elements(HTMLParser):
    """The tags of a page, where its attributes point, its headings, captions, and placeholders for images."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.subheadings: list[str] = []
        self.captions: list[str] = []
        self.placeholders: list[str] = []
        self.names: list[str] = []
        self.text: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name == "src" and tag == "img"]
        self.links += [value or "" for name, value in attrs if name == "href" and "#" in (value or "")]
        self.names += [value or "" for name, value in attrs if name == "id" and tag == "h2"]
        texts = {"h2": self.headings, "h3": self.subheadings, "figcaption": self.captions}.get(tag)
        if ("class", "placeholder") in attrs:
            texts = self.placeholders
        if texts is not None:
            texts.append("")
            self.text = texts

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.text[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in {"h2", "h3", "figcaption", "span"}:
            self.text = None


def elements() -> Elements:
    found = Elements()
    found.feed(PAGE.read_text(encoding="utf-8"))
    return found


def settings(**values: Any) -> Settings:  # noqa: ANN401
    changes = {
        "rows_per_class.min_rows": 3,
        **{key.replace("__", "."): value for key, value in values.items()},
    }
    return replace_settings(
        load_settings(ROOT / "params.yaml"),
        {f"validation.{key}": value for key, value in changes.items()},
        "test",
    )


def png(seed: int, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def rows_of(images: list[bytes], labels: str) -> Rows:
    return [
        {
            "image": image,
            "label": label,
            "path": f"{label}/{index}.png",
            "split": None,
            "group": None,
            "sha256": hashlib.sha256(image).hexdigest(),
        }
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def write(rows: Rows) -> None:
    RAW.mkdir(parents=True, exist_ok=True)
    write_shards(RAW, sorted(rows, key=lambda row: row["path"]))
    write_dataset(RAW, DatasetRecord("letters", ["a", "b"], len(rows), "", "", "", "", "", "", {}))


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Write eight valid images of two classes to an empty workspace, in several shards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(image_table, "SHARD_ROWS", 2)
    found = rows_of([png(seed) for seed in range(8)], "abababab")
    write(found)
    return found


def report() -> ValidationReport:
    found = read_validation(RESULT)
    assert [result.name for result in found.expectations] == RULES[: len(found.expectations)]
    return found


def failures() -> list[str]:
    return [result.name for result in report().expectations if not result.success]


def examples(name: str) -> list[tuple[int | None, tuple[int, ...]]]:
    (result,) = (result for result in report().expectations if result.name == name)
    return [(example.row, example.others) for example in result.examples]


def test_valid_images_pass(rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    validation.run(settings())
    assert (report().success, report().images) == (True, len(rows))
    assert failures() == []
    assert capsys.readouterr().out == "15 of 15 expectations met\n"
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"<strong>{name}</strong>" in page for name in RULES)


def test_measurements_are_recorded(rows: Rows) -> None:
    rows[3]["image"] = b"no image"
    write(rows)
    validation.run(settings(decodable__min_share=0.5))
    known = read_table(RAW, ["sha256"]).column("sha256").to_pylist()
    expected = measure_images(iterate_images(RAW))
    measurements, sketches = read_measurements(MEASURED, known)
    assert measurements == [replace(measured, sketch=None) for measured in expected]
    assert [sketch.tobytes() for sketch in sketches] == [found.sketch or bytes(1024) for found in expected]
    with pytest.raises(DataError, match="data/measured"):
        read_measurements(MEASURED, ["other"])


def test_a_new_image_changes_the_measurements_of_one_shard(rows: Rows) -> None:
    validation.run(settings())
    before = {path.name: path.read_bytes() for path in MEASURED.glob("*.parquet")}
    assert len(before) == len(list(RAW.glob("*.parquet")))
    write([*rows, rows_of([png(99)], "b")[0] | {"path": "z.png"}])
    validation.run(settings())
    after = {path.name: path.read_bytes() for path in MEASURED.glob("*.parquet")}
    assert len(before.items() - after.items()) <= 1


@pytest.mark.parametrize("damage", [b"no parquet", b""])
def test_damaged_measurements_raise(damage: bytes, rows: Rows) -> None:
    validation.run(settings())
    path = min(MEASURED.glob("*.parquet"))
    path.write_bytes(damage)
    with pytest.raises(DataError, match=path.name):
        read_measurements(MEASURED, [rows[0]["sha256"]])


@pytest.mark.usefixtures("rows")
def test_the_same_table_gives_the_same_bytes() -> None:
    strict = settings(balance__max_ratio=1.0, size__min_side=9, size__severity="warning")
    found = []
    for _ in range(2):
        validation.run(strict)
        measured = [path.read_bytes() for path in sorted(MEASURED.iterdir())]
        found.append((RESULT.read_bytes(), PAGE.read_bytes(), measured))
    assert found[0] == found[1]
    assert b"data:image/png;base64," in found[0][1]


def test_a_warning_is_logged_in_one_line(rows: Rows, caplog: pytest.LogCaptureFixture) -> None:
    write([*rows, rows[0] | {"path": "z copy\nof\x1b[31m.png"}])
    validation.run(settings())
    message, permanent = caplog.messages
    assert "conf/dataset/" in permanent
    assert "unique" in message
    assert "z copy\\nof\\x1b[31m.png (same bytes as a/0.png (a))" in message
    assert (failures(), report().success) == (["unique"], True)
    assert "Passed with 1 warning." in PAGE.read_text(encoding="utf-8")


def test_critical_failures_raise_after_the_report(rows: Rows) -> None:
    for row in rows[:4]:
        row["image"] = b"no image"
    rows[4] = rows[4] | {"image": png(4, side=4)}
    write(rows)
    with pytest.raises(DataError) as caught:
        validation.run(settings(size__severity="critical"))
    decodable, size, text, permanent, page = str(caught.value).splitlines()
    assert decodable.startswith("decodable: ")
    assert "-S validation.decodable.min_share=0.5" in decodable
    assert text.startswith("text file: 4 of 8 files, such as a/0.png, a/2.png, b/1.png; ")
    assert size.startswith("size: ")
    assert "4 × 4 pixels" in size
    assert "left out" not in text
    assert "visiongate repro" in permanent
    assert str(PAGE) in page
    assert (report().success, failures()) == (False, ["decodable", "size"])
    assert "Failed." in PAGE.read_text(encoding="utf-8")


def test_the_page_shows_failing_images_that_decode(rows: Rows) -> None:
    for index, row in enumerate(rows):
        row["image"] = png(index, side=4) if index else b"no image"
    write(rows)
    with pytest.raises(DataError):
        validation.run(settings())
    found = elements()
    assert found.tags.count("img") == 7
    assert len(set(found.addresses)) == 7
    assert not found.placeholders
    assert found.subheadings == ["text file: 1 of 8 files"]


def test_the_page_shows_both_images_of_a_pair_once(rows: Rows) -> None:
    rows[1] |= {"image": rows[0]["image"], "sha256": rows[0]["sha256"]}
    for index, row in enumerate(rows):
        row |= {"split": "test" if index in (1, 4) else "train", "group": f"person{index // 2}"}
    write(rows)
    validation.run(settings())
    assert failures() == ["label_conflicts", "split_overlap", "split_groups"]
    assert examples("label_conflicts") == examples("split_overlap") == [(0, (4,)), (4, (0,))]
    page = elements()
    assert page.tags.count("img") == 2 * 2 + 4
    assert page.captions == [
        *["a/0.pnga in train", "b/1.pngb in test"] * 2,
        *["a/0.pnga in train", "b/1.pngb in test", "a/4.pnga in test", "b/5.pngb in train"],
    ]


def test_equal_files_that_do_not_decode_are_one_mistake(rows: Rows, caplog: pytest.LogCaptureFixture) -> None:
    broken = b""
    for row in rows[:2]:
        row |= {"image": broken, "sha256": hashlib.sha256(broken).hexdigest()}
    write(rows)
    validation.run(settings(decodable__min_share=0.5))
    assert failures() == []
    (message,) = caplog.messages
    assert (
        "empty file: 2 of 8 files, such as a/0.png, b/1.png; left out (quarantined), nothing must" in message
    )
    assert "; to mend them, download" in message
    assert "exclude" not in message
    formats = next(result for result in report().expectations if result.name == "formats")
    assert formats.actual == "6 PNG; 0 of 6 images that decode fail"
    page = elements()
    assert page.subheadings == ["empty file: 2 of 8 files"]
    assert page.links == ["#refused"]


def test_critical_failures_come_first_and_have_links(rows: Rows) -> None:
    rows[0]["image"] = b"no image"
    write([*rows, rows[1] | {"path": "z.png"}])
    with pytest.raises(DataError):
        validation.run(settings(rows_per_class__min_rows=5))
    page = elements()
    failed = ["decodable", "rows_per_class", "unique"]
    assert page.headings[:3] == ["decodable: Fail", "rows_per_class: Fail", "unique: Warning"]
    assert page.names == failed
    assert page.links == [f"#{name}" for name in failed]


def test_every_expectation_can_fail(rows: Rows, caplog: pytest.LogCaptureFixture) -> None:
    """Except brightness: the mean of decoded pixels is always in range."""
    image = io.BytesIO()
    Image.new("CMYK", (40, 4), (9, 9, 9, 9)).save(image, "JPEG")
    odd = {"image": image.getvalue(), "sha256": hashlib.sha256(image.getvalue()).hexdigest()}
    write(
        [
            rows[0] | odd | {"split": "train", "group": "person1"},
            rows[1] | odd | {"split": "test", "group": "person1"},
            rows[2] | {"image": b"no image"},
            *[
                row | {"path": f"c/{row['path']}", "label": "c"}
                for row in [*rows[3:7], rows[6] | {"path": "z"}]
            ],
        ]
    )
    add_column()
    warnings = {f"{name}__severity": "warning" for name in RULES}
    validation.run(settings(**warnings, formats__allowed=["PNG"], balance__max_ratio=1.0))
    failed = [name for name in RULES if name != "brightness"]
    assert failures() == failed
    # One more about the file that is no image, and one about keeping an option.
    assert len(caplog.messages) == len(failed) + 2
    assert all(result.advice for result in report().expectations if not result.success)


def test_names_are_escaped_and_the_page_is_self_contained(rows: Rows) -> None:
    rows[0] |= {"label": SCRIPT, "path": "<img src=x onerror=alert(1)>"}
    write(rows)
    with pytest.raises(DataError, match="classes"):
        validation.run(settings())
    page = check_page(PAGE.read_text(encoding="utf-8"))
    assert page.all("img")
    assert SCRIPT in page.text


def test_a_class_without_images(rows: Rows) -> None:
    write([row for row in rows if row["label"] == "a"])
    with pytest.raises(DataError):
        validation.run(settings())
    assert failures() == ["classes", "rows_per_class", "balance"]


def add_column() -> None:
    for shard in RAW.glob("*.parquet"):
        table = pq.read_table(shard)
        pq.write_table(table.append_column("age", pa.array(range(len(table)))), shard)


@pytest.mark.usefixtures("rows")
def test_a_missing_column_raises_and_nothing_else_is_checked() -> None:
    shard = max(RAW.glob("*.parquet"))
    pq.write_table(pq.read_table(shard).drop(["label"]), shard)
    with pytest.raises(DataError, match=shard.name):
        validation.run(settings())
    assert (report().success, report().images, failures()) == (False, None, ["columns"])
    assert "nothing else was checked" in PAGE.read_text(encoding="utf-8")
    with pytest.raises(DataError, match=shard.name):
        validation.run(settings(columns__severity="warning"))


@pytest.mark.usefixtures("rows")
def test_a_superfluous_column_may_be_a_warning() -> None:
    add_column()
    validation.run(settings(columns__severity="warning"))
    assert failures() == ["columns"]


def _no_dataset() -> None:
    (RAW / "dataset.json").unlink()


def _no_shards() -> None:
    write([])


def _empty_shard() -> None:
    shard = min(RAW.glob("*.parquet"))
    table = pq.read_table(shard)
    write([])
    pq.write_table(table.slice(0, 0), shard)


def _no_json() -> None:
    (RAW / "dataset.json").write_text("{broken")


def _no_classes() -> None:
    description = read_json(RAW / "dataset.json")
    del description["classes"]
    write_json(RAW / "dataset.json", description)


def _classes_of_another_kind() -> None:
    write_json(RAW / "dataset.json", read_json(RAW / "dataset.json") | {"classes": "ab"})


def _cut_shard() -> None:
    shard = min(RAW.glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-10])


def _garbled_shard() -> None:
    """Overwrite the pages and keep the footer, so that the columns can still be read."""
    shard = min(RAW.glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[4:600] = bytes(596)
    shard.write_bytes(content)


def _lost_shard() -> None:
    min(RAW.glob("*.parquet")).unlink()


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_json, "data/raw/dataset.json: "),
        (_no_classes, "data/raw/dataset.json: classes: "),
        (_classes_of_another_kind, "data/raw/dataset.json: classes: "),
        (_cut_shard, r"data/raw/images-\w+\.parquet: "),
        (_garbled_shard, r"data/raw/images-\w+\.parquet: "),
        (_lost_shard, "data/raw: dataset.json "),
        (_no_dataset, "data/raw/dataset.json: no such file"),
        (_no_shards, "data/raw: no image table"),
        (_empty_shard, "the image table has no images"),
    ],
)
def test_an_unreadable_table_raises_one_line(damage: Callable[[], None], message: str) -> None:
    damage()
    with pytest.raises(DataError, match=f"^{message}") as caught:
        validation.run(settings())
    assert "\n" not in str(caught.value)
    assert not RESULT.exists()


@pytest.mark.slow
def test_the_command_needs_no_network_and_makes_no_other_folder(rows: Rows) -> None:
    write(rows[:7])
    (Path.cwd() / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, ROOT / "src"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "14 of 15 expectations met\n"
    assert done.returncode == 1
    assert "rows_per_class" in done.stderr


def photograph(number: int, kind: str = "JPEG", side: int = 32) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def test_a_few_files_among_many_do_not_stop_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Four broken files, two of an unsupported format, a large one and a misnamed one among photographs."""
    monkeypatch.chdir(tmp_path)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    images = [photograph(number) for number in range(120)]
    odd = {
        "cut": photograph(200)[:300],
        "zeros": bytes(500),
        "page": b"<html>404</html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid",
        "one.heic": heic,
        "two.heic": heic + b"2",
        "slide": photograph(201, side=200),
        "browser": photograph(202, "WEBP"),
    }
    rows = [
        row | {"path": f"{row['label']}/{name}" if "." in name else f"{row['label']}/{name}.jpg"}
        for row, name in zip(
            rows_of([*images, *odd.values()], "ab" * 64), [*map(str, range(120)), *odd], strict=True
        )
    ]
    write(rows)
    validation.run(replace_settings(settings(), {"dataset.limits.max_pixels": 10_000}, "test"))
    assert failures() == ["extensions"]
    causes = {files.cause: files.files for files in report().refused}
    assert causes == {
        "HEIC image": 2,
        **dict.fromkeys(("Git LFS pointer", "HTML page", "file of zeros", "too large", "truncated"), 1),
    }
    messages = "\n".join(caplog.messages)
    for remedy in ("git lfs pull", "-S dataset.limits.max_pixels=40000", "magick mogrify -format jpg"):
        assert remedy in messages
    assert "b/browser.jpg (its bytes are WEBP)" in messages


def test_the_choice_of_a_conversion_is_recorded_and_shown(
    rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    for number, row in enumerate(rows):
        buffer = io.BytesIO()
        levels = np.random.default_rng(number).integers(0, 1024, (8, 8)).astype(np.uint16)
        levels[0, 0] = 1023
        Image.fromarray(levels).save(buffer, "PNG")
        row["image"] = buffer.getvalue()
    write(rows)
    with caplog.at_level("INFO"):
        validation.run(settings())
    expected = ChosenConversion(Conversion(depth=10), deep=8)
    assert (read_conversion(MEASURED), report().conversion) == (expected, expected)
    line = "Images with 16-bit samples: 8; dataset.depth: 10 bits."
    assert line in caplog.messages
    assert line in PAGE.read_text(encoding="utf-8")
    known = read_table(RAW, ["sha256"]).column("sha256").to_pylist()
    assert all((found.brightness or 0) > 80 for found in read_measurements(MEASURED, known).measurements)


def test_a_missing_package_of_the_data_set_stops_before_anything_is_removed(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(rows)
    changes = {"dataset.extras": ["dicom"], "dataset.window": [40.0, 400.0]}
    chosen = replace_settings(settings(), changes, "test")
    monkeypatch.setitem(MODULES, "dicom", "json")
    validation.run(chosen)
    assert read_conversion(MEASURED).conversion.window == (40.0, 400.0)
    monkeypatch.setitem(MODULES, "dicom", "no_such_module")
    with pytest.raises(
        SettingsError, match=r"dataset\.extras = \[dicom\].*pip install 'visiongate\[dicom\]'"
    ):
        validation.run(chosen)
    assert read_conversion(MEASURED).conversion.window == (40.0, 400.0)
    with pytest.raises(SettingsError, match="the width, its second number, must be at least 1"):
        replace_settings(settings(), {"dataset.window": [40.0, 0.0]}, "test")
