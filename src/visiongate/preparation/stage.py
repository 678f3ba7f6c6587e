"""Preparation: apply corrections, quarantine images that a model must not learn from, and explore the rest."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain

from visiongate import paths
from visiongate.engine.pieces import Engine, open_engine
from visiongate.images.decoding import DecodeOptions
from visiongate.images.survey import describe_conversion
from visiongate.images.table import content_hash, iterate_shards
from visiongate.images.thumbnails import make_thumbnails
from visiongate.pages.rendering import render_page
from visiongate.preparation.clusters import (
    Cluster,
    Clusters,
    choose_clusters,
    count_exposed,
    count_leaks,
    find_all_clusters,
    find_leaks,
    kept_clusters,
)
from visiongate.preparation.corrections import CorrectedRows, apply_corrections, count_pairs
from visiongate.preparation.exploration import choose_quarantined, choose_samples, explore, mean_images
from visiongate.preparation.kept_images import write_kept
from visiongate.preparation.quality import (
    REMEDIES,
    ImageRow,
    Rejection,
    check_remaining,
    check_rows,
    count_reasons,
    describe_quarantine,
    find_rejections,
)
from visiongate.preparation.shortcuts import Shortcut, find_shortcuts
from visiongate.records.clusters import CLUSTERS_FILE, NEAR_COLLECTED_FILE, write_clusters
from visiongate.records.conversion import ChosenConversion, read_conversion, write_conversion
from visiongate.records.corrections import read_corrections
from visiongate.records.dataset import DatasetRecord, read_dataset, write_dataset
from visiongate.records.files import write_text
from visiongate.records.measurements import Measurement, Sketches, read_measurements
from visiongate.records.preparation import (
    ClusteredImage,
    CorrectionCounts,
    GivenSplitCounts,
    NearDuplicateCounts,
    PreparationSummary,
    QuarantinedImage,
    write_corrected,
    write_near_duplicates,
    write_quarantine,
    write_summary,
)
from visiongate.settings.preparation import Preparation
from visiongate.settings.schema import Settings
from visiongate.text_tables import escape_unprintable

logger = logging.getLogger(__name__)

THUMBNAIL_SIDE = 64
# On the page.
MAX_QUARANTINED = 50
MAX_CORRECTED = 50
MAX_CLUSTERS = 24
MAX_MEMBERS = 8


@dataclass(frozen=True, slots=True)
class Inspection:
    """A data set with the findings about each image, in the table's order.

    ``found`` has the clusters of all images but those quarantined for another reason than a leak.
    """

    dataset: DatasetRecord
    conversion: ChosenConversion
    corrected: CorrectedRows
    measurements: list[Measurement]
    sketches: Sketches
    rejections: list[Rejection | None]
    found: Clusters

    @property
    def clusters(self) -> list[Cluster]:
        """The clusters of all images."""
        return self.found.every

    @property
    def rows(self) -> list[ImageRow]:
        """The images, with their corrected labels."""
        return self.corrected.rows

    def kept(self) -> list[int]:
        """Return the rows that are kept."""
        return [index for index, rejection in enumerate(self.rejections) if rejection is None]

    def several(self, field: str) -> set[str]:
        """Return the names of the clusters with several labels, or several given splits.

        Args:
            field: ``label`` or ``split``.
        """
        values = {
            cluster.name: {getattr(self.rows[index], field) for index in cluster.members} - {None}
            for cluster in self.clusters
        }
        return {name for name, found in values.items() if len(found) > 1}


def run(settings: Settings) -> None:
    """Write the kept images to ``data/prepared``, and the quarantine and a page to ``reports/preparation``."""
    inspection = _inspect(settings.preparation)
    # Before the check, so that the user can see why a class is empty.
    _write_findings(inspection)
    check_remaining(inspection.rows, inspection.rejections, inspection.dataset.classes)
    summary, shortcuts = _summarize(inspection), _find_shortcuts(inspection)
    with open_engine(settings.engine) as engine:
        _write_prepared(engine, inspection)
        page = _render(engine, inspection, (summary, shortcuts), settings)
    write_summary(paths.PREPARATION / "summary.json", summary)
    write_text(paths.PREPARATION / "index.html", page)
    _warn_of_unmatched(summary.corrections)
    for line in describe_quarantine(inspection.rows, inspection.rejections):
        logger.info("quarantined: %s", escape_unprintable(line))
    for shortcut in shortcuts:
        logger.warning("preparation: warning: %s", escape_unprintable(str(shortcut)))
    print(_format_counts(summary))


def _inspect(limits: Preparation) -> Inspection:
    dataset = read_dataset(paths.RAW)
    rows = _read_rows()
    check_rows(rows, dataset.images, dataset.classes)
    measurements, sketches = read_measurements(paths.MEASURED, [row.sha256 for row in rows])
    corrected = apply_corrections(rows, read_corrections(paths.CORRECTIONS), dataset.classes)
    rows = corrected.rows
    rejections = find_rejections(rows, measurements, limits, corrected.excluded)
    found = find_all_clusters(rows, sketches, rejections, limits.near_duplicates)
    for index, rejection in find_leaks(rows, sketches, found.source).items():
        rejections[index] = rejection
    conversion = read_conversion(paths.MEASURED)
    return Inspection(dataset, conversion, corrected, measurements, sketches, rejections, found)


def _read_rows() -> list[ImageRow]:
    return [
        ImageRow(*row)
        for shard in iterate_shards(paths.RAW, ["path", "label", "sha256", "split"])
        for row in zip(*(column.to_pylist() for column in shard.columns), strict=True)
    ]


def _warn_of_unmatched(counts: CorrectionCounts) -> None:
    total = counts.relabeled + counts.excluded + counts.confirmed + counts.unmatched
    if counts.unmatched:
        logger.warning(
            "%s: %d of %d corrections name images that the data do not have; they have no effect, and are kept for the case "
            "that the images return",
            *(paths.CORRECTIONS, counts.unmatched, total),
        )


def _write_findings(inspection: Inspection) -> None:
    write_corrected(paths.PREPARATION / "corrections.csv", inspection.corrected.images)
    quarantined = [
        QuarantinedImage(row.path, row.label, row.split, row.sha256, rejection.reason, rejection.detail)
        for row, rejection in zip(inspection.rows, inspection.rejections, strict=True)
        if rejection
    ]
    write_quarantine(paths.PREPARATION / "quarantine.csv", quarantined)
    clustered = [
        ClusteredImage(
            cluster.name, **asdict(inspection.rows[index]), reason=rejection.reason if rejection else None
        )
        for cluster in inspection.clusters
        for index in cluster.members
        for rejection in [inspection.rejections[index]]
    ]
    write_near_duplicates(paths.PREPARATION / "near_duplicates.csv", clustered)


def _write_prepared(engine: Engine, inspection: Inspection) -> None:
    write_kept(engine, paths.RAW, paths.PREPARED, inspection.rows, inspection.rejections)
    kept = inspection.kept()
    for clusters, file in (
        (inspection.found.source, CLUSTERS_FILE),
        (inspection.found.with_collected(inspection.rows), NEAR_COLLECTED_FILE),
    ):
        named = kept_clusters(clusters, inspection.rejections)
        write_clusters(paths.PREPARED, ((inspection.rows[index].sha256, name) for index, name in named), file)
    write_conversion(paths.PREPARED, inspection.conversion)
    hashes = content_hash(inspection.rows[index].sha256 for index in kept)
    write_dataset(paths.PREPARED, replace(inspection.dataset, images=len(kept), content_sha256=hashes))


def _summarize(inspection: Inspection) -> PreparationSummary:
    kept, rows = inspection.kept(), inspection.rows
    per_class = Counter(rows[index].label for index in kept)
    per_split = Counter(row.split for row in rows)
    sizes = [len(cluster.members) for cluster in inspection.clusters]
    exposed = count_exposed(rows, inspection.rejections, inspection.found.source)
    return PreparationSummary(
        images=len(rows),
        kept=len(kept),
        quarantined=len(rows) - len(kept),
        by_reason=count_reasons(inspection.rejections),
        corrections=inspection.corrected.counts,
        kept_per_class={name: per_class[name] for name in inspection.dataset.classes},
        near_duplicates=NearDuplicateCounts(
            clusters=len(sizes),
            images=sum(sizes),
            largest=max(sizes, default=0),
            with_several_labels=len(inspection.several("label")),
            across_given_splits=len(inspection.several("split")),
        ),
        leaks=count_leaks(rows, inspection.rejections),
        given_splits={split: GivenSplitCounts(per_split[split], images) for split, images in exposed.items()},
    )


def _find_shortcuts(inspection: Inspection) -> list[Shortcut]:
    kept = inspection.kept()
    rows = [inspection.rows[index] for index in kept]
    measurements = [inspection.measurements[index] for index in kept]
    return find_shortcuts(rows, measurements, inspection.dataset.classes)


def _format_counts(summary: PreparationSummary) -> str:
    """Return one line with the kept images, and the quarantined ones by reason."""
    reasons = ", ".join(f"{images} {reason}" for reason, images in summary.by_reason.items() if images)
    line = f"{summary.images} images: {summary.kept} kept, {summary.quarantined} quarantined"
    line = f"{line} ({reasons})" if reasons else line
    applied = {
        name: count for name, count in asdict(summary.corrections).items() if name != "unmatched" and count
    }
    changes = ", ".join(f"{count} {name}" for name, count in applied.items())
    return f"{line}; corrections: {changes}" if changes else line


def _render(
    engine: Engine,
    inspection: Inspection,
    found: tuple[PreparationSummary, Sequence[Shortcut]],
    settings: Settings,
) -> str:
    summary, shortcuts = found
    kept, classes = inspection.kept(), inspection.dataset.classes
    rows = [inspection.rows[index] for index in kept]
    measurements = [inspection.measurements[index] for index in kept]
    samples = choose_samples(inspection.rows, inspection.rejections, settings.preparation.samples_per_class)
    quarantined = choose_quarantined(inspection.rejections, MAX_QUARANTINED)
    marked = {field: inspection.several(field) for field in ("label", "split")}
    clusters = choose_clusters(inspection.clusters, list(marked.values()), MAX_CLUSTERS)
    members = {cluster.name: cluster.members[:MAX_MEMBERS] for cluster in clusters}
    corrected = inspection.corrected.indices[:MAX_CORRECTED]
    originals = _originals(inspection, quarantined)
    shown = chain(*samples.values(), corrected, quarantined, *members.values(), originals)
    return render_page(
        "preparation/page.html",
        name=inspection.dataset.name,
        summary=summary,
        limits=settings.preparation,
        found=explore(rows, measurements, classes),
        shortcuts=shortcuts,
        means=mean_images(inspection.rows, kept, inspection.sketches, classes),
        rows=inspection.rows,
        rejections=inspection.rejections,
        samples=samples,
        corrected=list(zip(corrected, inspection.corrected.images[:MAX_CORRECTED], strict=True)),
        corrected_total=len(inspection.corrected.images),
        pairs=list(count_pairs(inspection.corrected.images)),
        quarantined=quarantined,
        clusters=clusters,
        members=members,
        marked=marked,
        thumbnails=_make_thumbnails(engine, inspection, set(shown), settings.dataset.limits.max_pixels),
        remedies={reason.value: remedy for reason, remedy in REMEDIES.items()},
        conversion=describe_conversion(inspection.conversion),
    )


def _originals(inspection: Inspection, quarantined: Sequence[int]) -> list[int]:
    """Return the kept images that the quarantined ones are copies of."""
    rejections = [inspection.rejections[index] for index in quarantined]
    return [found.original for found in rejections if found and found.original is not None]


def _make_thumbnails(
    engine: Engine, inspection: Inspection, shown: set[int], max_pixels: int
) -> dict[int, bytes]:
    """Make thumbnails by row; an image that does not decode has none."""
    options = DecodeOptions(inspection.conversion.conversion, max_pixels)
    decoded = (row for row in shown if not inspection.measurements[row].fault)
    return make_thumbnails(engine, paths.RAW, decoded, THUMBNAIL_SIDE, options)
