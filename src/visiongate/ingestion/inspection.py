"""Understand a data set without writing anything."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from statistics import median

from visiongate.images.measurement import measure_images
from visiongate.ingestion.fetching import DownloadOptions
from visiongate.ingestion.opening import open_source
from visiongate.ingestion.source import Source
from visiongate.records.splits import SPLITS
from visiongate.settings.dataset import Dataset
from visiongate.text_tables import format_table

# Images whose size is read.
SAMPLE = 20


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a data set holds.

    Attributes:
        layout: How the folders were understood, in one line.
        classes: Class names in the order of the model's outputs.
        images: Number of images by class and given split; the split is None if the source gives none.
        ignored: Number of files that are not images of a class, by reason.
        warnings: What a person should check.
        extras: Number of images whose names claim a format that needs a package, by its name in ``dataset.extras``.
        side: Median of the shorter sides of the first images, in pixels; None if none can be read.
    """

    layout: str
    classes: list[str]
    images: Counter[tuple[str, str | None]]
    ignored: Counter[str]
    warnings: tuple[str, ...]
    extras: Counter[str] = field(default_factory=Counter)
    side: int | None = None

    def lines(self) -> Iterator[str]:
        """Yield the layout, a table of the images by class and split, the ignored files and the warnings."""
        yield self.layout
        given = {split for _, split in self.images}
        splits = [name for name in (*SPLITS, None) if name in given]
        header = ["class", *(name or "images" for name in splits)]
        rows = [[name, *(f"{self.images[name, split]:,}" for split in splits)] for name in self.classes]
        yield from format_table(header, rows).splitlines()
        for reason, count in sorted(self.ignored.items()):
            yield f"ignored: {count:,} {reason}"
        yield from (f"warning: {warning}" for warning in self.warnings)


def inspect_source(dataset: Dataset, downloads: DownloadOptions) -> Inspection:
    """Read the folders, the names and the first images of a data set; what is missing is downloaded.

    Raises:
        DataError: The data set is missing, cannot be downloaded or cannot be read as labeled images.
    """
    with open_source(dataset, downloads) as opened:
        source = opened.source
        return Inspection(
            source.layout,
            source.classes,
            source.counts,
            source.ignored,
            source.warnings,
            source.extras,
            _measure_side(source),
        )


def _measure_side(source: Source) -> int | None:
    sample = measure_images(image.image for image in islice(source.read(), SAMPLE))
    sides = [min(image.width, image.height) for image in sample if image.width and image.height]
    return round(median(sides)) if sides else None
