"""Apply the corrections that people made, before any image is quarantined."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from visiongate.errors import DataError
from visiongate.preparation.quality import ImageRow
from visiongate.records.corrections import Correction
from visiongate.records.preparation import CorrectedImage, CorrectionCounts

CONFIRMED, EXCLUDED, RELABELED = "confirmed", "excluded", "relabeled"


@dataclass(frozen=True, slots=True)
class CorrectedRows:
    """The rows of a data set after the corrections.

    Attributes:
        rows: With the corrected labels, in the table's order.
        excluded: Why an image is excluded, by its sha256.
        images: The images that a correction names, in the table's order.
        indices: The row of each of them.
        counts: Of the corrections.
    """

    rows: list[ImageRow]
    excluded: dict[str, str]
    images: list[CorrectedImage]
    indices: list[int]
    counts: CorrectionCounts


def apply_corrections(
    rows: Sequence[ImageRow], corrections: Mapping[str, Correction], classes: Sequence[str]
) -> CorrectedRows:
    """Replace the labels of corrected images, and list the excluded ones.

    A correction is for the bytes of an image, so that it applies to all copies and resolves a conflict between their labels.
    Without the image, it has no effect, and its label may be a class of another data set.

    Args:
        rows: All images, with the labels of the source.
        corrections: By sha256.
        classes: All labels.

    Raises:
        DataError: The corrected label of an image is not a class.
    """
    named = [index for index, row in enumerate(rows) if row.sha256 in corrections]
    _check_classes(
        [corrections[sha256] for sha256 in sorted({rows[index].sha256 for index in named})], classes
    )
    corrected = list(rows)
    for index in named:
        label = corrections[rows[index].sha256].label
        corrected[index] = replace(rows[index], label=rows[index].label if label is None else label)
    images = [_describe(rows[index], corrections[rows[index].sha256]) for index in named]
    excluded = {sha256: found.why for sha256, found in corrections.items() if found.exclude}
    return CorrectedRows(corrected, excluded, images, named, _count(images, len(corrections)))


def _check_classes(corrections: Iterable[Correction], classes: Sequence[str]) -> None:
    for correction in corrections:
        sha256, label = correction.sha256, correction.label
        if label is not None and label not in classes:
            raise DataError(
                f"data/corrections.csv: image {sha256}: label {label!r} is not a class of the data; the classes are "
                f"{', '.join(map(repr, classes))}; correct the line, or delete it with `visiongate correct {sha256} --undo`"
            )


def _describe(row: ImageRow, correction: Correction) -> CorrectedImage:
    change = EXCLUDED if correction.exclude else CONFIRMED if row.label == correction.label else RELABELED
    return CorrectedImage(
        row.path,
        row.sha256,
        row.label,
        correction.label,
        change,
        correction.who,
        correction.when,
        correction.why,
    )


def _count(images: Sequence[CorrectedImage], corrections: int) -> CorrectionCounts:
    """Count the corrections. One that relabels a copy and confirms another is a relabeling."""
    kinds: dict[str, str] = {}
    for image in images:
        if kinds.get(image.sha256) != RELABELED:
            kinds[image.sha256] = image.change
    totals = {kind: list(kinds.values()).count(kind) for kind in (RELABELED, EXCLUDED, CONFIRMED)}
    return CorrectionCounts(**totals, unmatched=corrections - len(kinds))


def count_pairs(images: Sequence[CorrectedImage]) -> Iterator[tuple[str, str, int]]:
    """Yield the old label, the new one and the number of relabeled images, the most frequent pair first."""
    pairs: dict[tuple[str, str], int] = {}
    for image in images:
        if image.change == RELABELED and image.label is not None:
            pairs[image.source_label, image.label] = pairs.get((image.source_label, image.label), 0) + 1
    for (source, label), found in sorted(pairs.items(), key=lambda item: (-item[1], item[0])):
        yield source, label, found
