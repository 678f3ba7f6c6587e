"""What the suite asks of an image table, and what it finds."""

import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visiongate.errors import DataError
from visiongate.images.decoding import Fault
from visiongate.images.measurement import Measurement
from visiongate.images.table import SCHEMA, write_shard
from visiongate.settings.schema import Expectation, Validation, load_settings
from visiongate.validation import expectations
from visiongate.validation.expectations import (
    EXAMPLES,
    Example,
    Outcome,
    is_image_table,
    judge_columns,
    judge_images,
    read_columns,
)
from visiongate.validation.image_frame import count_values, describe_images
from visiongate.validation.rules import Suite, rules_on_images

ROOT = Path(__file__).resolve().parents[2]
CRITICAL = Expectation(severity="critical")
RULES = list(Validation.model_fields)
BROKEN = Measurement(None, None, None, None, False, None, None, None, Fault.TRUNCATED, "truncated")  # noqa: FBT003 - a field


def limits(**values: dict[str, Any]) -> Validation:
    """The committed settings, but for at least 2 images a class and what is given."""
    tree = load_settings(ROOT / "params.yaml").validation.model_dump()
    tree["rows_per_class"]["min_rows"] = 2
    for name, changes in values.items():
        tree[name] |= changes
    return Validation.model_validate(tree)


def measured(width: int = 8, height: int = 8, kind: str = "PNG", **others: Any) -> Measurement:  # noqa: ANN401
    known = Measurement(kind, width, height, "L", False, 100.0, 20.0, None, None, None)  # noqa: FBT003 - a field
    return replace(known, **others)


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


def judged(images: pd.DataFrame, classes: str = "ab", **values: dict[str, Any]) -> dict[str, Outcome]:
    outcomes = judge_images(images, list(classes), limits(**values))
    assert [outcome.name for outcome in outcomes] == RULES[1:]
    return {outcome.name: outcome for outcome in outcomes}


def failures(outcomes: dict[str, Outcome]) -> list[str]:
    return [name for name, outcome in outcomes.items() if not outcome.success]


def fields(*changes: pa.Field, without: str = "") -> list[str]:
    schema = {field.name: field for field in SCHEMA} | {field.name: field for field in changes}
    return sorted(
        f"{field.name}: {field.type}{'' if field.nullable else ' not null'}"
        for field in schema.values()
        if field.name != without
    )


def test_good_images_meet_everything() -> None:
    outcomes = judged(described("aabb"))
    assert failures(outcomes) == []
    assert all(outcome.unexpected == 0 and outcome.examples == [] for outcome in outcomes.values())
    assert [outcome.severity for outcome in outcomes.values()] == [
        getattr(limits(), name).severity for name in outcomes
    ]


def test_only_undecodable_images_keep_their_share_and_their_reason() -> None:
    images = described("aabb", [measured(), BROKEN, measured(), measured()])
    met, failed = (
        judged(images, decodable={"min_share": share, "severity": "warning"})["decodable"]
        for share in (0.75, 0.76)
    )
    assert (met.success, failed.success) == (True, False)
    assert failed.severity == "warning"
    assert failed.expectation == "expect_column_values_to_be_null"
    assert failed.asked == {"min_share": 0.76}
    assert failed.observed == {"share": 0.75, "decodable": 3, "images": 4}
    assert (failed.wanted, failed.seen) == ("at least 76% of the images decode", "3 of 4 (75%) do")
    assert failed.examples == [Example("1.png", "truncated", 1)]


def test_other_rules_leave_undecodable_images_to_decodable() -> None:
    outcomes = judged(described("aabb", [measured(), BROKEN, measured(), measured()]))
    assert failures(outcomes) == ["decodable"]
    assert outcomes["size"].observed == {"min_side": 8, "max_side": 8}


def test_images_of_which_none_decodes() -> None:
    outcomes = judged(described("aabb", [BROKEN] * 4))
    assert failures(outcomes) == ["decodable"]
    assert outcomes["size"].seen == outcomes["formats"].seen == "none decodes"
    assert outcomes["size"].observed == {"min_side": None, "max_side": None}


