"""Preparation: quarantine what a model must not learn from, with a reason for each image, and explore the rest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

import pyarrow as pa

from visiongate import paths
from visiongate.images.measurement import Measurement, measure_images
from visiongate.images.preprocessing import thumbnail
from visiongate.images.table import (
    content_hash,
    iterate_images,
    iterate_shards,
    read_table,
    remove_shards,
    write_shard,
)
from visiongate.pages.rendering import render_page
from visiongate.preparation.clusters import (
    Cluster,
    choose_clusters,
    count_exposed,
    count_leaks,
    judge_leaks,
    kept_clusters,
    name_clusters,
)
from visiongate.preparation.exploration import choose_quarantined, choose_samples, explore, mean_images
from visiongate.preparation.quality import (
    Row,
    Verdict,
    check_complete,
    check_remaining,
    check_rows,
    count_reasons,
    judge,
)
from visiongate.records.clusters import write_clusters
from visiongate.records.dataset import DatasetRecord, read_dataset, write_dataset
from visiongate.records.files import write_csv, write_json, write_text
from visiongate.settings.schema import Settings

THUMBNAIL_SIDE = 64  # pixels
GALLERY = 50  # quarantined images shown
CLUSTERS = 24  # clusters shown
MEMBERS = 8  # images shown of each


@dataclass(frozen=True, slots=True)
class Judged:
    """A data set with what was found of each image, in the table's order."""

    dataset: DatasetRecord
    rows: list[Row]
    measurements: list[Measurement]
    verdicts: list[Verdict | None]
    clusters: list[Cluster]  # of all images but those left out for another reason than a leak

    def kept(self) -> list[int]:
        """Return the indices of the images that stay."""
        return [index for index, verdict in enumerate(self.verdicts) if verdict is None]

    def values(self, cluster: Cluster, field: str) -> set[str]:
        """Return the labels, or the given splits, of a cluster's images."""
        return {value for index in cluster.members if (value := getattr(self.rows[index], field))}

    def marked(self, field: str) -> set[str]:
        """Name the clusters that have several labels, or several given splits."""
        return {cluster.name for cluster in self.clusters if len(self.values(cluster, field)) > 1}


def run(settings: Settings) -> None:
    """Write the kept images to ``data/prepared``, and to ``reports/preparation`` what was left out and a page on the rest."""
    judged = _judge(settings)
    _write_findings(judged)  # before the check, so that a class left empty can be looked into
    check_remaining(judged.rows, judged.verdicts, judged.dataset.classes)
    _write_prepared(judged)
    summary = _summarize(judged)
    write_json(paths.PREPARATION / "summary.json", summary)
    write_text(paths.PREPARATION / "index.html", _render(judged, summary, settings))
    print("{images} images: {kept} kept, {quarantined} quarantined".format(**summary))


def _judge(settings: Settings) -> Judged:
    dataset, limits = read_dataset(paths.RAW), settings.preparation
    table = read_table(paths.RAW, ["path", "label", "sha256", "split"])
    rows = [Row(**row) for row in chain.from_iterable(map(pa.RecordBatch.to_pylist, table.to_batches()))]
    check_rows(rows, dataset.images, dataset.classes)
    measurements = measure_images(iterate_images(paths.RAW), settings.dataset.limits.max_pixels)
    verdicts = judge(rows, measurements, limits)
    clusters = name_clusters(rows, measurements, verdicts, limits.near_duplicates)
    for index, verdict in judge_leaks(rows, measurements, clusters).items():
        verdicts[index] = verdict
    return Judged(dataset, rows, measurements, verdicts, clusters)


def _write_findings(judged: Judged) -> None:
    quarantined = (
        {**asdict(row), "reason": verdict.reason, "detail": verdict.detail}
        for row, verdict in zip(judged.rows, judged.verdicts, strict=True)
        if verdict
    )
    columns = ["path", "label", "split", "sha256", "reason", "detail"]
    write_csv(paths.PREPARATION / "quarantine.csv", quarantined, columns)
    alike = (
        {"cluster": cluster.name, "reason": verdict and verdict.reason, **asdict(judged.rows[index])}
        for cluster in judged.clusters
        for index in cluster.members
        for verdict in [judged.verdicts[index]]
    )
    columns = ["cluster", "path", "label", "split", "sha256", "reason"]
    write_csv(paths.PREPARATION / "near_duplicates.csv", alike, columns)


