"""What is expected of a raw image table: a Great Expectations suite built from the settings, and what it found.

The only module that imports Great Expectations, which takes seconds and has no lighter way in: any of its modules loads the
whole. (They are imported by their full names because the package exports its classes in a way that strict typing refuses.)
The context is in memory: nothing is written, and nobody called.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import great_expectations as gx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from great_expectations.core import ExpectationValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.expectations.core.expect_column_distinct_values_to_equal_set import (
    ExpectColumnDistinctValuesToEqualSet,
)
from great_expectations.expectations.core.expect_column_proportion_of_unique_values_to_be_between import (
    ExpectColumnProportionOfUniqueValuesToBeBetween,
)
from great_expectations.expectations.core.expect_column_values_to_be_between import (
    ExpectColumnValuesToBeBetween,
)
from great_expectations.expectations.core.expect_column_values_to_be_in_set import (
    ExpectColumnValuesToBeInSet,
)
from great_expectations.expectations.core.expect_column_values_to_be_null import (
    ExpectColumnValuesToBeNull,
)
from great_expectations.expectations.expectation import Expectation as GxExpectation
from great_expectations.expectations.metadata_types import FailureSeverity

from visiongate.config import (
    AllowedFormats,
    Expectation,
    MaxRatio,
    MinRows,
    MinShare,
    Severity,
    SizeRange,
    Validation,
)
from visiongate.data.decoding import Measurement
from visiongate.data.image_table import SCHEMA, SHARDS
from visiongate.errors import DataError

EXAMPLES = 10  # of what fails an expectation
NAMED = 5  # classes that a sentence names before it counts them

Facts = dict[str, Any]  # plain numbers, texts and lists of them


@dataclass(frozen=True, slots=True)
class Example:
    """One image, class or shard that fails an expectation."""

    path: str | None  # of the image, of a class's first image, or of the shard; None for a class without
    observed: str
    row: int | None  # of that image in the table


@dataclass(frozen=True, slots=True)
class Outcome:
    """An expectation, and what was found."""

    name: str  # the key in the settings, under `validation`
    expectation: str  # its type, as Great Expectations names it
    severity: Severity
    success: bool
    asked: Facts
    observed: Facts
    wanted: str  # `asked` as a clause
    seen: str  # `observed` as a clause
    subject: str  # what is counted as unexpected: images, classes or shards
    unexpected: int
    examples: list[Example]  # at most `EXAMPLES`, in the table's order, or the smallest classes first


@dataclass(frozen=True, slots=True)
class _Rule:
    """An expectation on a frame with the columns ``path`` and ``row``, ready to be put to it."""

    name: str
    severity: Severity
    expectation: GxExpectation
    asked: Facts
    observed: Facts
    wanted: str
    seen: str
    shows: str  # the column that tells what is wrong with a row
    failing: "pd.Series[bool] | None" = None  # which rows, where the expectation is on a column as a whole


def read_columns(directory: Path) -> dict[str, list[str]]:
    """Read which columns each shard of an image table has, without their content.

    Returns:
        The columns' names and types in alphabetical order, by the shard's file name; no shard, no entry.

    Raises:
        DataError: A shard is not a Parquet file.
    """
    return {shard.name: _read_fields(shard) for shard in sorted(directory.glob(SHARDS))}


def is_image_table(shards: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether every shard has all the columns of an image table, whatever else it has."""
    return all(set(_tell_fields(SCHEMA)) <= set(fields) for fields in shards.values())


def judge_columns(shards: Mapping[str, Sequence[str]], limits: Expectation) -> Outcome:
    """Judge which columns there are.

    Args:
        shards: What `read_columns` returns.
        limits: The severity.
    """
    expected = _tell_fields(SCHEMA)
    frame = pd.DataFrame(
        {
            "path": list(shards),
            "row": None,
            "columns": [", ".join(fields) for fields in shards.values()],
            "difference": [_tell_difference(expected, fields) for fields in shards.values()],
        }
    )
    right = sum(list(fields) == expected for fields in shards.values())
    rule = _Rule(
        "columns",
        limits.severity,
        ExpectColumnValuesToBeInSet(column="columns", value_set=[", ".join(expected)]),
        asked={"columns": expected},
        observed={"shards": len(shards), "as_asked": right},
        wanted=f"every shard has the columns {', '.join(expected)}, and no other",
        seen=f"{right:,} of {len(shards):,} do",
        shows="difference",
    )
    return _validate("shards", frame, [rule])[0]


