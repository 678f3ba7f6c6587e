"""What the settings expect of a raw image table, rule by rule: what is asked, what is seen, and which images fail.

`expectations` puts the rules to Great Expectations, whose expectation each of them names.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd

from visiongate.settings.schema import (
    AllowedFormats,
    AllowedModes,
    Expectation,
    MaxCount,
    MaxRatio,
    MinRows,
    MinShare,
    Severity,
    SizeRange,
    Validation,
)
from visiongate.validation.image_frame import (
    count_classes,
    count_values,
    find_counterparts,
    find_shared_groups,
)

NAMED = 5  # classes that a sentence names before it counts them
BRIGHTEST = 255.0
NO_LEVEL = -1.0

IN_SET = "expect_column_values_to_be_in_set"
BETWEEN = "expect_column_values_to_be_between"
NULL = "expect_column_values_to_be_null"
SET = "expect_column_distinct_values_to_equal_set"
UNIQUE = "expect_column_proportion_of_unique_values_to_be_between"
SUM = "expect_column_sum_to_be_between"

Facts = dict[str, Any]  # plain numbers, texts and lists of them


@dataclass(frozen=True, slots=True)
class Rule:
    """An expectation on a frame with the columns ``path`` and ``row``, ready to be put to it."""

    name: str  # the key in the settings, under `validation`
    severity: Severity
    expectation: str  # its type, as Great Expectations names it
    arguments: Facts
    asked: Facts
    observed: Facts
    wanted: str  # `asked` as a clause
    seen: str  # `observed` as a clause
    shows: str  # the column that tells what is wrong with a row
    failing: "pd.Series[bool] | None" = None  # which rows, where the expectation is on a column as a whole
    others: Mapping[int, list[int]] | None = None  # images to show beside a failing row


@dataclass(frozen=True, slots=True)
class Suite:
    """Rules on one frame."""

    subject: str  # what a row of it is: images, classes, groups or shards
    frame: pd.DataFrame
    rules: list[Rule]


def rule_on_columns(
    shards: Mapping[str, Sequence[str]], expected: Sequence[str], limits: Expectation
) -> Suite:
    """Ask for the columns of an image table.

    Args:
        shards: The columns' names and types by shard, in alphabetical order.
        expected: Those there should be.
        limits: The severity.
    """
    frame = pd.DataFrame(
        {
            "path": list(shards),
            "row": None,
            "columns": [", ".join(fields) for fields in shards.values()],
            "difference": [_tell_difference(expected, fields) for fields in shards.values()],
        }
    )
    right = sum(list(fields) == list(expected) for fields in shards.values())
    rule = Rule(
        "columns",
        limits.severity,
        IN_SET,
        {"column": "columns", "value_set": [", ".join(expected)]},
        asked={"columns": list(expected)},
        observed={"shards": len(shards), "as_asked": right},
        wanted=f"every shard has the columns {', '.join(expected)}, and no other",
        seen=f"{right:,} of {len(shards):,} do",
        shows="difference",
    )
    return Suite("shards", frame, [rule])


def rules_on_images(images: pd.DataFrame, classes: Sequence[str], limits: Validation) -> list[Suite]:
    """Ask for everything but the columns.

    Args:
        images: What `image_frame.describe_images` returns.
        classes: The labels there should be.
        limits: What is asked.
    """
    derived = _derive(images, limits.size)
    per_class = count_classes(images, classes)
    on_images = [
        _extensions(derived, limits.extensions),
        _formats(derived, limits.formats),
        _decodable(derived, limits.decodable),
        _size(derived, limits.size),
        _aspect(derived, limits.aspect),
        _modes(derived, limits.modes),
        _brightness(derived, limits.brightness),
        _classes(derived, classes, limits.classes),
        _unique(derived, limits.unique),
        _label_conflicts(derived, limits.label_conflicts),
        _split_overlap(derived, limits.split_overlap),
    ]
    on_classes = [_rows_per_class(per_class, limits.rows_per_class), _balance(per_class, limits.balance)]
    return [
        Suite("images", derived, on_images),
        Suite("classes", per_class, on_classes),
        _split_groups(images, limits.split_groups),
    ]


def _derive(images: pd.DataFrame, limits: SizeRange) -> pd.DataFrame:
    """Add what the expectations are on."""
    first = images.groupby("sha256")["path"].transform("first")
    decodes = images["error"].isna()
    return images.assign(
        # One side that is in range where both are.
        side=images["shortest"].where(images["shortest"] < limits.min_side, images["longest"]),
        # Great Expectations passes over what is missing: of an image that decodes, that must not be.
        level=images["brightness"].where(images["brightness"].notna() | ~decodes, NO_LEVEL),
        told_level=images["brightness"].map(_tell_level),
        original="same bytes as " + first,
        **{
            f"same_{column}": _tell_counterparts(images, find_counterparts(images, column), column)
            for column in ("label", "split")
        },
    ).assign(
        differing_label=lambda frame: frame["same_label"].notna().astype(int),
        differing_split=lambda frame: frame["same_split"].notna().astype(int),
    )


def _tell_counterparts(images: pd.DataFrame, counterparts: "pd.Series[int]", column: str) -> "pd.Series[Any]":
    others = images.loc[counterparts]
    told = "same bytes as " + others["path"] + f", {column} " + others[column].map(repr)
    return pd.Series(told.to_numpy(), counterparts.index, dtype=object).reindex(images.index)


def _tell_level(brightness: float) -> str:
    return "not a number" if math.isnan(brightness) else f"a mean of {brightness:.4g}"


def _extensions(images: pd.DataFrame, limits: Expectation) -> Rule:
    misnamed = int(images["misnamed"].notna().sum())
    return Rule(
        "extensions",
        limits.severity,
        NULL,
        {"column": "misnamed"},
        asked={"misnamed": 0},
        observed={"misnamed": misnamed},
        wanted="the bytes of every file are of the format that its name says",
        seen=f"{misnamed:,} of another" if misnamed else "they are",
        shows="misnamed",
    )


def _formats(images: pd.DataFrame, limits: AllowedFormats) -> Rule:
    wanted = f"every image that decodes is {' or '.join(limits.allowed)}"
    return _allowed("formats", images, "format", limits, wanted)


def _modes(images: pd.DataFrame, limits: AllowedModes) -> Rule:
    wanted = f"the color mode of every image that decodes is {' or '.join(limits.allowed)}"
    return _allowed("modes", images, "mode", limits, wanted)


def _allowed(
    name: str, images: pd.DataFrame, column: str, limits: AllowedFormats | AllowedModes, wanted: str
) -> Rule:
    counts = count_values(images[column])
    return Rule(
        name,
        limits.severity,
        IN_SET,
        {"column": column, "value_set": limits.allowed},
        asked={"allowed": limits.allowed},
        observed={"images": counts},
        wanted=wanted,
        seen=", ".join(f"{count:,} {value}" for value, count in counts.items()) or "none decodes",
        shows=column,
    )


def _decodable(images: pd.DataFrame, limits: MinShare) -> Rule:
    decodable = int(images["error"].isna().sum())
    return Rule(
        "decodable",
        limits.severity,
        NULL,
        {"column": "error", "mostly": limits.min_share},
        asked={"min_share": limits.min_share},
        observed={"share": decodable / len(images), "decodable": decodable, "images": len(images)},
        wanted=f"at least {_percent(limits.min_share)} of the images decode",
        seen=f"{_part(decodable, len(images))} do",
        shows="error",
    )


def _size(images: pd.DataFrame, limits: SizeRange) -> Rule:
    decodes = bool(images["error"].isna().any())
    shortest = int(images["shortest"].min()) if decodes else None
    longest = int(images["longest"].max()) if decodes else None
    return Rule(
        "size",
        limits.severity,
        BETWEEN,
        {"column": "side", "min_value": limits.min_side, "max_value": limits.max_side},
        asked={"min_side": limits.min_side, "max_side": limits.max_side},
        observed={"min_side": shortest, "max_side": longest},
        wanted=f"both sides of every image that decodes are {limits.min_side:,} to {limits.max_side:,} pixels",
        seen=f"{shortest:,} to {longest:,} pixels" if decodes else "none decodes",
        shows="size",
    )


def _aspect(images: pd.DataFrame, limits: MaxRatio) -> Rule:
    decodes = bool(images["error"].isna().any())
    largest = float(images["aspect"].max()) if decodes else None
    return Rule(
        "aspect",
        limits.severity,
        BETWEEN,
        {"column": "aspect", "max_value": limits.max_ratio},
        asked={"max_ratio": limits.max_ratio},
        observed={"max_ratio": largest},
        wanted=f"the longer side of every image that decodes is at most {limits.max_ratio:g} times the shorter",
        seen="none decodes" if largest is None else f"at most {largest:.4g} times",
        shows="size",
    )


def _brightness(images: pd.DataFrame, limits: Expectation) -> Rule:
    levels = images["level"].dropna()
    known = levels[levels.between(0, BRIGHTEST)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (None, None)
    wrong = len(levels) - len(known)
    clauses = ["none decodes"] if levels.empty else []
    clauses += [] if low is None else [f"{low:.4g} to {high:.4g}"]
    clauses += [f"{wrong:,} without such a mean"] if wrong else []
    return Rule(
        "brightness",
        limits.severity,
        BETWEEN,
        {"column": "level", "min_value": 0.0, "max_value": BRIGHTEST},
        asked={"min": 0.0, "max": BRIGHTEST},
        observed={"min": low, "max": high, "wrong": wrong},
        wanted="the mean of the pixels of every image that decodes is a number from 0 to 255",
        seen=" and ".join(clauses),
        shows="told_level",
    )


def _classes(images: pd.DataFrame, classes: Sequence[str], limits: Expectation) -> Rule:
    found = set(images["label"])
    missing = [name for name in classes if name not in found]
    unknown = count_values(images["label"][~images["label"].isin(classes)])
    clauses = {"no image of": missing, "not expected:": list(unknown)}
    return Rule(
        "classes",
        limits.severity,
        SET,
        {"column": "label", "value_set": list(classes)},
        asked={"classes": list(classes)},
        observed={"classes": len(found), "missing": missing, "not_expected": unknown},
        wanted=f"the classes are the {len(classes):,} that dataset.json names",
        seen="; ".join(f"{says} {_list(names)}" for says, names in clauses.items() if names) or "they are",
        shows="label",
        failing=~images["label"].isin(classes),
    )


def _rows_per_class(per_class: pd.DataFrame, limits: MinRows) -> Rule:
    smallest = per_class.iloc[0]
    return Rule(
        "rows_per_class",
        limits.severity,
        BETWEEN,
        {"column": "images", "min_value": limits.min_rows},
        asked={"min_rows": limits.min_rows},
        observed={"min_rows": int(smallest["images"]), "smallest_class": smallest["name"]},
        wanted=f"every class has at least {limits.min_rows:,} images",
        seen=f"the smallest: {smallest['told']}",
        shows="told",
    )


def _balance(per_class: pd.DataFrame, limits: MaxRatio) -> Rule:
    smallest, largest = per_class.iloc[0], per_class.iloc[-1]
    ratio = float(smallest["ratio"]) if smallest["images"] else None
    return Rule(
        "balance",
        limits.severity,
        BETWEEN,
        {"column": "ratio", "max_value": limits.max_ratio},
        asked={"max_ratio": limits.max_ratio},
        observed={"ratio": ratio, "largest": int(largest["images"]), "smallest": int(smallest["images"])},
        wanted=f"the largest class has at most {limits.max_ratio:g} times the images of any other",
        seen=f"{largest['told']}, {smallest['told']}" + (f": {ratio:.4g} times" if ratio else ""),
        shows="told",
    )


def _unique(images: pd.DataFrame, limits: MinShare) -> Rule:
    distinct = images["sha256"].nunique()
    copies = images[images.duplicated("sha256")]
    firsts = images.drop_duplicates("sha256").set_index("sha256")["row"]
    return Rule(
        "unique",
        limits.severity,
        UNIQUE,
        {"column": "sha256", "min_value": limits.min_share},
        asked={"min_share": limits.min_share},
        observed={"share": distinct / len(images), "distinct": distinct, "images": len(images)},
        wanted=f"without repeats, at least {_percent(limits.min_share)} of the images are left",
        seen=f"{_part(distinct, len(images))} are",
        shows="original",
        failing=images.duplicated("sha256"),
        others=dict(
            zip(copies["row"], copies["sha256"].map(firsts).apply(lambda row: [int(row)]), strict=True)
        ),
    )


def _label_conflicts(images: pd.DataFrame, limits: MaxCount) -> Rule:
    wanted = f"{_at_most(limits.max_count, 'image')} may bear another label elsewhere"
    return _differing("label_conflicts", images, "label", limits, (wanted, "none does"))


def _split_overlap(images: pd.DataFrame, limits: MaxCount) -> Rule:
    wanted = f"{_at_most(limits.max_count, 'image')} may be in another given split too"
    nothing = "no split is given" if images["split"].isna().all() else "none is"
    return _differing("split_overlap", images, "split", limits, (wanted, nothing))


def _differing(
    name: str, images: pd.DataFrame, column: str, limits: MaxCount, clauses: tuple[str, str]
) -> Rule:
    """Ask that few images come with another value of a column too; the clauses are what is wanted, and that there is none."""
    counterparts = find_counterparts(images, column)
    wanted, nothing = clauses
    return Rule(
        name,
        limits.severity,
        SUM,
        {"column": f"differing_{column}", "max_value": limits.max_count},
        asked={"max_count": limits.max_count},
        observed={"images": len(counterparts)},
        wanted=wanted,
        seen=_number(len(counterparts), "image") if len(counterparts) else nothing,
        shows=f"same_{column}",
        failing=images[f"same_{column}"].notna(),
        others=dict(zip(counterparts.index, ([int(other)] for other in counterparts), strict=True)),
    )


def _split_groups(images: pd.DataFrame, limits: MaxCount) -> Suite:
    shared = find_shared_groups(images)
    lacking = [name for name in ("group", "split") if images[name].isna().all()]
    # A sum over nothing is not zero to Great Expectations.
    none = pd.DataFrame({"path": [None], "row": [None], "told": [""], "others": [[]], "shared": [0]})
    frame = shared.assign(shared=1) if len(shared) else none
    nothing = f"no {lacking[0]} is given" if lacking else "none does"
    rule = Rule(
        "split_groups",
        limits.severity,
        SUM,
        {"column": "shared", "max_value": limits.max_count},
        asked={"max_count": limits.max_count},
        observed={"groups": len(shared)},
        wanted=f"{_at_most(limits.max_count, 'group')} may have images in several given splits",
        seen=_number(len(shared), "group") if len(shared) else nothing,
        shows="told",
        failing=frame["shared"] > 0,
        others=dict(enumerate(frame["others"])),
    )
    return Suite("groups", frame, [rule])


def _tell_difference(expected: Sequence[str], fields: Sequence[str]) -> str:
    lacking = [field for field in expected if field not in fields]
    beside = [field for field in fields if field not in expected]
    clauses = {"lacks": lacking, "has beside": beside}
    return "; ".join(f"{verb} {', '.join(found)}" for verb, found in clauses.items() if found)


def _list(names: Iterable[str]) -> str:
    """Name a few, so that a thousand do not make a line of a thousand names."""
    names = list(names)
    named = ", ".join(repr(name) for name in islice(names, NAMED))
    return f"{named} and {len(names) - NAMED:,} more" if len(names) > NAMED else named


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _at_most(count: int, noun: str) -> str:
    return f"at most {_number(count, noun)}" if count else f"no {noun}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _part(number: int, whole: int) -> str:
    return f"{number:,} of {whole:,} ({_percent(number / whole)})"