def test_formats_are_counted_and_the_others_named() -> None:
    found = [measured(kind="PPM"), measured(), measured(kind="GIF"), measured()]
    outcome = judged(described("aabb", found), formats={"allowed": ["PNG", "GIF"]})["formats"]
    assert not outcome.success
    assert outcome.observed == {"images": {"PNG": 2, "GIF": 1, "PPM": 1}}
    assert (outcome.wanted, outcome.seen) == ("every image that decodes is PNG or GIF", "2 PNG, 1 GIF, 1 PPM")
    assert outcome.examples == [Example("0.png", "PPM", 0)]


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (7, 100), (33, 8), (8, 33), (7, 33)])
def test_a_side_out_of_range_fails_whichever_it_is(size: tuple[int, int]) -> None:
    images = described("aabb", [measured(), measured(8, 32), measured(*size), measured(32, 8)])
    outcome = judged(images, size={"min_side": 8, "max_side": 32})["size"]
    assert not outcome.success
    assert outcome.unexpected == 1
    assert outcome.observed == {"min_side": min(8, *size), "max_side": max(32, *size)}
    assert outcome.examples == [Example("2.png", f"{size[0]} × {size[1]} pixels", 2)]


def test_the_bounds_of_size_are_allowed() -> None:
    images = described("aabb", [measured(8, 32), measured(32, 8), measured(8, 8), measured(32, 32)])
    assert failures(judged(images, size={"min_side": 8, "max_side": 32})) == []


def test_a_class_that_is_not_expected() -> None:
    outcomes = judged(described(["a", "b", "<script>", "a", "b", "<script>", ""]))
    assert failures(outcomes) == ["classes"]
    outcome = outcomes["classes"]
    assert outcome.unexpected == 3
    assert outcome.observed == {"classes": 4, "missing": [], "not_expected": {"<script>": 2, "": 1}}
    assert outcome.seen == "not expected: '<script>', ''"
    assert outcome.examples[0] == Example("2.png", "<script>", 2)


def test_a_class_without_images_fails_three_rules() -> None:
    outcomes = judged(described("aabb"), "abc")
    assert failures(outcomes) == ["classes", "rows_per_class", "balance"]
    assert outcomes["classes"].observed == {"classes": 2, "missing": ["c"], "not_expected": {}}
    assert outcomes["classes"].seen == "no image of 'c'"
    assert outcomes["classes"].examples == []
    assert outcomes["rows_per_class"].examples == [Example(None, "class 'c' has 0", None)]
    assert outcomes["balance"].observed == {"ratio": None, "largest": 2, "smallest": 0}


def test_when_every_label_is_wrong_no_class_is_balanced() -> None:
    outcomes = judged(described("xxyy"))
    assert failures(outcomes) == ["classes", "rows_per_class", "balance"]
    assert outcomes["balance"].unexpected == 2


@pytest.mark.parametrize("classes", [["0", "1"], ["1.0", "1"], ["2020-01-01", "true"], ["None", "nan"]])
def test_classes_are_texts_whatever_they_look_like(classes: list[str]) -> None:
    outcomes = judge_images(described(classes * 2), classes, limits())
    assert [outcome.name for outcome in outcomes if not outcome.success] == []
    wrong = judge_images(described(classes * 2), [classes[0], f"{classes[1]} "], limits())
    assert "classes" in [outcome.name for outcome in wrong if not outcome.success]


def test_many_unexpected_classes_are_counted_not_named() -> None:
    outcome = judged(described([*"aabb", *map(str, range(10, 22))]))["classes"]
    assert outcome.seen == "not expected: '10', '11', '12', '13', '14' and 7 more"
    assert outcome.unexpected == 12
    assert len(outcome.examples) == EXAMPLES


def test_a_small_class_is_shown_by_an_image_that_decodes() -> None:
    images = described("baaab", [BROKEN, *[measured()] * 4])
    outcome = judged(images, rows_per_class={"min_rows": 4})["rows_per_class"]
    assert outcome.asked == {"min_rows": 4}
    assert outcome.observed == {"min_rows": 2, "smallest_class": "b"}
    assert outcome.unexpected == 2
    assert outcome.subject == "classes"
    assert outcome.examples == [
        Example("4.png", "class 'b' has 2", 4),
        Example("1.png", "class 'a' has 3", 1),
    ]


def test_balance_is_largest_over_smallest() -> None:
    images = described("aaabb")
    met, failed = (judged(images, balance={"max_ratio": ratio})["balance"] for ratio in (1.5, 1.49))
    assert (met.success, failed.success) == (True, False)
    assert failed.observed == {"ratio": 1.5, "largest": 3, "smallest": 2}
    assert failed.seen == "class 'a' has 3, class 'b' has 2: 1.5 times"
    assert failed.examples == [Example("3.png", "class 'b' has 2", 3)]


def test_copies_are_shown_with_what_they_copy() -> None:
    images = described("aabb", hashes=["x", "y", "x", "x"])
    met, failed = (judged(images, unique={"min_share": share})["unique"] for share in (0.5, 0.51))
    assert (met.success, failed.success) == (True, False)
    assert failed.observed == {"share": 0.5, "distinct": 2, "images": 4}
    assert failed.unexpected == 2
    assert failed.examples == [
        Example("2.png", "same bytes as 0.png", 2, (0,)),
        Example("3.png", "same bytes as 0.png", 3, (0,)),
    ]


