"""What the suite asks of an image table, and what it finds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visiongate.config import Expectation, Validation, load_settings
from visiongate.data import expectations
from visiongate.data.decoding import Fault, Measurement
from visiongate.data.expectations import (
    EXAMPLES,
    Example,
    Outcome,
    is_image_table,
    judge_columns,
    judge_images,
    read_columns,
)
from visiongate.data.image_frame import count_values, describe_images
from visiongate.data.image_table import SCHEMA, write_shard
from visiongate.data.rules import Suite, rules_on_images
from visiongate.errors import DataError

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


@pytest.mark.parametrize("seed", range(20))
def test_each_defect_fails_its_expectation_and_no_other(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = 40
    found = [measured() for _ in range(count)]
    columns: dict[str, list[str | None]] = {
        "path": [f"{index:02d}.png" for index in range(count)],
        "split": [str(name) for name in generator.choice(["train", "test"], count)],
        "group": [None] * count,
    }
    labels = list("ab" * (count // 2))
    row, other = (int(index) for index in generator.choice(count, 2, replace=False))
    kinds = [
        "none",
        "extensions",
        "formats",
        "size",
        "aspect",
        "modes",
        "brightness",
        "decodable",
        "split_groups",
    ]
    defect = str(generator.choice(kinds))
    if defect == "split_groups":
        columns["group"][row] = columns["group"][other] = "patient"
        columns["split"][row], columns["split"][other] = "train", "test"
    elif defect != "none":
        found[row] = {
            "extensions": measured(kind="JPEG"),
            "formats": measured(kind="ICNS"),
            "size": measured(7, 7),
            "aspect": measured(8, 40),
            "modes": measured(mode="P"),
            "brightness": measured(brightness=300.0),
            "decodable": BROKEN,
        }[defect]
    implied = {"formats": ["extensions", "formats"], "none": []}
    assert failures(judged(described(labels, found, None, **columns))) == implied.get(defect, [defect])


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
