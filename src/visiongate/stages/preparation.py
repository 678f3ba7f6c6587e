"""Preparation: quarantine what a model must not learn from, with a reason for each image, and explore the rest."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

from visiongate import paths
from visiongate.config import Settings
from visiongate.data.decoding import Measurement, measure_images, thumbnail
from visiongate.data.exploration import choose_quarantined, choose_samples, explore
from visiongate.data.image_table import (
    SCHEMA,
    Dataset,
    content_hash,
    iterate_images,
    read_dataset,
    read_table,
    write_dataset,
    write_shards,
)
from visiongate.data.quality import (
    Row,
    Verdict,
    check_complete,
    check_remaining,
    check_rows,
    count_reasons,
    judge,
)
from visiongate.files import write_csv, write_json, write_text
from visiongate.reporting.pages import render_page

THUMBNAIL_SIDE = 64  # pixels
GALLERY = 50  # quarantined images shown


@dataclass(frozen=True, slots=True)
class Judged:
    """A data set with what was found of each image, in the table's order."""

    dataset: Dataset
    rows: list[Row]
    measurements: list[Measurement]
    verdicts: list[Verdict | None]

    def kept(self) -> list[int]:
        """Return the indices of the images that stay."""
        return [index for index, verdict in enumerate(self.verdicts) if verdict is None]


def run(settings: Settings) -> None:
    """Write the kept images to ``data/prepared``, and to ``reports/preparation`` what was left out and a page on the rest."""
    dataset = read_dataset(paths.RAW)
    rows = [Row(**row) for row in _read_rows(["path", "label", "sha256"])]
    check_rows(rows, dataset.images, dataset.classes)
    measurements = measure_images(iterate_images(paths.RAW), settings.dataset.limits.max_pixels)
    judged = Judged(dataset, rows, measurements, judge(rows, measurements, settings.preparation))
    _write_quarantine(judged)  # before the check, so that a class left empty can be looked into
    check_remaining(rows, judged.verdicts, dataset.classes)
    _write_prepared(judged)
    summary = _summarise(judged)
    write_json(paths.PREPARATION / "summary.json", summary)
    write_text(paths.PREPARATION / "index.html", _render(judged, summary, settings))
    print("{images} images: {kept} kept, {quarantined} quarantined".format(**summary))


def _read_rows(columns: list[str]) -> Iterator[dict[str, Any]]:
    """Yield rows of the raw table, without turning the whole of it into Python objects at once."""
    batches = read_table(paths.RAW, columns).to_batches()
    return chain.from_iterable(batch.to_pylist() for batch in batches)


def _write_quarantine(judged: Judged) -> None:
    rows = (
        {**asdict(row), **asdict(verdict)}
        for row, verdict in zip(judged.rows, judged.verdicts, strict=True)
        if verdict
    )
    write_csv(paths.PREPARATION / "quarantine.csv", rows, ["path", "label", "sha256", "reason", "detail"])


def _write_prepared(judged: Judged) -> None:
    kept = judged.kept()
    written = write_shards(paths.PREPARED, _kept_rows(judged.verdicts))
    check_complete(len(judged.rows), written, sum(verdict is not None for verdict in judged.verdicts))
    hashes = content_hash(judged.rows[index].sha256 for index in kept)
    write_dataset(paths.PREPARED, replace(judged.dataset, images=written, content_sha256=hashes))


def _kept_rows(verdicts: list[Verdict | None]) -> Iterator[dict[str, Any]]:
    rows = _read_rows([name for name in SCHEMA.names if name != "image"])
    for row, image, verdict in zip(rows, iterate_images(paths.RAW), verdicts, strict=True):
        if verdict is None:
            yield {**row, "image": image}


def _summarise(judged: Judged) -> dict[str, Any]:
    kept, reasons = judged.kept(), count_reasons(judged.verdicts)
    per_class = Counter(judged.rows[index].label for index in kept)
    return {
        "images": len(judged.rows),
        "kept": len(kept),
        "quarantined": sum(reasons.values()),
        "by_reason": reasons,
        "kept_per_class": {name: per_class[name] for name in judged.dataset.classes},
    }


def _render(judged: Judged, summary: dict[str, Any], settings: Settings) -> str:
    kept = judged.kept()
    samples = choose_samples(judged.rows, judged.verdicts, settings.preparation.samples_per_class)
    gallery = choose_quarantined(judged.verdicts, GALLERY)
    return render_page(
        "preparation.html",
        name=judged.dataset.name,
        summary=summary,
        limits=settings.preparation,
        found=explore(
            [judged.rows[index].label for index in kept],
            [judged.measurements[index] for index in kept],
            judged.dataset.classes,
        ),
        rows=judged.rows,
        verdicts=judged.verdicts,
        samples=samples,
        gallery=gallery,
        thumbnails=_thumbnails(judged, {*chain.from_iterable(samples.values()), *gallery}),
    )


def _thumbnails(judged: Judged, wanted: set[int]) -> dict[int, bytes]:
    """Make thumbnails of the wanted images, by index; one that does not decode has none."""
    images = zip(iterate_images(paths.RAW), judged.measurements, strict=True)
    return {
        index: thumbnail(image, THUMBNAIL_SIDE)
        for index, (image, measurement) in enumerate(images)
        if index in wanted and measurement.fault is None
    }