def test_examples_are_the_first_and_no_more_than_ten() -> None:
    outcome = judged(described("ab" * 20, [measured(4, 4)] * 40))["size"]
    assert outcome.unexpected == 40
    assert [example.row for example in outcome.examples] == list(range(EXAMPLES))


def test_the_frame_holds_no_bytes_and_every_measurement() -> None:
    images = described("ab", [measured(8, 16), BROKEN])
    assert "image" not in images
    assert images.loc[0, ["shortest", "longest", "size"]].tolist() == [8, 16, "8 × 16 pixels"]
    assert images.loc[1, ["format", "shortest", "longest", "size"]].isna().all()


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        described("", [])


def test_a_missing_measurement_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        described("ab", [measured()])


def test_a_data_set_without_classes_is_refused() -> None:
    with pytest.raises(DataError, match=r"dataset\.json names no class"):
        judge_images(described("ab"), [], limits())


def test_an_expectation_that_cannot_be_evaluated_is_no_verdict() -> None:
    suite = rules_on_images(described("ab"), ["a", "b"], limits())[0]
    without_errors = Suite("images", pd.DataFrame({"path": ["a"], "row": [0]}), suite.rules[2:3])
    with pytest.raises(RuntimeError, match="decodable: not evaluated"):
        expectations._validate(without_errors)  # noqa: SLF001 - no public way leads there


def test_a_name_that_says_another_format() -> None:
    found = [measured(kind="JPEG"), measured(), measured(), BROKEN]
    outcomes = judged(described("aabb", found), decodable={"min_share": 0.5})
    assert failures(outcomes) == ["extensions"]
    assert outcomes["extensions"].seen == "1 of another"
    assert outcomes["extensions"].examples == [Example("0.png", "its bytes are JPEG", 0)]
    assert outcomes["extensions"].expectation == "expect_column_values_to_be_null"


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
def test_which_names_say_which_format(path: str, kind: str, right: bool) -> None:  # noqa: FBT001
    images = described("ab", [measured(kind=kind)] * 2, path=[path, "y"])
    assert judged(images)["extensions"].success is right


@pytest.mark.parametrize("size", [(8, 33), (33, 8)])
def test_the_aspect_is_longer_over_shorter_side(size: tuple[int, int]) -> None:
    images = described("aabb", [measured(), measured(*size), measured(8, 32), BROKEN])
    outcomes = judged(images, aspect={"max_ratio": 4.0}, decodable={"min_share": 0.5})
    assert failures(outcomes) == ["aspect"]
    assert outcomes["aspect"].observed == {"max_ratio": 4.125}
    assert outcomes["aspect"].examples == [Example("1.png", f"{size[0]} × {size[1]} pixels", 1)]


def test_modes_are_counted_and_the_others_named() -> None:
    found = [measured(), measured(mode="RGB"), measured(mode="CMYK"), BROKEN]
    outcomes = judged(described("aabb", found), decodable={"min_share": 0.5})
    assert failures(outcomes) == ["modes"]
    assert outcomes["modes"].observed == {"images": {"CMYK": 1, "L": 1, "RGB": 1}}
    assert outcomes["modes"].examples == [Example("2.png", "CMYK", 2)]


@pytest.mark.parametrize("brightness", [float("nan"), -0.5, 255.5, float("inf")])
def test_a_brightness_that_is_no_level_fails(brightness: float) -> None:
    found = [
        measured(),
        measured(brightness=brightness),
        measured(brightness=0.0),
        measured(brightness=255.0),
    ]
    outcomes = judged(described("aabb", found))
    assert failures(outcomes) == ["brightness"]
    assert [example.row for example in outcomes["brightness"].examples] == [1]


def test_the_same_bytes_under_two_labels() -> None:
    images = described("abab", hashes=["x", "x", "y", "z"])
    outcomes = judged(images, unique={"min_share": 0.5})
    assert failures(outcomes) == ["label_conflicts"]
    assert outcomes["label_conflicts"].observed == {"images": 2}
    assert outcomes["label_conflicts"].examples == [
        Example("0.png", "same bytes as 1.png, label 'b'", 0, (1,)),
        Example("1.png", "same bytes as 0.png, label 'a'", 1, (0,)),
    ]
    met = judged(images, unique={"min_share": 0.5}, label_conflicts={"max_count": 2})
    assert failures(met) == []


