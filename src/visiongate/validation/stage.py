"""Validation: judge the raw images by what the settings expect, report it, and stop the line on a critical failure."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import pandas as pd

from visiongate import paths
from visiongate.errors import DataError
from visiongate.images.measurement import Measurement, measure_images
from visiongate.images.preprocessing import thumbnail
from visiongate.images.table import iterate_images, iterate_shards, read_table
from visiongate.pages.rendering import render_page
from visiongate.records.dataset import DatasetRecord, read_dataset
from visiongate.records.files import write_json, write_text
from visiongate.settings.schema import Settings, Severity
from visiongate.validation.expectations import (
    Example,
    Outcome,
    is_image_table,
    judge_columns,
    judge_images,
    read_columns,
)
from visiongate.validation.image_frame import COLUMNS, count_values, describe_images

PAGE = paths.VALIDATION / "index.html"
THUMBNAIL_SIDE = 96  # pixels
TOP_SIZES = 10  # sizes that the page lists
NAMED = 3  # examples in a message


@dataclass(frozen=True, slots=True)
class Judged:
    """A data set, its images, and what was found of them."""

    dataset: DatasetRecord
    images: pd.DataFrame | None  # None where the columns are not those of an image table
    outcomes: list[Outcome]

    def failed(self, severity: Severity) -> list[Outcome]:
        """Return the expectations of that severity which are not met."""
        return [outcome for outcome in self.outcomes if outcome.severity == severity and not outcome.success]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image on the page."""

    path: str
    label: str
    split: str | None  # where one is given
    error: str | None  # why it does not decode
    thumbnail: bytes | None  # a PNG, where it does


def run(settings: Settings) -> None:
    """Write ``result.json`` and a page to ``reports/validation``; then stop if something critical failed.

    Raises:
        DataError: There is nothing to judge, or a critical expectation is not met; a line for each of these.
    """
    judged = _judge(settings)
    write_json(paths.VALIDATION / "result.json", _summarize(judged))
    write_text(PAGE, _render(judged, settings.dataset.limits.max_pixels))
    met = sum(outcome.success for outcome in judged.outcomes)
    print(f"{met} of {len(judged.outcomes)} expectations met")
    for outcome in judged.failed("warning"):
        print(f"validation: warning: {_tell(outcome)}", file=sys.stderr)
    _stop_on_failure(judged)


def _judge(settings: Settings) -> Judged:
    dataset, shards = read_dataset(paths.RAW), read_columns(paths.RAW)
    if not shards:
        raise DataError(f"{paths.RAW}: no image table; `dvc repro` makes it, `dvc pull` fetches it")
    columns = judge_columns(shards, settings.validation.columns)
    if not is_image_table(shards):
        return Judged(dataset, None, [columns])
    table = read_table(paths.RAW, COLUMNS)
    if table.num_rows and table.num_rows != dataset.images:
        raise DataError(
            f"{paths.RAW}: dataset.json speaks of {dataset.images:,} images, the table has {table.num_rows:,}: "
            "run `dvc checkout`, or ingestion again"
        )
    images = describe_images(table, list(_measure(settings.dataset.limits.max_pixels)))
    return Judged(dataset, images, [columns, *judge_images(images, dataset.classes, settings.validation)])


def _measure(max_pixels: int) -> Iterator[Measurement]:
    """Measure the images a shard at a time, without their sketches, which are a kilobyte each and not needed here."""
    for shard in iterate_shards(paths.RAW, ["image"]):
        images = (image.as_py() for image in shard.column("image"))
        yield from (replace(found, sketch=None) for found in measure_images(images, max_pixels))


def _summarize(judged: Judged) -> dict[str, Any]:
    failed: dict[Severity, int] = {
        "critical": len(judged.failed("critical")),
        "warning": len(judged.failed("warning")),
    }
    return {
        "success": judged.images is not None and not failed["critical"],
        "images": None if judged.images is None else len(judged.images),
        "failed": failed,
        "expectations": [asdict(outcome) for outcome in judged.outcomes],
    }


def _render(judged: Judged, max_pixels: int) -> str:
    failed = judged.failed("critical") + judged.failed("warning")
    cards = {outcome.name: list(_distinct(outcome.examples)) for outcome in failed}
    return render_page(
        "validation/page.html",
        dataset=judged.dataset,
        outcomes=judged.outcomes,
        failed=failed,
        result=_summarize(judged),
        cards=cards,
        pictures={} if judged.images is None else _picture(judged.images, cards, max_pixels),
        counts={} if judged.images is None else _count(judged.images, judged.dataset.classes),
    )


def _distinct(examples: Sequence[Example]) -> Iterator[Example]:
    """Leave out what shows the same images once more, as the second of two that conflict does."""
    seen = set[frozenset[int]]()
    for example in examples:
        rows = frozenset(_rows(example))
        if not rows or rows not in seen:
            yield example
        seen.add(rows)


def _rows(example: Example) -> list[int]:
    return [] if example.row is None else [example.row, *example.others]


def _picture(
    images: pd.DataFrame, cards: Mapping[str, Sequence[Example]], max_pixels: int
) -> dict[int, Picture]:
    """Tell what the page shows of each image on it, by row; where there is none, no image is read."""
    wanted = {row for examples in cards.values() for example in examples for row in _rows(example)}
    pictures = {}
    for row, image in enumerate(islice(iterate_images(paths.RAW), max(wanted, default=-1) + 1)):
        if row in wanted:
            record = images.iloc[row]
            told = {name: None if pd.isna(record[name]) else record[name] for name in ("split", "error")}
            small = None if told["error"] else thumbnail(image, THUMBNAIL_SIDE, max_pixels)
            pictures[row] = Picture(record["path"], record["label"], **told, thumbnail=small)
    return pictures


def _count(images: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count images by class, format and size, for the page; classes that are not expected come last."""
    labels = count_values(images["label"])
    decoded = images[images["error"].isna()]
    return {
        "Class": {name: labels.get(name, 0) for name in dict.fromkeys([*classes, *labels])},
        "Format": count_values(decoded["format"]),
        "Size": dict(islice(count_values(decoded["size"]).items(), TOP_SIZES)),
    }


def _stop_on_failure(judged: Judged) -> None:
    unjudged = judged.images is None
    lines = [_tell(outcome) for outcome in (judged.outcomes if unjudged else judged.failed("critical"))]
    if unjudged:
        lines.append("nothing else was judged, for want of these columns")
    if lines:
        raise DataError("\n".join([*lines, f"{PAGE} shows what failed"]))


def _tell(outcome: Outcome) -> str:
    """One line for an expectation that is not met, whatever characters names and paths are made of."""
    examples = [
        f"{example.path} ({example.observed})" if example.path else example.observed
        for example in outcome.examples[:NAMED]
    ]
    line = f"{outcome.name}: expected that {outcome.wanted}; found {outcome.seen}"
    line += f"; such as {', '.join(examples)}" if examples else ""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
