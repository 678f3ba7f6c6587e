"""What the Great Expectations suite requires of an image table, and what it reports."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visiongate.errors import DataError
from visiongate.images.table import SCHEMA, write_shard
from visiongate.records.measurements import Measurement
from visiongate.records.validation import Example, ExpectationResult
from visiongate.settings.loading import load_settings
from visiongate.settings.validation import Expectation, Validation
from visiongate.validation import suite
from visiongate.validation.image_frame import count_values, describe_images, describe_shards
from visiongate.validation.suite import MAX_EXAMPLES, check_columns, check_images

ROOT = Path(__file__).resolve().parents[2]
RULES = list(Validation.model_fields)
BROKEN = Measurement(fault="truncated", error="truncated")


def limits(**values: dict[str, Any]) -> Validation:
    """Return the committed settings with at least 2 images per class and some changes."""
    tree = load_settings(ROOT / "params.yaml").validation.model_dump()
    tree["rows_per_class"]["min_rows"] = 2
    for name, changes in values.items():
        tree[name] |= changes
    return Validation.model_validate(tree)


def measured(width: int = 8, height: int = 8, kind: str = "PNG", **others: Any) -> Measurement:  # noqa: ANN401
    return replace(Measurement(kind, width, height, "L", brightness=100.0, contrast=20.0), **others)


def described(
    labels: Sequence[str],
    found: Sequence[Measurement] | None = None,
    hashes: Sequence[str] | None = None,
    **columns: Sequence[str | None],
) -> pd.DataFrame:
    count = len(labels)
    known: dict[str, Sequence[str | None]] = {
        "path": [f"{index}.png" for index in range(count)],
        "label": list(labels),
        "split": [None] * count,
        "group": [None] * count,
        "sha256": list(hashes or (f"{index:064x}" for index in range(count))),
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in (known | columns).items()})
    return describe_images(table, found or [measured()] * count)


def check(
    images: pd.DataFrame, classes: Sequence[str] = "ab", **values: dict[str, Any]
) -> dict[str, ExpectationResult]:
    results = check_images(images, list(classes), limits(**values))
    assert [result.name for result in results] == RULES[1:]
    return {result.name: result for result in results}


def failures(results: dict[str, ExpectationResult]) -> list[str]:
    return [name for name, result in results.items() if not result.success]


def failing_rows(result: ExpectationResult) -> list[int | None]:
    return [example.row for example in result.examples]


def test_valid_images_pass_all_expectations() -> None:
    results = check(described("aabb"))
    assert failures(results) == []
    assert all(result.unexpected == 0 and result.examples == () for result in results.values())
    assert all(result.severity == getattr(limits(), name).severity for name, result in results.items())


@pytest.mark.parametrize(("share", "success"), [(0.75, True), (0.76, False)])
def test_a_share_of_the_images_must_decode(share: float, success: bool) -> None:  # noqa: FBT001 - a parameter
    images = described("aabb", [measured(), BROKEN, measured(), measured()])
    result = check(images, decodable={"min_share": share, "severity": "warning"})["decodable"]
    assert (result.success, result.severity, result.unexpected) == (success, "warning", 1)
    assert result.expectation == "expect_column_values_to_be_null"
    assert result.examples == (Example("1.png", "truncated", 1),)


def test_only_decodable_checks_undecodable_images() -> None:
    results = check(described("aabb", [measured(), BROKEN, measured(), measured()]))
    assert failures(results) == ["decodable"]
    assert failures(check(described("aabb", [BROKEN] * 4))) == ["decodable"]


def test_images_out_of_the_limits_are_examples() -> None:
    found = [
        measured(kind="PPM"),
        measured(mode="CMYK"),
        measured(7, 20),
        measured(20, 7),
        measured(33, 33),
        measured(8, 32),
        measured(32, 8),
        measured(brightness=255.5),
        measured(brightness=-0.5),
        measured(8, 16),
    ]
    results = check(
        described("ab" * 5, found, path=list("cdefghijkl")),
        formats={"allowed": ["PNG", "GIF"]},
        size={"min_side": 8, "max_side": 32},
        aspect={"max_ratio": 3.9},
    )
    assert failures(results) == ["formats", "size", "aspect", "modes", "brightness"]
    assert results["formats"].examples == (Example("c", "PPM", 0),)
    assert results["modes"].examples == (Example("d", "CMYK", 1),)
    assert [example.observed for example in results["size"].examples] == [
        "7 × 20 pixels",
        "20 × 7 pixels",
        "33 × 33 pixels",
    ]
    assert failing_rows(results["aspect"]) == [5, 6]
    assert failing_rows(results["brightness"]) == [7, 8]
    assert results["formats"].actual == "9 PNG, 1 PPM; 1 of 10 images fail"
    assert results["size"].actual == "7 to 33; 3 of 10 images fail"


def test_limits_are_inclusive() -> None:
    images = described("aabb", [measured(8, 32), measured(32, 8), measured(8, 8), measured(32, 32)])
    assert failures(check(images, size={"min_side": 8, "max_side": 32}, aspect={"max_ratio": 4})) == []


def test_unknown_classes() -> None:
    results = check(described(["a", "b", "<script>", "a", "b", "<script>", ""]))
    assert failures(results) == ["classes"]
    assert results["classes"].unexpected == 2
    assert "'<script>'" in results["classes"].actual
    assert {(example.observed, example.row) for example in results["classes"].examples} == {
        ("<script>", 2),
        ("", 6),
    }


def test_a_class_without_images_fails_three_expectations() -> None:
    results = check(described("aabb"), "abc")
    assert failures(results) == ["classes", "rows_per_class", "balance"]
    assert "'c'" in results["classes"].actual
    assert results["classes"].examples == ()
    assert [(example.path, example.row) for example in results["rows_per_class"].examples] == [(None, None)]


def test_unknown_labels_only() -> None:
    results = check(described("xxyy"))
    assert failures(results) == ["classes", "rows_per_class", "balance"]
    assert results["balance"].unexpected == 2


@pytest.mark.parametrize("classes", [["1.0", "1"], ["None", "nan"]])
def test_classes_are_texts(classes: list[str]) -> None:
    assert failures(check(described(classes * 2), classes)) == []
    assert "classes" in failures(check(described(classes * 2), [classes[0], f"{classes[1]} "]))


def test_a_few_unknown_classes_are_named_and_the_rest_counted() -> None:
    result = check(described([*"aabb", *map(str, range(10, 22))]))["classes"]
    assert result.unexpected == 12
    assert result.actual.count("'") == 2 * suite.MAX_LISTED_VALUES
    assert len(result.examples) == MAX_EXAMPLES


def test_a_small_class_is_shown_by_an_image_that_decodes() -> None:
    images = described("baaab", [BROKEN, *[measured()] * 4])
    result = check(images, rows_per_class={"min_rows": 4})["rows_per_class"]
    assert (result.subject, result.unexpected) == ("classes", 2)
    assert failing_rows(result) == [4, 1]


@pytest.mark.parametrize(("ratio", "success"), [(1.5, True), (1.49, False)])
def test_balance_compares_each_class_with_the_largest(ratio: float, success: bool) -> None:  # noqa: FBT001
    result = check(described("aaabb"), balance={"max_ratio": ratio})["balance"]
    assert result.success is success
    assert failing_rows(result) == ([] if success else [3])


@pytest.mark.parametrize(("share", "success"), [(0.5, True), (0.51, False)])
def test_copies_are_shown_with_their_original(share: float, success: bool) -> None:  # noqa: FBT001
    images = described("abaa", hashes=["x", "y", "x", "x"])
    result = check(images, unique={"min_share": share})["unique"]
    assert (result.success, result.unexpected) == (success, 2)
    assert [(example.row, example.others) for example in result.examples] == [(2, (0,)), (3, (0,))]
    assert result.examples[0].observed == "same bytes as 0.png (a)"


def test_the_first_ten_failures_are_examples() -> None:
    result = check(described("ab" * 20, [measured(4, 4)] * 40))["size"]
    assert result.unexpected == 40
    assert failing_rows(result) == list(range(MAX_EXAMPLES))


def test_an_empty_table_raises() -> None:
    with pytest.raises(DataError, match="no images"):
        described("", [])


def test_a_missing_measurement_raises() -> None:
    with pytest.raises(ValueError, match="zip"):
        described("ab", [measured()])


def test_no_classes_raise() -> None:
    with pytest.raises(DataError, match=r"dataset\.json: classes"):
        check_images(described("ab"), [], limits())


def test_an_expectation_that_cannot_be_evaluated_raises() -> None:
    with pytest.raises(RuntimeError, match="not evaluated"):
        check_images(
            described("ab").drop(columns="error").assign(error=1).drop(columns="misnamed"), ["a"], limits()
        )


@pytest.mark.parametrize(
    ("path", "kind", "right"),
    [
        ("x.JPG", "JPEG", True),
        ("x.jpeg", "MPO", True),
        ("x.tif", "TIFF", True),
        ("x", "PNG", True),
        ("scan.0001", "PNG", True),
        ("x.jpg", "PNG", False),
        ("x.svg", "PNG", False),
        ("x.gif", "WEBP", False),
    ],
)
def test_extensions_name_formats(path: str, kind: str, right: bool) -> None:  # noqa: FBT001
    images = described("ab", [measured(kind=kind)] * 2, path=[path, "y"])
    assert images["misnamed"].isna().tolist() == [right, True]


def test_the_same_bytes_under_two_labels() -> None:
    images = described("abab", hashes=["x", "x", "y", "z"])
    results = check(images, unique={"min_share": 0.5})
    assert failures(results) == ["label_conflicts"]
    assert results["label_conflicts"].examples == (
        Example("0.png", "same bytes as 1.png (b)", 0, (1,)),
        Example("1.png", "same bytes as 0.png (a)", 1, (0,)),
    )
    met = check(images, unique={"min_share": 0.5}, label_conflicts={"max_count": 2})
    assert failures(met) == []


def test_the_same_bytes_in_two_given_splits() -> None:
    split = ["train", "test", "train", "val", None]
    images = described("aabba", hashes=["x", "x", "x", "y", "y"], split=split)
    results = check(images, unique={"min_share": 0.4})
    assert failures(results) == ["label_conflicts", "split_overlap"]
    assert results["split_overlap"].unexpected == 3
    first, second, _ = results["split_overlap"].examples
    assert first == Example("0.png", "same bytes as 1.png (a, test)", 0, (1,))
    assert second == Example("1.png", "same bytes as 0.png (a, train)", 1, (0,))


def test_a_group_in_two_given_splits() -> None:
    group = ["p1", "p1", "p2", "p2", None, "p1"]
    images = described("aabbab", split=["train", "test", "test", "test", "val", "train"], group=group)
    results = check(images)
    assert failures(results) == ["split_groups"]
    assert (results["split_groups"].subject, results["split_groups"].unexpected) == ("groups", 1)
    assert results["split_groups"].examples == (Example("0.png", "p1: 2 in train, 1 in test", 0, (5, 1)),)
    assert failures(check(images, split_groups={"max_count": 1})) == []


def test_a_group_example_has_a_few_images_of_each_split() -> None:
    split = ["train", "test", "train", "train", "val", "train", "test"]
    result = check(described("aabbaab", split=split, group=["p"] * 7))["split_groups"]
    assert [(example.row, example.others) for example in result.examples] == [(0, (2, 3, 1, 6, 4))]


# Defects of a single image.
ALONE: dict[str, Callable[[random.Random], Measurement]] = {
    "extensions": lambda _: measured(kind="JPEG"),
    "formats": lambda _: measured(kind="ICNS"),
    "decodable": lambda _: BROKEN,
    "size": lambda draw: measured(*draw.choice([(7, 7), (7, 20), (20, 7)])),
    "aspect": lambda draw: measured(*draw.choice([(8, 33), (33, 8)])),
    "modes": lambda draw: measured(mode=draw.choice(["CMYK", "YCbCr"])),
    "brightness": lambda draw: measured(brightness=draw.choice([-1.0, 256.0])),
}
# Expectations that cannot fail alone, and what fails with them.
IMPLIED = {
    "rows_per_class": {"balance"},
}


class Table:
    """A valid random table of two classes in two given splits, to which defects are added row by row."""

    def __init__(self, draw: random.Random, of_class: tuple[int, int]) -> None:
        self.draw = draw
        self.labels = ["a"] * of_class[0] + ["b"] * of_class[1]
        draw.shuffle(self.labels)
        count = len(self.labels)
        self.found = [measured() for _ in range(count)]
        self.hashes = [f"{draw.getrandbits(256):064x}" for _ in range(count)]
        names = [draw.choice([".png", ".PNG", ""]) for _ in range(count)]
        self.columns: dict[str, list[str | None]] = {
            "path": [f"{index:02d}{name}" for index, name in enumerate(names)],
            "split": [draw.choice(["train", "test", None]) for _ in range(count)],
            "group": [draw.choice([None, f"person{index}"]) for index in range(count)],
        }
        self.valid = list(range(count))
        draw.shuffle(self.valid)

    def take(self, label: str, split: str | None = None) -> int:
        """Return a valid row of a label, and put it into a split."""
        row = next(row for row in self.valid if self.labels[row] == label)
        self.valid.remove(row)
        self.columns["split"][row] = split
        return row

    def add_defect(self, defect: str) -> None:
        """Add a row that fails an expectation."""
        if defect in ALONE:
            row = self.take("a")
            self.found[row] = ALONE[defect](self.draw)
            self.columns["path"][row] = f"{row:02d}" + (".png" if defect == "extensions" else "")
        elif defect == "classes":
            self.labels[self.take("a")] = "c"
        elif defect in {"unique", "label_conflicts", "split_overlap"}:
            row = self.take("a", "train")
            other = self.take(
                "b" if defect == "label_conflicts" else "a", "test" if defect == "split_overlap" else "train"
            )
            self.hashes[other] = self.hashes[row]
        elif defect == "split_groups":
            for split in ("train", "test"):
                self.columns["group"][self.take("a", split)] = "patient"


def make_table(defects: Sequence[str], draw: random.Random) -> pd.DataFrame:
    few = {"rows_per_class": (40, 1), "balance": (56, 30)}
    of_class = next((few[defect] for defect in ("rows_per_class", "balance") if defect in defects), (40, 40))
    table = Table(draw, of_class)
    for defect in sorted(defects, key=lambda name: name != "label_conflicts"):
        table.add_defect(defect)
    return described(table.labels, table.found, table.hashes, **table.columns)


def implied(defects: Sequence[str]) -> list[str]:
    failing = set(defects).union(*(IMPLIED.get(defect, set()) for defect in defects))
    return [name for name in RULES if name in failing]


@pytest.mark.parametrize("defect", RULES[1:])
def test_a_defect_fails_only_its_expectation(defect: str) -> None:
    images = make_table([defect], random.Random(0))  # noqa: S311 - no secret
    assert failures(check(images, decodable={"min_share": 1.0})) == implied([defect])


@pytest.mark.parametrize("seed", range(5))
def test_defects_fail_only_their_expectations(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    defects = [name for name in RULES[1:] if draw.random() < 0.4]
    results = check(make_table(defects, draw), decodable={"min_share": 1.0})
    assert failures(results) == implied(defects)
    for name in ALONE.keys() & set(defects):
        assert results[name].unexpected == 1


def test_time_does_not_grow_with_the_square_of_the_images() -> None:
    """All of them have a copy with another label, and all groups are in several splits."""
    count = 40_000
    images = described(
        ["a", "b"] * (count // 2),
        [measured()] * count,
        [f"{index // 2:064x}" for index in range(count)],
        split=["train", "train", "test", "test"] * (count // 4),
        group=[f"person{index // 4}" for index in range(count)],
    )
    started = time.process_time()
    results = check(images)
    assert time.process_time() - started < 8
    assert results["label_conflicts"].unexpected == count
    assert results["split_groups"].unexpected == count // 4


def write_shards(folder: Path, **columns: Any) -> None:  # noqa: ANN401 - of the second shard
    row = {"image": b"x", "label": "a", "path": "p", "split": None, "group": None, "sha256": "0"}
    for path in ("p", "q"):
        write_shard(folder, pa.Table.from_pylist([row | {"path": path}], schema=SCHEMA))
    last = max(folder.iterdir())
    table = pq.read_table(last)
    for name, values in columns.items():
        table = table.drop([name]) if name in table.column_names else table
        table = table if values is None else table.append_column(name, values)
    pq.write_table(table, last)


@pytest.mark.parametrize(
    ("columns", "unexpected"),
    [({}, 0), ({"label": None}, 1), ({"label": pa.array([1])}, 1), ({"age": pa.array([1])}, 1)],
)
def test_each_shard_must_have_the_columns(tmp_path: Path, columns: dict[str, Any], unexpected: int) -> None:
    write_shards(tmp_path, **columns)
    result = check_columns(describe_shards(tmp_path), Expectation(severity="warning"))
    assert (result.success, result.severity, result.unexpected) == (not unexpected, "warning", unexpected)
    assert [example.path for example in result.examples] == [max(tmp_path.iterdir()).name][:unexpected]


def test_no_shard_raises(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no image table"):
        describe_shards(tmp_path)


def test_a_shard_that_is_not_parquet_raises(tmp_path: Path) -> None:
    (tmp_path / "images-00000.parquet").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"images-00000\.parquet"):
        describe_shards(tmp_path)


def test_values_are_counted_in_a_fixed_order() -> None:
    assert list(count_values(pd.Series(["b", None, "c", "a", "c"])).items()) == [("c", 2), ("a", 1), ("b", 1)]