def test_the_same_bytes_in_two_given_splits() -> None:
    split = ["train", "test", "train", "val", None]
    images = described("aabba", hashes=["x", "x", "x", "y", "y"], split=split)
    outcomes = judged(images, unique={"min_share": 0.4})
    assert failures(outcomes) == ["label_conflicts", "split_overlap"]
    assert outcomes["split_overlap"].observed == {"images": 3}
    assert outcomes["split_overlap"].examples[0] == Example(
        "0.png", "same bytes as 1.png, split 'test'", 0, (1,)
    )
    assert outcomes["split_overlap"].examples[1] == Example(
        "1.png", "same bytes as 0.png, split 'train'", 1, (0,)
    )


def test_a_group_in_two_given_splits() -> None:
    group = ["p1", "p1", "p2", "p2", None, "p1"]
    images = described("aabbab", split=["train", "test", "test", "test", "val", "train"], group=group)
    outcomes = judged(images)
    assert failures(outcomes) == ["split_groups"]
    outcome = outcomes["split_groups"]
    assert (outcome.subject, outcome.unexpected, outcome.seen) == ("groups", 1, "1 group")
    assert outcome.examples == [Example("0.png", "p1: 2 in train, 1 in test", 0, (5, 1))]
    assert failures(judged(images, split_groups={"max_count": 1})) == []


def test_without_given_splits_or_groups_nothing_can_be_shared() -> None:
    outcomes = judged(described("aabb"))
    assert outcomes["split_overlap"].seen == "no split is given"
    assert outcomes["split_groups"].seen == "no group is given"
    grouped = judged(described("aabb", group=["p"] * 4))
    assert grouped["split_groups"].seen == "no split is given"
    apart = judged(described("aabb", group=["p", "p", "q", "q"], split=["train", "train", "test", "test"]))
    assert (apart["split_groups"].seen, apart["split_overlap"].seen) == ("none does", "none is")


ALONE: dict[str, Callable[[random.Random], Measurement]] = {  # what a single image may be
    "extensions": lambda _: measured(kind="JPEG"),
    "formats": lambda _: measured(kind="ICNS"),
    "decodable": lambda _: BROKEN,
    "size": lambda draw: measured(*draw.choice([(7, 7), (7, 20), (20, 7)])),
    "aspect": lambda draw: measured(*draw.choice([(8, 33), (33, 8)])),
    "modes": lambda draw: measured(mode=draw.choice(["P", "CMYK", "RGBA"])),
    "brightness": lambda draw: measured(brightness=draw.choice([math.nan, -1.0, 256.0, math.inf])),
}
IMPLIED = {  # what cannot fail alone
    "label_conflicts": {"unique"},
    "split_overlap": {"unique"},
    "rows_per_class": {"balance"},
}


class Table:
    """A sound table of two classes in two given splits, drawn at random, to be spoilt one row after another."""

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
        self.sound = list(range(count))
        draw.shuffle(self.sound)

    def take(self, label: str, split: str | None = None) -> int:
        """Take a row of that label that nothing was done to yet, and put it into a split."""
        row = next(row for row in self.sound if self.labels[row] == label)
        self.sound.remove(row)
        self.columns["split"][row] = split
        return row

    def spoil(self, defect: str) -> None:
        """Make one expectation fail; classes that are too small are made so from the start."""
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


def spoilt(defects: Sequence[str], draw: random.Random) -> pd.DataFrame:
    few = {"rows_per_class": (40, 1), "balance": (56, 30)}
    of_class = next((few[defect] for defect in ("rows_per_class", "balance") if defect in defects), (40, 40))
    table = Table(draw, of_class)
    for defect in sorted(defects, key=lambda name: name != "label_conflicts"):  # takes what there is of b
        table.spoil(defect)
    return described(table.labels, table.found, table.hashes, **table.columns)


def implied(defects: Sequence[str]) -> list[str]:
    failing = set(defects).union(*(IMPLIED.get(defect, set()) for defect in defects))
    return [name for name in RULES if name in failing]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("defect", RULES[1:])
def test_each_defect_fails_its_expectation_and_no_other(defect: str, seed: int) -> None:
    images = spoilt([defect], random.Random(seed))  # noqa: S311 - no secret
    assert failures(judged(images, decodable={"min_share": 1.0})) == implied([defect])


