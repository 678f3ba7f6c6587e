"""Which images preparation quarantines, and why."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from types import MappingProxyType

from visiongate.errors import DataError
from visiongate.images.decoding import Fault
from visiongate.records.collected_paths import is_collected
from visiongate.records.measurements import Measurement
from visiongate.records.splits import protection
from visiongate.settings.preparation import Preparation

# Copies in a detail.
MAX_NAMED = 5
# Paths in a message.
MAX_EXAMPLES = 3


class Reason(StrEnum):
    """Why an image is quarantined, in order of precedence."""

    EXCLUDED = "excluded"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNDECODABLE = "undecodable"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MODE = "unsupported_mode"
    ANIMATED = "animated"
    TOO_SMALL = "too_small"
    BLANK = "blank"
    LABEL_CONFLICT = "label_conflict"
    DUPLICATE = "duplicate"
    SPLIT_LEAK = "split_leak"


# What to do about the images of each reason, and the command or the option of ``dvc exp run`` for it, if there is one.
_AGAIN = "download or copy such files again"
REMEDIES = {
    Reason.EXCLUDED: ("to keep such an image, undo its correction", "visiongate correct SHA256 --undo"),
    Reason.UNSUPPORTED_FORMAT: ("see the detail of each file", ""),
    Reason.UNDECODABLE: (_AGAIN, ""),
    Reason.TRUNCATED: (_AGAIN, ""),
    Reason.TOO_LARGE: ("scale such images down, or raise dataset.limits.max_pixels", ""),
    Reason.UNSUPPORTED_MODE: ("save such images with 8 or 16 bits per sample", ""),
    Reason.ANIMATED: ("save the frame that the label describes as an image", ""),
    Reason.TOO_SMALL: ("enlarging adds no detail; to keep such images", "-S preparation.min_side=1"),
    Reason.BLANK: (
        "set dataset.background or dataset.depth if they are not blank; to keep such images",
        "-S preparation.min_contrast=0.0",
    ),
    Reason.LABEL_CONFLICT: (
        "give one of the copies the right label, which all of them get",
        "visiongate correct PATH --label CLASS",
    ),
    Reason.DUPLICATE: ("nothing to do: the other copy is kept", ""),
    Reason.SPLIT_LEAK: ("nothing to do: the image in the more protected split is kept", ""),
}


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A row of the image table without the bytes.

    Attributes:
        path: Within the source.
        label: Class name.
        sha256: Of the encoded bytes.
        split: Given by the source, if it gives one.
    """

    path: str
    label: str
    sha256: str
    split: str | None = None

    @property
    def collected(self) -> bool:
        """Whether the service collected the image."""
        return is_collected(self.path, self.sha256)

    def __str__(self) -> str:
        """Return the path and the given split."""
        return f"{self.path} ({self.split})" if self.split else self.path


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an image is quarantined; ``original`` is the row of the kept image that it is a copy of."""

    reason: Reason
    detail: str
    original: int | None = None


Rejections = Sequence[Rejection | None]


def find_rejections(
    rows: Sequence[ImageRow],
    measurements: Sequence[Measurement],
    limits: Preparation,
    excluded: Mapping[str, str] = MappingProxyType({}),
) -> list[Rejection | None]:
    """Return for each image why it is quarantined, or None if it is kept.

    An image gets the first reason that applies:

    1. ``excluded``: a person excluded it.
    2. ``unsupported_format``, ``undecodable``, ``truncated``, ``too_large``, ``unsupported_mode``: it does not decode; the
       detail is the decoder's message.
    3. ``animated``: it has several frames, and its label may describe any of them.
    4. ``too_small``: a side has fewer than ``limits.min_side`` pixels.
    5. ``blank``: its contrast is below ``limits.min_contrast``.
    6. ``label_conflict``: an image with another label has the same bytes. All copies are quarantined, because no label can be
       trusted. If only a collected image contradicts the source, only the collected one is quarantined.
    7. ``duplicate``: an image with the same label and bytes is kept. One of the source goes before a collected one. Of copies
       in several given splits the one in test is kept, or else the one in val; of several in one split the first.

    `clusters.find_leaks` adds ``split_leak`` afterwards.

    Args:
        rows: All images, with corrected labels.
        measurements: Of each image.
        limits: The settings.
        excluded: Why a person excluded an image, by its sha256.
    """
    rejections = [
        Rejection(Reason.EXCLUDED, f"by correction: {excluded[row.sha256]}")
        if row.sha256 in excluded
        else _check_image(measurement, limits)
        for row, measurement in zip(rows, measurements, strict=True)
    ]
    copies: defaultdict[str, list[int]] = defaultdict(list)
    for index, (row, rejection) in enumerate(zip(rows, rejections, strict=True)):
        if rejection is None:
            copies[row.sha256].append(index)
    for group in copies.values():
        if len(group) > 1:
            for index, rejection in _check_copies(rows, group):
                rejections[index] = rejection
    return rejections


def check_rows(rows: Sequence[ImageRow], images: int, classes: Sequence[str]) -> None:
    """Check that the table has as many rows as ``dataset.json`` says, and only its classes.

    Raises:
        DataError: It has more or fewer rows, or an unknown label.
    """
    if len(rows) != images:
        raise DataError(f"dataset.json lists {images} images, the table has {len(rows)}; rerun ingestion")
    known = set(classes)
    for row in rows:
        if row.label not in known:
            raise DataError(
                f"{row.path}: label {row.label!r} is not a class of dataset.json; rerun ingestion"
            )


def check_remaining(rows: Sequence[ImageRow], rejections: Rejections, classes: Sequence[str]) -> None:
    """Check that every class still has an image.

    Raises:
        DataError: A class has none left; one line per class with its reasons, the most frequent first.
    """
    by_class: dict[str, list[tuple[ImageRow, Rejection | None]]] = {name: [] for name in classes}
    for row, rejection in zip(rows, rejections, strict=True):
        by_class[row.label].append((row, rejection))
    empty = [
        f"class {name!r}: none of {len(found)} images is left; "
        + ("; ".join(_describe_reasons(found)) if found else "add images, or remove it from dataset.classes")
        for name, found in by_class.items()
        if all(rejection for _, rejection in found)
    ]
    if empty:
        raise DataError("\n".join(empty))


def describe_quarantine(rows: Sequence[ImageRow], rejections: Rejections) -> list[str]:
    """Return a line for each reason for which a file is quarantined although it decodes, the most frequent first."""
    faults = {fault.value for fault in Fault}
    found = [
        (row, rejection)
        for row, rejection in zip(rows, rejections, strict=True)
        if rejection and rejection.reason.value not in faults
    ]
    return list(_describe_reasons(found))


def count_reasons(rejections: Iterable[Rejection | None]) -> dict[str, int]:
    """Count the quarantined images by reason; all reasons are listed, in order of precedence."""
    counts = Counter(rejection.reason for rejection in rejections if rejection)
    return {reason.value: counts[reason] for reason in Reason}


def _check_image(found: Measurement, limits: Preparation) -> Rejection | None:
    if found.fault:
        return Rejection(Reason(found.fault), str(found.error))
    if found.animated:
        return Rejection(Reason.ANIMATED, f"{found.format} with more than one frame")
    # An image without a fault has these numbers.
    width, height, contrast = found.width or 0, found.height or 0, found.contrast or 0.0
    if min(width, height) < limits.min_side:
        return Rejection(Reason.TOO_SMALL, f"{width}×{height} pixels, a side below {limits.min_side}")
    if contrast < limits.min_contrast:
        return Rejection(Reason.BLANK, f"contrast {contrast:.4g}, below {limits.min_contrast:g}")
    return None


def _check_copies(rows: Sequence[ImageRow], group: Sequence[int]) -> Iterator[tuple[int, Rejection]]:
    """Yield the rejections of images with the same bytes."""
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for index in group:
        paths[rows[index].label].append(rows[index].path)
    # Collected images change nothing about those of the source.
    source = [index for index in group if not rows[index].collected] or group
    kept = max(source, key=lambda index: (protection(rows[index].split), -index))
    is_conflict = len({rows[index].label for index in source}) > 1
    for index in group:
        if is_conflict or rows[index].label != rows[kept].label:
            yield index, Rejection(Reason.LABEL_CONFLICT, _name_others(paths, rows[index].label))
        elif index != kept:
            yield index, Rejection(Reason.DUPLICATE, f"same bytes as {rows[kept]}", kept)


def _name_others(paths: dict[str, list[str]], label: str) -> str:
    """Name a few copies under other labels, and count the rest."""
    others = ((path, other) for other, found in paths.items() if other != label for path in found)
    named = ", ".join(f"{path} ({other})" for path, other in islice(others, MAX_NAMED))
    more = sum(len(found) for other, found in paths.items() if other != label) - MAX_NAMED
    return f"same bytes as {named}" + (f" and {more} more" if more > 0 else "")


def _describe_reasons(found: Iterable[tuple[ImageRow, Rejection | None]]) -> Iterator[str]:
    """Yield the number of images of each reason, with a few paths and what to do."""
    by_reason: defaultdict[Reason, list[str]] = defaultdict(list)
    for row, rejection in found:
        if rejection:
            by_reason[rejection.reason].append(row.path)
    for reason, paths in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        examples = ", ".join(paths[:MAX_EXAMPLES])
        remedy = ": ".join(part for part in REMEDIES[reason] if part)
        yield f"{len(paths):,} {reason}, such as {examples} ({remedy})"
