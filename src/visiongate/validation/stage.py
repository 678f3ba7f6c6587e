"""Validation: check the raw images with a Great Expectations suite; a critical failure stops the pipeline."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import pandas as pd

from visiongate import paths
from visiongate.errors import DataError
from visiongate.images.decoding import DecodeOptions
from visiongate.images.extras import check_installed
from visiongate.images.measurement import measure_images
from visiongate.images.preprocessing import thumbnail
from visiongate.images.survey import choose_conversion, describe_conversion
from visiongate.images.table import iterate_images, iterate_shards, read_table
from visiongate.pages.rendering import render_page
from visiongate.records.conversion import ChosenConversion, Conversion, write_conversion
from visiongate.records.dataset import DatasetRecord, read_dataset
from visiongate.records.files import write_text
from visiongate.records.measurements import Measurement, remove_measurements, write_measurements
from visiongate.records.validation import (
    Example,
    ExpectationResult,
    ValidationReport,
    write_validation,
)
from visiongate.settings.schema import Settings
from visiongate.text_tables import escape_unprintable
from visiongate.validation.image_frame import COLUMNS, count_values, describe_images, describe_shards
from visiongate.validation.refusals import format_refusals, group_refusals
from visiongate.validation.remedies import add_remedy
from visiongate.validation.suite import check_columns, check_images

PAGE = paths.VALIDATION / "index.html"
THUMBNAIL_SIDE = 96
# On the page.
MAX_SIZES = 10
# In a message.
MAX_EXAMPLES = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image on the page: a PNG, or the error if it does not decode."""

    path: str
    label: str
    split: str | None
    error: str | None
    thumbnail: bytes | None


def run(settings: Settings) -> None:
    """Write measurements to ``data/measured``, and ``result.json`` and a page to ``reports/validation``.

    Raises:
        DataError: A critical expectation failed, or there is no image table.
        SettingsError: A package of ``dataset.extras`` is not installed.
    """
    check_installed(settings.dataset.extras)
    dataset = read_dataset(paths.RAW)
    remove_measurements(paths.MEASURED)
    columns = check_columns(describe_shards(paths.RAW), settings.validation.columns)
    images, options = pd.DataFrame(), DecodeOptions()
    if columns.severity == "critical" and not columns.success:
        report = ValidationReport(None, (add_remedy(columns, images, settings),))
    else:
        chosen = _choose_conversion(settings)
        options = _decode_options(settings, chosen.conversion)
        images = _describe_images(dataset, options)
        results = [columns, *check_images(images, dataset.classes, settings.validation)]
        remedied = (add_remedy(result, images, settings) for result in results)
        report = ValidationReport(len(images), tuple(remedied), group_refusals(images), chosen)
    write_validation(paths.VALIDATION / "result.json", report)
    write_text(PAGE, _render(dataset, images, report, options))
    _print_results(report, dataset.name)


def _decode_options(settings: Settings, conversion: Conversion) -> DecodeOptions:
    dataset = settings.dataset
    return DecodeOptions(conversion, dataset.limits.max_pixels, frozenset(dataset.extras))


def _choose_conversion(settings: Settings) -> ChosenConversion:
    """Choose, record and log how the images become 8-bit pixels."""
    dataset = settings.dataset
    window = None if dataset.window == "auto" else (dataset.window[0], dataset.window[1])
    options = _decode_options(settings, Conversion(window=window))
    chosen = choose_conversion(partial(iterate_images, paths.RAW), dataset.depth, dataset.background, options)
    write_conversion(paths.MEASURED, chosen)
    for line in describe_conversion(chosen):
        logger.info("%s", line)
    return chosen


def _describe_images(dataset: DatasetRecord, options: DecodeOptions) -> pd.DataFrame:
    table = read_table(paths.RAW, COLUMNS)
    if table.num_rows and table.num_rows != dataset.images:
        raise DataError(
            f"{paths.RAW}: dataset.json lists {dataset.images:,} images, the table has {table.num_rows:,}; "
            "run `dvc checkout` or rerun ingestion"
        )
    return describe_images(table, list(_measure(options)))


def _measure(options: DecodeOptions) -> Iterator[Measurement]:
    """Measure and record the images of one shard at a time; yield the measurements without the sketches, to save memory."""
    for shard in iterate_shards(paths.RAW, ["image", "sha256"]):
        measurements = measure_images((image.as_py() for image in shard.column("image")), options)
        write_measurements(paths.MEASURED, shard.column("sha256").to_pylist(), measurements)
        yield from (replace(measurement, sketch=None) for measurement in measurements)


