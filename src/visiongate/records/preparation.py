"""``reports/preparation``: the corrected and quarantined images, the near-duplicates and the counts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from visiongate.records.csv_rows import parse_rows, write_rows
from visiongate.records.files import write_json


@dataclass(frozen=True, slots=True)
class QuarantinedImage:
    """A row of ``quarantine.csv``: an image that preparation removes."""

    path: str
    label: str
    split: str | None
    sha256: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ClusteredImage:
    """A row of ``near_duplicates.csv``: an image of a cluster, with a reason if it is quarantined as a leak."""

    cluster: str
    path: str
    label: str
    split: str | None
    sha256: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class CorrectedImage:
    """A row of ``corrections.csv`` in the report: an image that a correction names.

    Attributes:
        source_label: The label of the source.
        label: The corrected label; None if the image is excluded.
        change: ``relabeled``, ``excluded`` or ``confirmed``.
    """

    path: str
    sha256: str
    source_label: str
    label: str | None
    change: str
    who: str
    when: str
    why: str


@dataclass(frozen=True, slots=True)
class CorrectionCounts:
    """How many corrections changed a label, exclude an image, confirm a label, or name an image that the data lack."""

    relabeled: int
    excluded: int
    confirmed: int
    unmatched: int


@dataclass(frozen=True, slots=True)
class Leak:
    """Images removed from one given split because a more protected one shows the same pictures.

    Attributes:
        source: The split that lost the images.
        into: The more protected split.
        exact: Images with the same bytes.
        near: Near-duplicates.
    """

    source: str
    into: str
    exact: int
    near: int


@dataclass(frozen=True, slots=True)
class NearDuplicateCounts:
    """Counts of clusters and of the images in them."""

    clusters: int
    images: int
    largest: int
    with_several_labels: int
    across_given_splits: int


@dataclass(frozen=True, slots=True)
class GivenSplitCounts:
    """The images of a given split, and how many of them a less protected split shows too."""

    images: int
    exposed: int


@dataclass(frozen=True, slots=True)
class PreparationSummary:
    """The content of ``summary.json``; reasons are in order of precedence."""

    images: int
    kept: int
    quarantined: int
    by_reason: dict[str, int]
    corrections: CorrectionCounts
    kept_per_class: dict[str, int]
    near_duplicates: NearDuplicateCounts
    leaks: list[Leak]
    given_splits: dict[str, GivenSplitCounts]


def write_summary(path: Path, summary: PreparationSummary) -> None:
    """Write ``summary.json``."""
    write_json(path, asdict(summary))


def write_quarantine(path: Path, images: Sequence[QuarantinedImage]) -> None:
    """Write ``quarantine.csv``."""
    write_rows(path, images, QuarantinedImage)


def parse_quarantine(content: bytes) -> tuple[QuarantinedImage, ...]:
    """Parse ``quarantine.csv``.

    Raises:
        DataError: The content is invalid.
    """
    return parse_rows(content, QuarantinedImage, "quarantine.csv")


def write_corrected(path: Path, images: Sequence[CorrectedImage]) -> None:
    """Write the corrections that were applied, as ``corrections.csv``."""
    write_rows(path, images, CorrectedImage)


def parse_corrected(content: bytes) -> tuple[CorrectedImage, ...]:
    """Parse the report's ``corrections.csv``.

    Raises:
        DataError: The content is invalid.
    """
    return parse_rows(content, CorrectedImage, "corrections.csv")


def write_near_duplicates(path: Path, images: Sequence[ClusteredImage]) -> None:
    """Write ``near_duplicates.csv``."""
    write_rows(path, images, ClusteredImage)