def describe_images(table: pa.Table, measurements: Sequence[Measurement]) -> pd.DataFrame:
    """Put what is known of each image, but for its bytes, into a frame.

    Args:
        table: The columns ``path``, ``label`` and ``sha256`` of an image table.
        measurements: Of its images, in the same order.

    Returns:
        One row an image: those three, ``row``, ``format``, ``error``, and in pixels ``shortest`` and ``longest`` side and, as a
        text, ``size``. What an undecodable image does not have is missing; of the others, ``error``.

    Raises:
        DataError: There is no image.
        ValueError: There is not one measurement an image.
    """
    if not table.num_rows:
        raise DataError("the image table has no images: look at what ingestion was given, and run it again")
    images: pd.DataFrame = table.to_pandas()
    known = [
        (found.format, found.error, found.width, found.height)
        for _, found in zip(range(table.num_rows), measurements, strict=True)
    ]
    found = pd.DataFrame(known, images.index, ["format", "error", "width", "height"], dtype=object)
    sides = found[["width", "height"]].astype("Int64")
    return images.assign(
        row=range(len(images)),
        format=found["format"],
        error=found["error"],
        shortest=sides.min(axis=1),
        longest=sides.max(axis=1),
        size=sides["width"].astype("string") + " × " + sides["height"].astype("string") + " pixels",
    )


def judge_images(images: pd.DataFrame, classes: Sequence[str], limits: Validation) -> list[Outcome]:
    """Judge everything but the columns.

    Args:
        images: What `describe_images` returns.
        classes: The labels there should be.
        limits: What is asked.

    Returns:
        An outcome for each expectation, in the order of the settings.

    Raises:
        DataError: There is no class.
    """
    if not classes:
        raise DataError("dataset.json names no class: an image classifier needs some")
    images, per_class = _derive(images, limits.size), _count_classes(images, classes)
    on_images = [
        _expect_formats(images, limits.formats),
        _expect_decodable(images, limits.decodable),
        _expect_size(images, limits.size),
        _expect_classes(images, classes, limits.classes),
        _expect_unique(images, limits.unique),
    ]
    on_classes = [
        _expect_rows(per_class, limits.rows_per_class),
        _expect_balance(per_class, limits.balance),
    ]
    outcomes = _validate("images", images, on_images) + _validate("classes", per_class, on_classes)
    order = list(Validation.model_fields)
    return sorted(outcomes, key=lambda outcome: order.index(outcome.name))


def count_values(values: "pd.Series[str]") -> dict[str, int]:
    """Count each value that is not missing, the most frequent first, then in alphabetical order."""
    counts = Counter(values.dropna())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _read_fields(shard: Path) -> list[str]:
    try:
        return _tell_fields(pq.read_schema(shard))
    except pa.ArrowInvalid as error:
        raise DataError(f"{shard}: not a Parquet file: {' '.join(str(error).split())}") from None


def _tell_fields(schema: pa.Schema) -> list[str]:
    return sorted(f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema)


def _tell_difference(expected: Sequence[str], fields: Sequence[str]) -> str:
    lacking = [field for field in expected if field not in fields]
    beside = [field for field in fields if field not in expected]
    clauses = {"lacks": lacking, "has beside": beside}
    return "; ".join(f"{verb} {', '.join(found)}" for verb, found in clauses.items() if found)


def _derive(images: pd.DataFrame, limits: SizeRange) -> pd.DataFrame:
    """Add what the expectations are on: one ``side`` that is in range where both are, and the ``original`` of a copy."""
    first = images.groupby("sha256")["path"].transform("first")
    return images.assign(
        side=images["shortest"].where(images["shortest"] < limits.min_side, images["longest"]),
        original="same bytes as " + first,
    )