def _write_prepared(judged: Judged) -> None:
    kept = judged.kept()
    written = _write_kept(judged.verdicts)
    check_complete(len(judged.rows), written, sum(verdict is not None for verdict in judged.verdicts))
    clusters = kept_clusters(judged.clusters, judged.verdicts)
    write_clusters(paths.PREPARED, ((judged.rows[index].sha256, name) for index, name in clusters))
    hashes = content_hash(judged.rows[index].sha256 for index in kept)
    write_dataset(paths.PREPARED, replace(judged.dataset, images=written, content_sha256=hashes))


def _write_kept(verdicts: Sequence[Verdict | None]) -> int:
    """Write what is kept of each raw shard to a shard of its own, so that a new image changes no other; return the rows."""
    remove_shards(paths.PREPARED)
    done = written = 0
    for shard in iterate_shards(paths.RAW):
        of_shard = verdicts[done : done + len(shard)]
        kept = shard.filter(pa.array([verdict is None for verdict in of_shard], pa.bool_()))
        if len(kept):
            write_shard(paths.PREPARED, kept)
        done, written = done + len(shard), written + len(kept)
    return written


def _summarize(judged: Judged) -> dict[str, Any]:
    kept, reasons = judged.kept(), count_reasons(judged.verdicts)
    per_class = Counter(judged.rows[index].label for index in kept)
    sizes = [len(cluster.members) for cluster in judged.clusters]
    return {
        "images": len(judged.rows),
        "kept": len(kept),
        "quarantined": sum(reasons.values()),
        "by_reason": reasons,
        "kept_per_class": {name: per_class[name] for name in judged.dataset.classes},
        "near_duplicates": {
            "clusters": len(sizes),
            "images": sum(sizes),
            "largest": max(sizes, default=0),
            "with_several_labels": len(judged.marked("label")),
            "across_given_splits": len(judged.marked("split")),
        },
        "leaks": [asdict(leak) for leak in count_leaks(judged.rows, judged.verdicts)],
        "given_splits": _describe_given(judged),
    }


def _describe_given(judged: Judged) -> dict[str, dict[str, int]]:
    """Count the images of each given split, and of these how many a less protected one shows too."""
    counts = Counter(row.split for row in judged.rows)
    exposed = count_exposed(judged.rows, judged.verdicts, judged.clusters)
    return {split: {"images": counts[split], "exposed": images} for split, images in exposed.items()}


def _render(judged: Judged, summary: dict[str, Any], settings: Settings) -> str:
    rows = [judged.rows[index] for index in judged.kept()]
    measurements = [judged.measurements[index] for index in judged.kept()]
    samples = choose_samples(judged.rows, judged.verdicts, settings.preparation.samples_per_class)
    gallery = choose_quarantined(judged.verdicts, GALLERY)
    marked = {field: judged.marked(field) for field in ("label", "split")}
    clusters = choose_clusters(judged.clusters, [marked["label"], marked["split"]], CLUSTERS)
    return render_page(
        "preparation/page.html",
        name=judged.dataset.name,
        summary=summary,
        limits=settings.preparation,
        found=explore(rows, measurements, judged.dataset.classes),
        means=mean_images(rows, measurements, judged.dataset.classes),
        rows=judged.rows,
        verdicts=judged.verdicts,
        samples=samples,
        gallery=gallery,
        clusters=clusters,
        members=MEMBERS,
        marked=marked,
        thumbnails=_thumbnails(judged, _shown(judged, samples, gallery, clusters), settings),
    )


def _shown(
    judged: Judged, samples: dict[str, list[int]], gallery: Sequence[int], clusters: Sequence[Cluster]
) -> set[int]:
    """Gather the images that the page shows, with those that quarantined ones are copies of."""
    likes = {verdict.like for index in gallery if (verdict := judged.verdicts[index])} - {None}
    alike = chain.from_iterable(cluster.members[:MEMBERS] for cluster in clusters)
    return {
        *chain.from_iterable(samples.values()),
        *gallery,
        *alike,
        *(like for like in likes if like is not None),
    }


def _thumbnails(judged: Judged, wanted: set[int], settings: Settings) -> dict[int, bytes]:
    """Make thumbnails of the wanted images, by index; one that does not decode has none."""
    max_pixels = settings.dataset.limits.max_pixels
    images = zip(iterate_images(paths.RAW), judged.measurements, strict=True)
    return {
        index: thumbnail(image, THUMBNAIL_SIDE, max_pixels)
        for index, (image, measurement) in enumerate(images)
        if index in wanted and not measurement.fault
    }
