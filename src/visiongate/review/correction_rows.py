"""Rows of the report's table on corrections: what changed in ``data/corrections.csv``, and by whom."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from visiongate.records.corrections import Correction
from visiongate.review.markdown import listing
from visiongate.review.rows import Row
from visiongate.review.snapshot import Snapshot

MAX_NAMES = 5


class Change(NamedTuple):
    """A kind of change; labels are None if they are unknown or do not apply."""

    kind: str
    source: str | None
    label: str | None


def correction_rows(current: Snapshot, base: Snapshot | None) -> list[Row]:
    """Return a row per kind of change: the kind, the label of the source, the new label, the images and the people."""
    if base is None or current.corrections is None or base.corrections is None:
        return []
    people = defaultdict[Change, list[str]](list)
    for change, who in _changes(current, base):
        people[change].append(who)
    ordered = sorted(people.items(), key=lambda item: (-len(item[1]), [part or "" for part in item[0]]))
    return [
        [*change, len(names), listing(sorted({name for name in names if name}), MAX_NAMES)]
        for change, names in ordered
    ]


def _changes(current: Snapshot, base: Snapshot) -> Iterator[tuple[Change, str]]:
    """Yield each correction that was added, changed or removed, with the person who made it."""
    now, before = current.corrections or {}, base.corrections or {}
    sources = _source_labels(base) | _source_labels(current)
    for sha256, correction in now.items():
        if sha256 not in before or before[sha256].label != correction.label:
            yield _describe(correction, sources), correction.who
    for sha256, correction in before.items():
        if sha256 not in now:
            change = _describe(correction, sources)
            yield change._replace(kind=f"undone: {change.kind}"), correction.who


def _describe(correction: Correction, sources: Mapping[str, str]) -> Change:
    source = sources.get(correction.sha256)
    if correction.exclude:
        return Change("excluded", source, None)
    return Change("confirmed" if correction.label == source else "relabeled", source, correction.label)


def _source_labels(snapshot: Snapshot) -> dict[str, str]:
    """Return the labels of the source by sha256. Of copies with several labels, one that was corrected counts."""
    labels: dict[str, str] = {}
    for image in snapshot.corrected or ():
        if image.change != "confirmed":
            labels[image.sha256] = image.source_label
        else:
            labels.setdefault(image.sha256, image.source_label)
    return labels
