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

from visiongate.config import Settings, Validation, load_settings
from visiongate.data import image_table
from visiongate.data.image_table import Dataset, write_dataset, write_shards
from visiongate.errors import DataError
from visiongate.files import read_json
from visiongate.stages import validation

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
    """The tags of a page and where its attributes point."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]


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
    write_dataset(RAW, Dataset("letters", ["a", "b"], len(rows), "", "", "", "", "", "", {}))


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
    assert PAGE.read_text(encoding="utf-8").count(">does not decode<") == 1


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
    assert elements().tags.count("img") == 2 + 4 + 4 + 4


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


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_no_dataset, "data/raw/dataset.json: no such file"),
        (_no_shards, "data/raw: no image table"),
        (_empty_shard, "the image table has no images"),
    ],
)
def test_nothing_to_judge_is_told(damage: Callable[[], None], told: str) -> None:
    damage()
    with pytest.raises(DataError, match=told):
        validation.run(settings())
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
