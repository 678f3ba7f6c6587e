"""Validation: check the raw images with a Great Expectations suite; a critical failure stops the pipeline."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

import pandas as pd

from visiongate import paths
from visiongate.engine.pieces import Engine, open_engine
from visiongate.errors import DataError
from visiongate.images.decoding import DecodeOptions
from visiongate.images.extras import check_installed
from visiongate.images.shards import cut_table
from visiongate.images.survey import Traits, choose_conversion, count_in_piece, describe_conversion
from visiongate.images.table import read_table
from visiongate.images.thumbnails import make_thumbnails
from visiongate.pages.rendering import render_page
from visiongate.records.conversion import ChosenConversion, Conversion, write_conversion
from visiongate.records.dataset import DatasetRecord, read_dataset
from visiongate.records.files import write_text
from visiongate.records.measurements import Measurement, remove_measurements
from visiongate.records.validation import (
    Example,
    ExpectationResult,
    ValidationReport,
    write_validation,
)
from visiongate.settings.schema import Settings
from visiongate.text_tables import escape_unprintable
from visiongate.validation.image_frame import COLUMNS, count_values, describe_images, describe_shards
from visiongate.validation.measuring import measure_table
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
    with open_engine(settings.engine) as engine:
        report = _check(engine, dataset, columns, settings)
    _print_results(report, dataset.name)


def _check(
    engine: Engine, dataset: DatasetRecord, columns: ExpectationResult, settings: Settings
) -> ValidationReport:
    """Measure and check the images, unless their table has the wrong columns; write the result and the page."""
    images, options = pd.DataFrame(), DecodeOptions()
    if columns.severity == "critical" and not columns.success:
        report = ValidationReport(None, (add_remedy(columns, images, settings),))
    else:
        chosen = _choose_conversion(engine, settings)
        options = _decode_options(settings, chosen.conversion)
        images = _describe_images(dataset, measure_table(engine, paths.RAW, paths.MEASURED, options))
        results = [columns, *check_images(images, dataset.classes, settings.validation)]
        remedied = (add_remedy(result, images, settings) for result in results)
        report = ValidationReport(len(images), tuple(remedied), group_refusals(images), chosen)
    write_validation(paths.VALIDATION / "result.json", report)
    pictures = _make_pictures(engine, images, report, options)
    write_text(PAGE, _render(dataset, images, report, pictures))
    return report


def _decode_options(settings: Settings, conversion: Conversion) -> DecodeOptions:
    dataset = settings.dataset
    return DecodeOptions(conversion, dataset.limits.max_pixels, frozenset(dataset.extras))


def _choose_conversion(engine: Engine, settings: Settings) -> ChosenConversion:
    """Choose, record and log how the images become 8-bit pixels."""
    dataset = settings.dataset
    window = None if dataset.window == "auto" else (dataset.window[0], dataset.window[1])
    count = partial(count_in_piece, options=_decode_options(settings, Conversion(window=window)))

    def find() -> Counter[Traits]:
        counts = Counter[Traits]()
        for found in engine.stream(count, cut_table(paths.RAW)):
            counts += found
        return counts

    chosen = choose_conversion(find, dataset.depth, dataset.background, window)
    write_conversion(paths.MEASURED, chosen)
    for line in describe_conversion(chosen):
        logger.info("%s", line)
    return chosen


def _describe_images(dataset: DatasetRecord, measurements: Iterable[Measurement]) -> pd.DataFrame:
    table = read_table(paths.RAW, COLUMNS)
    if table.num_rows and table.num_rows != dataset.images:
        raise DataError(
            f"{paths.RAW}: dataset.json lists {dataset.images:,} images, the table has {table.num_rows:,}; "
            "run `dvc checkout` or rerun ingestion"
        )
    return describe_images(table, list(measurements))


def _render(
    dataset: DatasetRecord, images: pd.DataFrame, report: ValidationReport, pictures: Mapping[int, Picture]
) -> str:
    return render_page(
        "validation/page.html",
        dataset=dataset,
        report=report,
        failed=_failed(report),
        permanent=_explain_permanent(report, dataset.name),
        examples=_choose_examples(report),
        conversion=describe_conversion(report.conversion) if report.conversion else [],
        pictures=pictures,
        counts=_count(images, dataset.classes) if len(images) else {},
    )


def _failed(report: ValidationReport) -> list[ExpectationResult]:
    return report.failed("critical") + report.failed("warning")


def _choose_examples(report: ValidationReport) -> dict[str, list[Example]]:
    """Return what to show of each failed expectation."""
    examples = {result.name: list(_drop_mirrored(result.examples)) for result in _failed(report)}
    # The table of refused files shows them instead.
    return examples | {"decodable": []}


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


def _make_pictures(
    engine: Engine, images: pd.DataFrame, report: ValidationReport, options: DecodeOptions
) -> dict[int, Picture]:
    """Return the pictures of the examples by row; without examples, read no image."""
    examples = chain.from_iterable(_choose_examples(report).values())
    known: dict[int, dict[str, Any]] = {}
    for row in sorted({row for example in examples for row in _rows(example)}):
        record = images.iloc[row]
        known[row] = {
            name: None if pd.isna(record[name]) else record[name]
            for name in ("path", "label", "split", "error")
        }
    decoded = [row for row, fields in known.items() if not fields["error"]]
    thumbnails = make_thumbnails(engine, paths.RAW, decoded, THUMBNAIL_SIDE, options)
    return {row: Picture(**fields, thumbnail=thumbnails.get(row)) for row, fields in known.items()}


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