@pytest.mark.parametrize("seed", range(25))
def test_defects_together_fail_their_expectations_and_no_other(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    defects = [name for name in RULES[1:] if draw.random() < 0.4]
    outcomes = judged(spoilt(defects, draw), decodable={"min_share": 1.0})
    assert failures(outcomes) == implied(defects)
    for name in ALONE.keys() & set(defects):
        assert outcomes[name].unexpected == 1


def test_a_brightness_that_is_no_number_is_told_as_such() -> None:
    found = [measured(brightness=value) for value in (math.nan, 300.0, 0.0, 255.0)]
    outcome = judged(described("aabb", found))["brightness"]
    assert outcome.observed == {"min": 0.0, "max": 255.0, "wrong": 2}
    assert outcome.seen == "0 to 255 and 2 without such a mean"
    assert [example.observed for example in outcome.examples] == ["not a number", "a mean of 300"]


def test_a_result_is_json_whatever_the_brightness() -> None:
    found = [measured(brightness=value) for value in (math.nan, math.inf, -math.inf, math.nan)]
    outcome = judged(described("aabb", found))["brightness"]
    assert (outcome.observed, outcome.seen) == (
        {"min": None, "max": None, "wrong": 4},
        "4 without such a mean",
    )
    json.dumps(asdict(outcome), allow_nan=False)


@pytest.mark.parametrize(
    ("count", "told"), [(0, "no group may"), (1, "at most 1 group may"), (2000, "at most 2,000 groups may")]
)
def test_bounds_agree_in_number(count: int, told: str) -> None:
    outcome = judged(described("aabb"), split_groups={"max_count": count})["split_groups"]
    assert outcome.wanted == f"{told} have images in several given splits"


def test_a_few_images_of_each_split_are_shown_of_a_group() -> None:
    split = ["train", "test", "train", "train", "val", "train", "test"]
    images = described("aabbaab", split=split, group=["p"] * 7)
    assert judged(images)["split_groups"].examples == [
        Example("0.png", "p: 4 in train, 2 in test, 1 in val", 0, (2, 3, 1, 6, 4))
    ]


def test_a_hundred_thousand_images_take_seconds() -> None:
    """With as many pairs and groups across splits as there can be, which no step may compare with one another."""
    count = 100_000
    images = described(
        ["a", "b"] * (count // 2),
        [measured()] * count,
        [f"{index // 2:064x}" for index in range(count)],
        split=["train", "train", "test", "test"] * (count // 4),
        group=[f"person{index // 4}" for index in range(count)],
    )
    started = time.process_time()
    outcomes = judged(images)
    assert time.process_time() - started < 20
    assert outcomes["label_conflicts"].unexpected == count
    assert outcomes["split_groups"].unexpected == count // 4


def test_columns_are_read_from_each_shard(tmp_path: Path) -> None:
    row = {"image": b"x", "label": "a", "path": "p", "split": None, "group": None, "sha256": "0"}
    for path in ("p", "q"):
        write_shard(tmp_path, pa.Table.from_pylist([row | {"path": path}], schema=SCHEMA))
    shards = read_columns(tmp_path)
    assert list(shards.values()) == [fields(), fields()]
    assert is_image_table(shards)
    outcome = judge_columns(shards, CRITICAL)
    assert (outcome.success, outcome.seen) == (True, "2 of 2 do")
    assert outcome.observed == {"shards": 2, "as_asked": 2}
    assert outcome.asked == {"columns": fields()}


@pytest.mark.parametrize(
    ("second", "readable", "told"),
    [
        (fields(without="label"), False, "lacks label: string not null"),
        (
            fields(pa.field("label", pa.int64(), nullable=False)),
            False,
            "lacks label: string not null; has beside label: int64 not null",
        ),
        (
            fields(pa.field("sha256", pa.string())),
            False,
            "lacks sha256: string not null; has beside sha256: string",
        ),
        (fields(pa.field("age", pa.int8())), True, "has beside age: int8"),
    ],
)
def test_a_shard_with_other_columns_is_told_apart(second: list[str], readable: bool, told: str) -> None:  # noqa: FBT001
    shards = {"images-00000.parquet": fields(), "images-00001.parquet": second}
    outcome = judge_columns(shards, Expectation(severity="warning"))
    assert is_image_table(shards) is readable
    assert (outcome.success, outcome.severity, outcome.unexpected) == (False, "warning", 1)
    assert outcome.examples == [Example("images-00001.parquet", told, None)]


def test_no_shard_no_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    assert read_columns(tmp_path) == {}


def test_a_shard_that_is_no_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "images-00000.parquet").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"images-00000\.parquet: not a Parquet file"):
        read_columns(tmp_path)


def test_values_are_counted_in_a_fixed_order() -> None:
    assert list(count_values(pd.Series(["b", None, "c", "a", "c"])).items()) == [("c", 2), ("a", 1), ("b", 1)]