def _count_classes(images: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Count the images of each class asked for, the smallest class first.

    ``path`` and ``row`` are of an image that decodes, if any does; ``ratio`` is how many times as many the largest class has.
    """
    counts = images["label"].value_counts().reindex(list(classes), fill_value=0)
    first = images.sort_values("error", key=pd.Series.notna, kind="stable").drop_duplicates("label")
    frame = (
        first.set_index("label")
        .reindex(list(classes))[["path", "row"]]
        .assign(
            images=counts,
            ratio=(counts.max() / counts.where(counts > 0)).fillna(float("inf")),
            told=[f"class {name!r} has {images:,}" for name, images in counts.items()],
        )
    )
    return frame.sort_values("images", kind="stable").rename_axis("name").reset_index()


def _expect_formats(images: pd.DataFrame, limits: AllowedFormats) -> _Rule:
    counts = count_values(images["format"])
    return _Rule(
        "formats",
        limits.severity,
        ExpectColumnValuesToBeInSet(column="format", value_set=limits.allowed),
        asked={"allowed": limits.allowed},
        observed={"images": counts},
        wanted=f"every image that decodes is {' or '.join(limits.allowed)}",
        seen=", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none decodes",
        shows="format",
    )


def _expect_decodable(images: pd.DataFrame, limits: MinShare) -> _Rule:
    decodable = int(images["error"].isna().sum())
    return _Rule(
        "decodable",
        limits.severity,
        ExpectColumnValuesToBeNull(column="error", mostly=limits.min_share),
        asked={"min_share": limits.min_share},
        observed={"share": decodable / len(images), "decodable": decodable, "images": len(images)},
        wanted=f"at least {_percent(limits.min_share)} of the images decode",
        seen=f"{_part(decodable, len(images))} do",
        shows="error",
    )


def _expect_size(images: pd.DataFrame, limits: SizeRange) -> _Rule:
    decodes = bool(images["error"].isna().any())
    shortest = int(images["shortest"].min()) if decodes else None
    longest = int(images["longest"].max()) if decodes else None
    return _Rule(
        "size",
        limits.severity,
        ExpectColumnValuesToBeBetween(column="side", min_value=limits.min_side, max_value=limits.max_side),
        asked={"min_side": limits.min_side, "max_side": limits.max_side},
        observed={"min_side": shortest, "max_side": longest},
        wanted=f"both sides of every image that decodes are {limits.min_side:,} to {limits.max_side:,} pixels",
        seen=f"{shortest:,} to {longest:,} pixels" if decodes else "none decodes",
        shows="size",
    )


def _expect_classes(images: pd.DataFrame, classes: Sequence[str], limits: Expectation) -> _Rule:
    found = set(images["label"])
    missing = [name for name in classes if name not in found]
    unknown = count_values(images["label"][~images["label"].isin(classes)])
    clauses = {"no image of": missing, "not expected:": list(unknown)}
    return _Rule(
        "classes",
        limits.severity,
        ExpectColumnDistinctValuesToEqualSet(column="label", value_set=list(classes)),
        asked={"classes": list(classes)},
        observed={"classes": len(found), "missing": missing, "not_expected": unknown},
        wanted=f"the classes are the {len(classes):,} that dataset.json names",
        seen="; ".join(f"{says} {_list(names)}" for says, names in clauses.items() if names) or "they are",
        shows="label",
        failing=~images["label"].isin(classes),
    )


def _expect_rows(per_class: pd.DataFrame, limits: MinRows) -> _Rule:
    smallest = per_class.iloc[0]
    return _Rule(
        "rows_per_class",
        limits.severity,
        ExpectColumnValuesToBeBetween(column="images", min_value=limits.min_rows),
        asked={"min_rows": limits.min_rows},
        observed={"min_rows": int(smallest["images"]), "smallest_class": smallest["name"]},
        wanted=f"every class has at least {limits.min_rows:,} images",
        seen=f"the smallest: {smallest['told']}",
        shows="told",
    )


def _expect_balance(per_class: pd.DataFrame, limits: MaxRatio) -> _Rule:
    smallest = per_class.iloc[0]
    largest = per_class.iloc[-1]
    ratio = float(smallest["ratio"]) if smallest["images"] else None
    return _Rule(
        "balance",
        limits.severity,
        ExpectColumnValuesToBeBetween(column="ratio", max_value=limits.max_ratio),
        asked={"max_ratio": limits.max_ratio},
        observed={"ratio": ratio, "largest": int(largest["images"]), "smallest": int(smallest["images"])},
        wanted=f"the largest class has at most {limits.max_ratio:g} times the images of any other",
        seen=f"{largest['told']}, {smallest['told']}" + (f": {ratio:.4g} times" if ratio else ""),
        shows="told",
    )


def _expect_unique(images: pd.DataFrame, limits: MinShare) -> _Rule:
    distinct = images["sha256"].nunique()
    return _Rule(
        "unique",
        limits.severity,
        ExpectColumnProportionOfUniqueValuesToBeBetween(column="sha256", min_value=limits.min_share),
        asked={"min_share": limits.min_share},
        observed={"share": distinct / len(images), "distinct": distinct, "images": len(images)},
        wanted=f"without repeats, at least {_percent(limits.min_share)} of the images are left",
        seen=f"{_part(distinct, len(images))} are",
        shows="original",
        failing=images.duplicated("sha256"),
    )


def _validate(name: str, frame: pd.DataFrame, rules: Sequence[_Rule]) -> list[Outcome]:
    """Put a suite to a frame; the outcomes are in the rules' order."""
    suite = gx.ExpectationSuite(name, expectations=[rule.expectation for rule in rules])
    for rule in rules:
        rule.expectation.severity = FailureSeverity(rule.severity)
    found = _open_batch(name, frame).validate(
        suite, result_format={"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES}
    )
    return [_conclude(name, frame, rule, result) for rule, result in zip(rules, found.results, strict=True)]


def _open_batch(name: str, frame: pd.DataFrame) -> Batch:
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    context = gx.get_context(project_config=config, mode="ephemeral")
    asset = context.data_sources.add_pandas("image table").add_dataframe_asset(name)
    return asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})


