"""The Great Expectations suite for raw images.

Only this module imports Great Expectations, because the import takes seconds. Its context is in memory: it writes no file and
sends no analytics.
"""

from collections.abc import Sequence
from itertools import starmap
from typing import Any, cast

import great_expectations as gx
import pandas as pd
from great_expectations.core import ExpectationValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.expectations.core.expect_column_distinct_values_to_equal_set import (
    ExpectColumnDistinctValuesToEqualSet,
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
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from visiongate.errors import DataError
from visiongate.records.validation import Example, ExpectationResult, Severity
from visiongate.settings.validation import Expectation, MaxCount, MaxRatio, SizeRange, Validation
from visiongate.text_tables import join_first
from visiongate.validation.image_frame import (
    count_values,
    describe_classes,
    describe_columns,
    describe_groups,
)

MAX_EXAMPLES = 10
MAX_LISTED_VALUES = 5
MAX_BRIGHTNESS = 255
COUNTERPARTS = ("copy_of", "other_label", "other_split")


def check_columns(shards: pd.DataFrame, limits: Expectation) -> ExpectationResult:
    """Check the columns of each shard.

    Args:
        shards: As `image_frame.describe_shards` returns it.
        limits: The severity.
    """
    expected = describe_columns()
    rule = ExpectColumnValuesToBeInSet(
        column="columns",
        value_set=[expected],
        description=f"every shard has these columns: {expected}",
        **_options("columns", limits),
    )
    return _check("shards", shards, [rule])[0]


def check_images(images: pd.DataFrame, classes: Sequence[str], limits: Validation) -> list[ExpectationResult]:
    """Check everything but the columns.

    Args:
        images: As `image_frame.describe_images` returns it.
        classes: The expected labels.
        limits: The settings of each expectation.

    Returns:
        One result per expectation, in the order of the settings.

    Raises:
        DataError: No class is expected.
    """
    if not classes:
        raise DataError("dataset.json: classes is empty; an image classifier needs at least one")
    sides = images["shorter"].where(images["shorter"] < limits.size.min_side, images["longer"])
    image_rules = [
        *_image_rules(limits),
        *_size_rules(limits.size, limits.aspect),
        *_share_rules(len(images), limits),
        _label_rule(classes, limits.classes),
    ]
    groups = describe_groups(images)
    results = [
        *_check("images", images.assign(side=sides), image_rules),
        *_check("classes", describe_classes(images, classes), _class_rules(limits)),
        *_check("groups", groups, [_group_rule(len(groups), limits.split_groups)]),
    ]
    order = list(Validation.model_fields)
    return sorted(results, key=lambda result: order.index(result.name))


def _image_rules(limits: Validation) -> list[GxExpectation]:
    """Return the expectations about each image; they skip missing values, and so images that do not decode."""
    formats, modes = limits.formats.allowed, limits.modes.allowed
    return [
        ExpectColumnValuesToBeNull(
            column="misnamed",
            description="the extension of every image names the format of its bytes",
            **_options("extensions", limits.extensions),
        ),
        ExpectColumnValuesToBeInSet(
            column="format",
            value_set=formats,
            description=f"the format of every image is {' or '.join(formats)}",
            **_options("formats", limits.formats),
        ),
        ExpectColumnValuesToBeInSet(
            column="mode",
            value_set=modes,
            description=f"the color mode of every image is {' or '.join(modes)}",
            **_options("modes", limits.modes),
        ),
        ExpectColumnValuesToBeBetween(
            column="brightness",
            min_value=0,
            max_value=MAX_BRIGHTNESS,
            description=f"the mean brightness of every image is 0 to {MAX_BRIGHTNESS}",
            **_options("brightness", limits.brightness),
        ),
    ]


def _size_rules(size: SizeRange, aspect: MaxRatio) -> list[GxExpectation]:
    return [
        ExpectColumnValuesToBeBetween(
            column="side",
            min_value=size.min_side,
            max_value=size.max_side,
            description=f"both sides of every image have {size.min_side:,} to {size.max_side:,} pixels",
            **_options("size", size, shows="size", values=("shorter", "longer")),
        ),
        ExpectColumnValuesToBeBetween(
            column="aspect",
            max_value=aspect.max_ratio,
            description=f"longer side / shorter side <= {aspect.max_ratio:g} for every image",
            **_options("aspect", aspect, shows="size"),
        ),
    ]


def _share_rules(images: int, limits: Validation) -> list[GxExpectation]:
    """Return the expectations that a share or a number of the images may fail."""
    conflicts, overlap = limits.label_conflicts, limits.split_overlap
    return [
        ExpectColumnValuesToBeNull(
            column="undecodable",
            mostly=limits.decodable.min_share,
            description=f"at least {_percent(limits.decodable.min_share)} of the files decode",
            **_options("decodable", limits.decodable),
        ),
        ExpectColumnValuesToBeNull(
            column="copy_of",
            mostly=limits.unique.min_share,
            description=f"at least {_percent(limits.unique.min_share)} of the images are unique in their class and split",
            **_options("unique", limits.unique),
        ),
        ExpectColumnValuesToBeNull(
            column="other_label",
            mostly=_share_without(conflicts.max_count, images),
            description=f"at most {conflicts.max_count:,} images have the bytes of an image with another label",
            **_options("label_conflicts", conflicts),
        ),
        ExpectColumnValuesToBeNull(
            column="other_split",
            mostly=_share_without(overlap.max_count, images),
            description=f"at most {overlap.max_count:,} images have the bytes of an image in another given split",
            **_options("split_overlap", overlap),
        ),
    ]


def _label_rule(classes: Sequence[str], limits: Expectation) -> GxExpectation:
    return ExpectColumnDistinctValuesToEqualSet(
        column="label",
        value_set=list(classes),
        description=f"the labels are the {len(classes):,} classes in dataset.json",
        **_options("classes", limits),
    )


def _class_rules(limits: Validation) -> list[GxExpectation]:
    return [
        ExpectColumnValuesToBeBetween(
            column="images",
            min_value=limits.rows_per_class.min_rows,
            description=f"every class has at least {limits.rows_per_class.min_rows:,} images",
            **_options("rows_per_class", limits.rows_per_class, shows="size"),
        ),
        ExpectColumnValuesToBeBetween(
            column="ratio",
            max_value=limits.balance.max_ratio,
            description=f"images of the largest class / images of any class <= {limits.balance.max_ratio:g}",
            **_options("balance", limits.balance, shows="size"),
        ),
    ]


def _group_rule(groups: int, limits: MaxCount) -> GxExpectation:
    return ExpectColumnValuesToBeNull(
        column="splits",
        mostly=_share_without(limits.max_count, groups),
        description=f"at most {limits.max_count:,} groups have images in several given splits",
        **_options("split_groups", limits),
    )


def _options(
    name: str, limits: Expectation, shows: str | None = None, values: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the arguments that every expectation has.

    Args:
        name: The key in the settings.
        limits: The severity.
        shows: The column that describes a failing row, if it is not the one that is checked.
        values: The columns whose range describes the table, likewise.
    """
    return {"severity": limits.severity, "meta": {"name": name, "shows": shows, "values": list(values)}}


def _share_without(count: int, total: int) -> float:
    """Return the share that is left without so many."""
    return max(0, total - count) / total if total else 1.0


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _check(subject: str, frame: pd.DataFrame, rules: Sequence[GxExpectation]) -> list[ExpectationResult]:
    """Check a frame; return the results in the order of the rules."""
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    context = gx.get_context(project_config=config, mode="ephemeral")
    asset = context.data_sources.add_pandas("image table").add_dataframe_asset(subject)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    validated = batch.validate(
        gx.ExpectationSuite(subject, expectations=list(rules)),
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": MAX_EXAMPLES},
    )
    return [_convert(subject, frame, result) for result in validated.results]


def _convert(subject: str, frame: pd.DataFrame, result: ExpectationValidationResult) -> ExpectationResult:
    """Convert a result of Great Expectations.

    Raises:
        RuntimeError: The expectation could not be evaluated, which says nothing about the data.
    """
    config = result.expectation_config
    if config is None or result.exception_info.get("raised_exception") is not False:
        raise RuntimeError(f"{subject}: an expectation was not evaluated: {result.exception_info}")
    describe = _describe_labels if config.kwargs["column"] == "label" else _describe_rows
    return ExpectationResult(
        name=config.meta["name"],
        severity=cast("Severity", config.severity.value),
        success=bool(result.success),
        required=str(config.description),
        expectation=config.type,
        **describe(subject, frame, config, result.result),
    )


def _describe_labels(
    _: str, images: pd.DataFrame, __: ExpectationConfiguration, details: dict[str, Any]
) -> dict[str, Any]:
    unknown, missing = details["partial_unexpected_list"], details["partial_missing_list"]
    lists = {"without images": missing, "unknown": unknown}
    parts = [
        f"{kind}: {join_first(map(repr, labels), MAX_LISTED_VALUES)}"
        for kind, labels in lists.items()
        if labels
    ]
    first = images[images["label"].isin(unknown)].drop_duplicates("label")[:MAX_EXAMPLES]
    examples = zip(first["path"], first["label"], first["row"], strict=True)
    return {
        "subject": "classes",
        "unexpected": details["unexpected_count"] + details["missing_count"],
        "actual": "; ".join(parts) or "the same",
        "examples": tuple(starmap(Example, examples)),
    }


def _describe_rows(
    subject: str, frame: pd.DataFrame, config: ExpectationConfiguration, details: dict[str, Any]
) -> dict[str, Any]:
    shows = config.meta["shows"] or config.kwargs["column"]
    failed = f"{details['unexpected_count']:,} of {_count_checked(subject, frame, config)} fail"
    rows = details["partial_unexpected_index_list"]
    return {
        "subject": subject,
        "unexpected": details["unexpected_count"],
        "actual": "; ".join([*_describe_values(frame, config), failed]),
        "examples": tuple(_make_example(frame, frame.loc[row], shows) for row in rows),
    }


def _count_checked(subject: str, frame: pd.DataFrame, config: ExpectationConfiguration) -> str:
    """Return how many rows are checked: only ``decodable`` checks the images that do not decode."""
    if subject == "images" and config.kwargs["column"] != "undecodable":
        decoded = int(frame["fault"].isna().sum())
        if decoded < len(frame):
            return f"{decoded:,} images that decode"
    return f"{len(frame):,} {subject}"


def _describe_values(frame: pd.DataFrame, config: ExpectationConfiguration) -> list[str]:
    """Describe the most frequent values of a column, or its range, if the expectation limits them."""
    columns = config.meta["values"] or [config.kwargs["column"]]
    values = pd.concat([frame[column].dropna() for column in columns])
    if values.empty or config.kwargs["column"] == "columns":
        return []
    if "value_set" in config.kwargs:
        counts = (f"{count:,} {value}" for value, count in count_values(values).items())
        return [join_first(counts, MAX_LISTED_VALUES)]
    if not {"min_value", "max_value"} & config.kwargs.keys():
        return []
    low, high = (f"{value:,.5g}" for value in (values.min(), values.max()))
    return [low if low == high else f"{low} to {high}"]


def _make_example(frame: pd.DataFrame, record: "pd.Series[Any]", shows: str) -> Example:
    path, row = (None if pd.isna(record[key]) else record[key] for key in ("path", "row"))
    observed, others = record[shows], record.get("others", ())
    if shows in COUNTERPARTS:
        other = frame.loc[observed]
        place = other["label"] if pd.isna(other["split"]) else f"{other['label']}, {other['split']}"
        observed, others = f"same bytes as {other['path']} ({place})", [other["row"]]
    return Example(path, str(observed), None if row is None else int(row), tuple(map(int, others)))
