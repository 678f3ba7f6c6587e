"""The validation stage, on small tables."""

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from visiongate.errors import DataError
from visiongate.images import table as image_table
from visiongate.images.table import write_shards
from visiongate.records.dataset import DatasetRecord, write_dataset
from visiongate.records.files import read_json, write_json
from visiongate.settings.schema import Settings, Validation, load_settings
from visiongate.validation import stage as validation

ROOT = Path(__file__).resolve().parents[2]
RAW = Path("data/raw")
RESULT = Path("reports/validation/result.json")
PAGE = Path("reports/validation/index.html")
SCRIPT = "<script>alert(1)</script>"
RULES = list(Validation.model_fields)
OFFLINE = """
import sys
def refuse(event, arguments):
    network = event in ("socket.connect", "socket.getaddrinfo")
    if network or (event == "os.mkdir" and not str(arguments[0]).startswith("reports")):
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
        self.captions: list[str] = []
        self.placeholders: list[str] = []
        self.names: list[str] = []
        self.text: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name == "src"]
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.names += [value or "" for name, value in attrs if name == "id"]
        texts = {"h2": self.headings, "figcaption": self.captions}.get(tag)
        if ("class", "placeholder") in attrs:
            texts = self.placeholders
        if texts is not None:
            texts.append("")
            self.text = texts

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.text[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in {"h2", "figcaption", "span"}:
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
    return load_settings(ROOT / "params.yaml").with_values(
        {f"validation.{key}": value for key, value in changes.items()}, "test"
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
    """Eight good images of two classes, written to an empty workspace in two shards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(image_table, "SHARD_ROWS", 2)
    found = rows_of([png(seed) for seed in range(8)], "abababab")
    write(found)
    return found


def outcomes() -> dict[str, Any]:
    found = {outcome["name"]: outcome for outcome in read_json(RESULT)["expectations"]}
    assert list(found) == RULES[: len(found)]
    return found


