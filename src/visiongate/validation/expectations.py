"""The rules put to Great Expectations, and what it finds.

The only module that imports Great Expectations, which takes seconds and has no lighter way in: any of its modules loads the
whole. The context is in memory: nothing is written, and nobody called.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from great_expectations.expectations.expectation import Expectation as GxExpectation
from great_expectations.expectations.metadata_types import FailureSeverity
from great_expectations.expectations.registry import get_expectation_impl

from visiongate.errors import DataError
from visiongate.images.table import SCHEMA, SHARDS
from visiongate.settings.schema import Expectation, Severity, Validation
from visiongate.validation.rules import Facts, Rule, Suite, rule_on_columns, rules_on_images

EXAMPLES = 10  # of what fails an expectation


@dataclass(frozen=True, slots=True)
class Example:
    """One image, class, group or shard that fails an expectation."""

    path: (
        str | None
    )  # of the image, of a class's or group's first image, or of the shard; None for a class without
    observed: str
    row: int | None  # of that image in the table
    others: tuple[int, ...] = ()  # rows of images to see beside it


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
    subject: str  # what is counted as unexpected: images, classes, groups or shards
    unexpected: int
    examples: list[Example]  # at most `EXAMPLES`, in the table's order, or the smallest classes first


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
    return _validate(rule_on_columns(shards, _tell_fields(SCHEMA), limits))[0]


def judge_images(images: pd.DataFrame, classes: Sequence[str], limits: Validation) -> list[Outcome]:
    """Judge everything but the columns.

    Args:
        images: What `image_frame.describe_images` returns.
        classes: The labels there should be.
        limits: What is asked.

    Returns:
        An outcome for each expectation, in the order of the settings.

    Raises:
        DataError: There is no class.
    """
    if not classes:
        raise DataError("dataset.json names no class: an image classifier needs some")
    outcomes = [outcome for suite in rules_on_images(images, classes, limits) for outcome in _validate(suite)]
    order = list(Validation.model_fields)
    return sorted(outcomes, key=lambda outcome: order.index(outcome.name))


def _read_fields(shard: Path) -> list[str]:
    try:
        return _tell_fields(pq.read_schema(shard))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{shard}: not a Parquet file: {' '.join(str(error).split())}") from None


def _tell_fields(schema: pa.Schema) -> list[str]:
    return sorted(f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema)


def _validate(asked: Suite) -> list[Outcome]:
    """Put a suite to its frame; the outcomes are in the rules' order."""
    suite = gx.ExpectationSuite(asked.subject, expectations=[_build(rule) for rule in asked.rules])
    found = _open_batch(asked).validate(
        suite, result_format={"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES}
    )
    return [_conclude(asked, rule, result) for rule, result in zip(asked.rules, found.results, strict=True)]


def _build(rule: Rule) -> GxExpectation:
    expectation: GxExpectation = get_expectation_impl(rule.expectation)(**rule.arguments)
    expectation.severity = FailureSeverity(rule.severity)
    return expectation


def _open_batch(asked: Suite) -> Batch:
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    context = gx.get_context(project_config=config, mode="ephemeral")
    asset = context.data_sources.add_pandas("image table").add_dataframe_asset(asked.subject)
    return asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": asked.frame})


def _conclude(asked: Suite, rule: Rule, result: ExpectationValidationResult) -> Outcome:
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
        rows = asked.frame.index[rule.failing]
        unexpected = len(rows)
    return Outcome(
        name=rule.name,
        expectation=rule.expectation,
        severity=rule.severity,
        success=bool(result.success),
        asked=rule.asked,
        observed=rule.observed,
        wanted=rule.wanted,
        seen=rule.seen,
        subject=asked.subject,
        unexpected=int(unexpected),
        examples=[_exemplify(asked.frame.loc[row], rule) for row in rows[:EXAMPLES]],
    )


def _exemplify(record: "pd.Series[Any]", rule: Rule) -> Example:
    path, row = (None if pd.isna(record[key]) else record[key] for key in ("path", "row"))
    others = (rule.others or {}).get(int(str(record.name)), [])
    return Example(path, str(record[rule.shows]), None if row is None else int(row), tuple(others))