def _render(
    dataset: DatasetRecord, images: pd.DataFrame, report: ValidationReport, options: DecodeOptions
) -> str:
    failed = report.failed("critical") + report.failed("warning")
    examples = {result.name: list(_drop_mirrored(result.examples)) for result in failed}
    # The table of refused files shows them instead.
    examples["decodable"] = []
    rows = {row for listed in examples.values() for example in listed for row in _rows(example)}
    return render_page(
        "validation/page.html",
        dataset=dataset,
        report=report,
        failed=failed,
        permanent=_explain_permanent(report, dataset.name),
        examples=examples,
        conversion=describe_conversion(report.conversion) if report.conversion else [],
        pictures=_make_pictures(images, rows, options),
        counts=_count(images, dataset.classes) if len(images) else {},
    )


def _drop_mirrored(examples: Sequence[Example]) -> Iterator[Example]:
    """Drop examples that show the same images as an earlier one, such as the second image of a label conflict."""
    seen = set[frozenset[int]]()
    for example in examples:
        rows = frozenset(_rows(example))
        if not rows or rows not in seen:
            yield example
        seen.add(rows)


def _rows(example: Example) -> list[int]:
    return [] if example.row is None else [example.row, *example.others]


def _make_pictures(images: pd.DataFrame, rows: set[int], options: DecodeOptions) -> dict[int, Picture]:
    """Return the pictures of some rows; without rows, read no image."""
    pictures = {}
    for row, image in enumerate(islice(iterate_images(paths.RAW), max(rows, default=-1) + 1)):
        if row in rows:
            record = images.iloc[row]
            known: dict[str, Any] = {
                name: None if pd.isna(record[name]) else record[name] for name in ("split", "error")
            }
            png = None if known["error"] else thumbnail(image, THUMBNAIL_SIDE, options)
            pictures[row] = Picture(record["path"], record["label"], **known, thumbnail=png)
    return pictures


def _count(images: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count images by class, format and size, for the page; unexpected classes come last."""
    labels = count_values(images["label"])
    return {
        "Class": {name: labels.get(name, 0) for name in dict.fromkeys([*classes, *labels])},
        "Format": count_values(images["format"]),
        "Size": dict(islice(count_values(images["size"]).items(), MAX_SIZES)),
    }


def _explain_permanent(report: ValidationReport, dataset: str) -> str:
    """Return how to keep an option that a remedy names; empty if none does."""
    commands = [
        *(result.command for result in report.expectations),
        *(files.command for files in report.refused),
    ]
    if not any(command.startswith("-S ") for command in commands):
        return ""
    return (
        "an option that starts with -S is for one `dvc exp run`; to keep it, write its key in "
        f"conf/dataset/{dataset}.yaml, such as dataset.depth=12 as dataset: {{depth: 12}}, and run `visiongate repro`"
    )


def _print_results(report: ValidationReport, dataset: str) -> None:
    """Print how many expectations are met, and log each warning.

    Raises:
        DataError: A critical expectation failed.
    """
    met = sum(result.success for result in report.expectations)
    print(f"{met} of {len(report.expectations)} expectations met")
    critical = report.failed("critical")
    stops = any(result.name == "decodable" for result in critical)
    refused = [format_refusals(files, report.images or 0, stops=stops) for files in report.refused]
    permanent = [line for line in [_explain_permanent(report, dataset)] if line]
    warnings = [*map(_format_failure, report.failed("warning")), *([] if stops else refused)]
    for line in [*warnings, *([] if critical else permanent)]:
        logger.warning("validation: warning: %s", escape_unprintable(line))
    if critical:
        lines = [*map(_format_failure, critical), *(refused if stops else [])]
        raise DataError(
            "\n".join([*map(escape_unprintable, [*lines, *permanent]), f"{PAGE} shows what failed"])
        )


def _format_failure(result: ExpectationResult) -> str:
    """Return one line about a failed expectation."""
    examples = [
        f"{example.path} ({example.observed})" if example.path else example.observed
        for example in result.examples[:MAX_EXAMPLES]
    ]
    line = f"{result.name}: required: {result.required}; actual: {result.actual}"
    if examples and result.name != "decodable":
        line += f"; such as {', '.join(examples)}"
    remedy = f"{result.advice}: {result.command}" if result.command else result.advice
    return f"{line}; {remedy}"
