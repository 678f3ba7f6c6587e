"""Which images are left out, and why: verdicts on rows of an image table from their measurements."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from visiongate.errors import DataError
from visiongate.images.extensions import claimed_format, is_misnamed
from visiongate.images.measurement import Measurement
from visiongate.records.splits import protection
from visiongate.settings.schema import Preparation

NAMED = 5  # other images that a detail names before it counts them


class Reason(StrEnum):
    """Why an image is quarantined, in order of precedence."""

    UNDECODABLE = "undecodable"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MODE = "unsupported_mode"
    WRONG_FORMAT = "wrong_format"
    ANIMATED = "animated"
    TOO_SMALL = "too_small"
    BLANK = "blank"
    LABEL_CONFLICT = "label_conflict"
    DUPLICATE = "duplicate"
    SPLIT_LEAK = "split_leak"


@dataclass(frozen=True, slots=True)
class Row:
    """What a verdict needs to know of an image besides its measurement."""

    path: str  # within the source
    label: str
    sha256: str  # of the encoded bytes
    split: str | None = None  # given by the source


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why one image is left out."""

    reason: Reason
    detail: str
    like: int | None = None  # the row of the kept image that it is a copy of


def judge(
    rows: Sequence[Row], measurements: Sequence[Measurement], limits: Preparation
) -> list[Verdict | None]:
    """Decide for each image whether it is kept (None), and if not, why.

    An image gets one reason, the first that holds of:

    1. ``undecodable``, ``truncated``, ``too_large``, ``unsupported_mode``: its pixels cannot be had; the detail is the
       decoder's message.
    2. ``wrong_format``: its extension claims another format than its bytes have. None, or one that is no image format's, claims
       nothing.
    3. ``animated``: it has several frames, and the label need not be the first one's.
    4. ``too_small``: a side is under ``limits.min_side`` pixels.
    5. ``blank``: its contrast is under ``limits.min_contrast``.
    6. ``label_conflict``: the same bytes bear another label elsewhere, so no label can be trusted and every copy is out, those
       under one label too; the detail names the copies under other labels, misnamed ones included.
    7. ``duplicate``: the same bytes with the same label are kept elsewhere; the detail names that path. Of copies in several
       given splits the one in test is kept, or else the one in val; of several in one split the first.

    ``split_leak`` comes after these and is another function's: `clusters.judge_leaks`.

    Raises:
        ValueError: There is not one measurement a row.
    """
    verdicts = [
        _judge_alone(row, measurement, limits) for row, measurement in zip(rows, measurements, strict=True)
    ]
    copies: defaultdict[str, list[int]] = defaultdict(list)
    for index, (row, verdict) in enumerate(zip(rows, verdicts, strict=True)):
        if verdict is None or verdict.reason is Reason.WRONG_FORMAT:
            copies[row.sha256].append(index)
    for group in copies.values():
        if len(group) > 1:
            for index, verdict in _judge_copies(rows, group, verdicts):
                verdicts[index] = verdict
    return verdicts


def check_rows(rows: Sequence[Row], images: int, classes: Sequence[str]) -> None:
    """Make sure that the table is whole and speaks of known classes only, before any image is judged.

    Args:
        rows: The table.
        images: How many there should be.
        classes: The labels there may be.

    Raises:
        DataError: The table has more or fewer rows, or a label that is no class.
    """
    if len(rows) != images:
        raise DataError(
            f"dataset.json speaks of {images} images, the table has {len(rows)}: run ingestion again"
        )
    known = set(classes)
    for row in rows:
        if row.label not in known:
            raise DataError(f"{row.path}: its label {row.label!r} is none of the classes in dataset.json")


def check_remaining(rows: Sequence[Row], verdicts: Sequence[Verdict | None], classes: Sequence[str]) -> None:
    """Make sure that every class still has an image.

    Raises:
        DataError: None is left at all, or a class has none left; a line for each, with the reasons, most frequent first.
    """
    if None not in verdicts:
        raise DataError(f"no image is left, {len(rows)} came in: {_tell(verdicts)}")
    by_class: dict[str, list[Verdict | None]] = {name: [] for name in classes}
    for row, verdict in zip(rows, verdicts, strict=True):
        by_class[row.label].append(verdict)
    empty = [
        f"class {name!r}: no image is left, {len(found)} came in" + (f": {_tell(found)}" if found else "")
        for name, found in by_class.items()
        if None not in found
    ]
    if empty:
        raise DataError("\n".join(empty))


def check_complete(images: int, kept: int, quarantined: int) -> None:
    """Make sure that every image is accounted for.

    Raises:
        DataError: An image is neither kept nor quarantined, or both.
    """
    if images != kept + quarantined:
        raise DataError(f"{images} images came in, but {kept} were kept and {quarantined} quarantined")


def count_reasons(verdicts: Iterable[Verdict | None]) -> dict[Reason, int]:
    """Count the quarantined by reason; every reason is there, in order of precedence."""
    counts = Counter(verdict.reason for verdict in verdicts if verdict)
    return {reason: counts[reason] for reason in Reason}


def tell_place(row: Row) -> str:
    """Name an image and its given split, if there is one."""
    return f"{row.path} ({row.split})" if row.split else row.path


def _judge_alone(row: Row, found: Measurement, limits: Preparation) -> Verdict | None:
    if found.fault:
        return Verdict(Reason(found.fault), str(found.error))
    if is_misnamed(row.path, str(found.format)):
        return Verdict(
            Reason.WRONG_FORMAT,
            f"named as {claimed_format(row.path)}, but its bytes are {found.format}",
        )
    if found.animated:
        return Verdict(Reason.ANIMATED, f"{found.format} of more than one frame")
    width, height, contrast = _known(found.width), _known(found.height), _known(found.contrast)
    if min(width, height) < limits.min_side:
        return Verdict(Reason.TOO_SMALL, f"{width:g}×{height:g} pixels, a side under {limits.min_side}")
    if contrast < limits.min_contrast:
        return Verdict(Reason.BLANK, f"contrast {contrast:.4g}, under {limits.min_contrast:g}")
    return None


def _known(value: float | None) -> float:
    """Take what every image without a fault has."""
    if value is None:
        raise ValueError("a measurement without a fault lacks a number")
    return value


def _judge_copies(
    rows: Sequence[Row], group: Sequence[int], verdicts: Sequence[Verdict | None]
) -> Iterator[tuple[int, Verdict]]:
    """Judge the images that share their bytes, given by index; those with a verdict already count as witnesses only."""
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for index in group:
        paths[rows[index].label].append(rows[index].path)
    judged = [index for index in group if verdicts[index] is None]
    if len(paths) > 1:
        for index in judged:
            yield index, Verdict(Reason.LABEL_CONFLICT, _name_others(paths, rows[index].label))
        return
    kept = max(judged, key=lambda index: (protection(rows[index].split), -index), default=None)
    for index in judged:
        if kept is not None and index != kept:
            yield index, Verdict(Reason.DUPLICATE, f"same bytes as {tell_place(rows[kept])}", kept)


def _name_others(paths: dict[str, list[str]], label: str) -> str:
    """Name the copies under other labels: a few, so that a thousand copies do not make a million names."""
    others = ((path, other) for other, found in paths.items() if other != label for path in found)
    named = ", ".join(f"{path} ({other})" for path, other in islice(others, NAMED))
    more = sum(len(found) for other, found in paths.items() if other != label) - NAMED
    return f"same bytes as {named}" + (f" and {more} more" if more > 0 else "")


def _tell(verdicts: Iterable[Verdict | None]) -> str:
    counts = Counter(verdict.reason for verdict in verdicts if verdict)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