def _conclude(subject: str, frame: pd.DataFrame, rule: _Rule, result: ExpectationValidationResult) -> Outcome:
    """Turn Great Expectations' result into an outcome.

    Raises:
        RuntimeError: The expectation could not be evaluated; otherwise that would pass for a failure of the data.
    """
    details = result.result
    if result.exception_info.get("raised_exception") is not False:
        raise RuntimeError(f"{rule.name}: not evaluated: {result.exception_info}")
    if rule.failing is None:
        unexpected, rows = details["unexpected_count"], details["partial_unexpected_index_list"]
    else:
        rows = frame.index[rule.failing]
        unexpected = len(rows)
    return Outcome(
        name=rule.name,
        expectation=rule.expectation.expectation_type,
        severity=rule.severity,
        success=bool(result.success),
        asked=rule.asked,
        observed=rule.observed,
        wanted=rule.wanted,
        seen=rule.seen,
        subject=subject,
        unexpected=int(unexpected),
        examples=[_exemplify(frame.loc[row], rule.shows) for row in rows[:EXAMPLES]],
    )


def _exemplify(record: "pd.Series[Any]", shows: str) -> Example:
    path, row = (None if pd.isna(record[key]) else record[key] for key in ("path", "row"))
    return Example(path, str(record[shows]), None if row is None else int(row))


def _list(names: Iterable[str]) -> str:
    """Name a few, so that a thousand do not make a line of a thousand names."""
    names = list(names)
    named = ", ".join(repr(name) for name in islice(names, NAMED))
    return f"{named} and {len(names) - NAMED:,} more" if len(names) > NAMED else named


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _part(number: int, whole: int) -> str:
    return f"{number:,} of {whole:,} ({_percent(number / whole)})"