def test_good_images_pass(rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    validation.run(settings())
    result = read_json(RESULT)
    assert (result["success"], result["images"]) == (True, len(rows))
    assert result["failed"] == {"critical": 0, "warning": 0}
    assert all(outcome["success"] for outcome in outcomes().values())
    assert capsys.readouterr() == ("15 of 15 expectations met\n", "")
    page = PAGE.read_text(encoding="utf-8")
    assert "Passed." in page
    assert all(f"<strong>{name}</strong>" in page for name in RULES)


@pytest.mark.usefixtures("rows")
def test_the_same_table_gives_the_same_bytes() -> None:
    strict = settings(
        balance__max_ratio=1.0, unique__min_share=1.0, size__min_side=9, size__severity="warning"
    )
    found = []
    for _ in range(2):
        validation.run(strict)
        found.append((RESULT.read_bytes(), PAGE.read_bytes()))
    assert found[0] == found[1]
    assert b"data:image/png;base64," in found[0][1]


def test_a_warning_is_told_in_one_line_and_the_line_goes_on(
    rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    write([*rows, rows[0] | {"path": "z copy\nof\x1b[31m.png"}])
    validation.run(settings())
    assert capsys.readouterr().err == (
        "validation: warning: unique: expected that without repeats, at least 100% of the images are left; "
        "found 8 of 9 (88.89%) are; such as z copy\\nof\\x1b[31m.png (same bytes as a/0.png)\n"
    )
    assert read_json(RESULT)["failed"] == {"critical": 0, "warning": 1}
    assert read_json(RESULT)["success"] is True
    assert "Passed with 1 warning." in PAGE.read_text(encoding="utf-8")


def test_a_critical_failure_is_reported_before_it_stops_the_line(rows: Rows) -> None:
    for row in rows[:4]:
        row["image"] = b"no image"
    rows[4] = rows[4] | {"image": png(4, side=4)}
    write(rows)
    with pytest.raises(DataError) as caught:
        validation.run(settings(size__severity="critical"))
    decodable, size, page = str(caught.value).splitlines()
    reason = "not an image of a known format"
    assert decodable == (
        "decodable: expected that at least 99% of the images decode; found 4 of 8 (50%) do; "
        f"such as a/0.png ({reason}), a/2.png ({reason}), b/1.png ({reason})"
    )
    assert size.startswith("size: expected")
    assert size.endswith("found 4 to 8 pixels; such as a/4.png (4 × 4 pixels)")
    assert page == f"{PAGE} shows what failed"
    assert read_json(RESULT)["success"] is False
    assert outcomes()["decodable"]["examples"][0] == {
        "path": "a/0.png",
        "observed": reason,
        "row": 0,
        "others": [],
    }
    assert "Stopped." in PAGE.read_text(encoding="utf-8")


def test_the_page_shows_failing_images_that_decode(rows: Rows) -> None:
    for index, row in enumerate(rows):
        row["image"] = png(index, side=4) if index else b"no image"
    write(rows)
    with pytest.raises(DataError):
        validation.run(settings())
    found = elements()
    assert found.tags.count("img") == 7
    assert len(set(found.addresses)) == 7
    assert found.placeholders == ["not an image of a known format"]


def test_the_page_shows_both_images_of_a_pair(rows: Rows) -> None:
    rows[1] |= {"image": rows[0]["image"], "sha256": rows[0]["sha256"]}
    for index, row in enumerate(rows):
        row |= {"split": "test" if index in (1, 4) else "train", "group": f"person{index // 2}"}
    write(rows)
    validation.run(settings())
    found = outcomes()
    assert [name for name, outcome in found.items() if not outcome["success"]] == [
        "unique",
        "label_conflicts",
        "split_overlap",
        "split_groups",
    ]
    assert found["label_conflicts"]["examples"] == [
        {"path": "a/0.png", "observed": "same bytes as b/1.png, label 'b'", "row": 0, "others": [4]},
        {"path": "b/1.png", "observed": "same bytes as a/0.png, label 'a'", "row": 4, "others": [0]},
    ]
    assert found["split_overlap"]["examples"][0]["observed"] == "same bytes as b/1.png, split 'test'"
    assert [example["observed"] for example in found["split_groups"]["examples"]] == [
        "person0: 1 in train, 1 in test",
        "person2: 1 in test, 1 in train",
    ]
    page = elements()
    assert page.tags.count("img") == 2 * 3 + 4  # a pair is shown once, whichever of its images is looked at
    assert page.captions == [
        *["b/1.pngb in test", "a/0.pnga in train"],
        *["a/0.pnga in train", "b/1.pngb in test"] * 2,
        *["a/0.pnga in train", "b/1.pngb in test", "a/4.pnga in test", "b/5.pngb in train"],
    ]


def test_the_page_shows_a_few_images_of_a_group_in_each_split(rows: Rows) -> None:
    for index, row in enumerate(rows):
        row |= {"split": "test" if index in (0, 3) else "train", "group": "person7"}
    write(rows)
    validation.run(settings())
    assert outcomes()["split_groups"]["examples"] == [
        {"path": "a/0.png", "observed": "person7: 2 in test, 6 in train", "row": 0, "others": [5, 1, 2, 3]}
    ]
    assert elements().captions == [
        *["a/0.pnga in test", "b/3.pngb in test"],
        *["a/2.pnga in train", "a/4.pnga in train", "a/6.pnga in train"],
    ]


def test_an_image_beside_another_may_not_decode(rows: Rows) -> None:
    broken = b"no image"
    for row in rows[:2]:
        row |= {"image": broken, "sha256": hashlib.sha256(broken).hexdigest()}
    write(rows)
    validation.run(settings(decodable__min_share=0.5))
    page = elements()
    assert page.placeholders == ["not an image of a known format"] * 4  # of a copy, and of a label conflict
    assert "img" not in page.tags


def test_critical_failures_come_first_and_the_page_leads_to_each(rows: Rows) -> None:
    rows[0]["image"] = b"no image"
    write([*rows, rows[1] | {"path": "z.png"}])
    with pytest.raises(DataError):
        validation.run(settings(rows_per_class__min_rows=5))
    page = elements()
    failed = ["decodable", "rows_per_class", "unique"]
    assert page.headings[:4] == [
        "decodable: failed",
        "rows_per_class: failed",
        "unique: warning",
        "What is met",
    ]
    assert page.names == failed
    assert page.links == [f"#{name}" for name in failed]


def test_every_expectation_can_fail_and_all_are_told(rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    """But for brightness, which no image that decodes can fail."""
    image = io.BytesIO()
    Image.new("CMYK", (40, 4), (9, 9, 9, 9)).save(image, "JPEG")
    odd = {"image": image.getvalue(), "sha256": hashlib.sha256(image.getvalue()).hexdigest()}
    spoilt = [
        rows[0] | odd | {"split": "train", "group": "person1"},
        rows[1] | odd | {"split": "test", "group": "person1"},
        rows[2] | {"image": b"no image"},
        *[row | {"path": f"c/{row['path']}", "label": "c"} for row in rows[3:]],
    ]
    write(spoilt)
    for shard in RAW.glob("*.parquet"):
        table = pq.read_table(shard)
        pq.write_table(table.append_column("age", pa.array(range(len(table)))), shard)
    warnings = {f"{name}__severity": "warning" for name in RULES}
    validation.run(settings(**warnings, formats__allowed=["PNG"], balance__max_ratio=1.0))
    assert [name for name, outcome in outcomes().items() if outcome["success"]] == ["brightness"]
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2] for line in told] == [name for name in RULES if name != "brightness"]
    assert read_json(RESULT)["failed"] == {"critical": 0, "warning": len(RULES) - 1}


def test_names_are_text_on_a_page_that_points_nowhere(rows: Rows) -> None:
    rows[0] |= {"label": SCRIPT, "path": "<img src=x onerror=alert(1)>"}
    write(rows)
    with pytest.raises(DataError, match="not expected: '<script>"):
        validation.run(settings())
    found = elements()
    assert "script" not in found.tags
    assert "link" not in found.tags
    assert found.addresses
    assert all(address.startswith("data:image/png;base64,") for address in found.addresses)
    assert all(link.startswith("#") for link in found.links)
    assert outcomes()["classes"]["observed"]["not_expected"] == {SCRIPT: 1}


def test_a_class_without_images(rows: Rows) -> None:
    write([row for row in rows if row["label"] == "a"])
    with pytest.raises(DataError) as caught:
        validation.run(settings())
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("found no image of 'b'")
    assert lines[1].endswith("found the smallest: class 'b' has 0; such as class 'b' has 0")
    assert outcomes()["balance"]["observed"]["ratio"] is None


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_a_table_without_a_needed_column_stops_whatever_the_severity(severity: str) -> None:
    shard = max(RAW.glob("*.parquet"))
    pq.write_table(pq.read_table(shard).drop(["label"]), shard)
    with pytest.raises(DataError) as caught:
        validation.run(settings(columns__severity=severity))
    columns, rest, _ = str(caught.value).splitlines()
    count = len(list(RAW.glob("*.parquet")))
    assert columns.endswith(
        f"found {count - 1} of {count} do; such as {shard.name} (lacks label: string not null)"
    )
    assert rest == "nothing else was judged, for want of these columns"
    result = read_json(RESULT)
    assert (result["success"], result["images"], len(result["expectations"])) == (False, None, 1)
    assert "nothing else could be judged" in PAGE.read_text(encoding="utf-8")


@pytest.mark.usefixtures("rows")
def test_a_column_too_many_may_be_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    for shard in RAW.glob("*.parquet"):
        table = pq.read_table(shard)
        pq.write_table(table.append_column("age", pa.array(range(len(table)))), shard)
    validation.run(settings(columns__severity="warning"))
    assert capsys.readouterr().err.endswith("(has beside age: int64)\n")
    assert list(outcomes()) == RULES


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
    """Garble the pages and leave the footer, so that the columns are still told."""
    shard = min(RAW.glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[4:600] = bytes(596)
    shard.write_bytes(content)


def _lost_shard() -> None:
    min(RAW.glob("*.parquet")).unlink()


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_no_json, "data/raw/dataset.json: "),
        (_no_classes, "data/raw/dataset.json: classes: "),
        (_classes_of_another_kind, "data/raw/dataset.json: classes: "),
        (_cut_shard, r"data/raw/images-\w+\.parquet: "),
        (_garbled_shard, r"data/raw/images-\w+\.parquet: "),
        (_lost_shard, "data/raw: dataset.json speaks of 8 images, the table has [1-7]: "),
        (_no_dataset, "data/raw/dataset.json: no such file"),
        (_no_shards, "data/raw: no image table"),
        (_empty_shard, "the image table has no images"),
    ],
)
def test_nothing_to_judge_is_told(damage: Callable[[], None], told: str) -> None:
    damage()
    with pytest.raises(DataError, match=f"^{told}") as caught:
        validation.run(settings())
    assert "\n" not in str(caught.value)
    assert not RESULT.exists()


def test_the_command_needs_no_network_and_makes_no_other_folder(rows: Rows) -> None:
    write(rows[:7])
    (Path.cwd() / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, ROOT / "src"], capture_output=True, text=True, check=False
    )
    failed, page = done.stderr.splitlines()
    assert failed == (
        "validation: rows_per_class: expected that every class has at least 20 images; "
        "found the smallest: class 'b' has 3; such as b/1.png (class 'b' has 3), a/0.png (class 'a' has 4)"
    )
    assert page == f"validation: {PAGE} shows what failed"
    assert (done.returncode, done.stdout) == (1, "14 of 15 expectations met\n")
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["data", "params.yaml", "reports"]
