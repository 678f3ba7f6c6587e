"""Clusters of near-duplicates within a data set: their names, what they leak between given splits, what they tell of labels."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from visiongate.images.measurement import SKETCH_SIDE, Measurement
from visiongate.preparation.near_duplicates import Sketches, differences, find_clusters
from visiongate.preparation.quality import Reason, Row, Verdict, tell_place
from visiongate.records.splits import SPLITS, protection
from visiongate.settings.schema import NearDuplicates

NAME_LENGTH = 16  # hexadecimal digits
COMPARED = 64  # images of a protected split among which the likest is looked for


@dataclass(frozen=True, slots=True)
class Cluster:
    """Images that show the same picture, as rows of the table in its order."""

    name: (
        str  # the start of its members' smallest sha256, so that no other cluster is renamed when images come
    )
    members: list[int]


@dataclass(frozen=True, slots=True)
class Leak:
    """What one given split holds of another: images left out of it because that one has the same picture."""

    source: str
    into: str  # the more protected split
    exact: int  # by the same bytes
    near: int


def stack_sketches(measurements: Sequence[Measurement]) -> Sketches:
    """Stack the sketches of images without a fault: uint8, N×32×32."""
    pixels = b"".join(found.sketch for found in measurements if found.sketch)
    return np.frombuffer(pixels, dtype=np.uint8).reshape(len(measurements), SKETCH_SIDE, SKETCH_SIDE)


def name_clusters(
    rows: Sequence[Row],
    measurements: Sequence[Measurement],
    verdicts: Sequence[Verdict | None],
    limits: NearDuplicates,
) -> list[Cluster]:
    """Find the clusters among the images that are kept so far, in the order of their names."""
    kept = [index for index, verdict in enumerate(verdicts) if verdict is None]
    sketches = stack_sketches([measurements[index] for index in kept])
    clusters = []
    for found in find_clusters(sketches, limits):
        members = [kept[place] for place in found]
        clusters.append(Cluster(min(rows[index].sha256 for index in members)[:NAME_LENGTH], members))
    return sorted(clusters, key=lambda cluster: cluster.name)


def judge_leaks(
    rows: Sequence[Row], measurements: Sequence[Measurement], clusters: Sequence[Cluster]
) -> dict[int, Verdict]:
    """Judge the images whose picture is in a more protected given split too: test before val before train.

    Only the images of a cluster's most protected split stay, and those that no split was given for, which will follow them.

    Returns:
        A ``split_leak`` for each image to be left out, by row; the detail names the likest of the others.
    """
    verdicts = {}
    for cluster in clusters:
        highest = max(protection(rows[index].split) for index in cluster.members)
        protected = [index for index in cluster.members if protection(rows[index].split) == highest]
        for index in cluster.members:
            if 0 < protection(rows[index].split) < highest:
                like = _likest(index, protected, measurements)
                detail = f"near-duplicate of {tell_place(rows[like])}"
                verdicts[index] = Verdict(Reason.SPLIT_LEAK, detail, like)
    return verdicts


def count_leaks(rows: Sequence[Row], verdicts: Sequence[Verdict | None]) -> list[Leak]:
    """Count what was left out of each given split because another has it, the most protected first."""
    counts: Counter[tuple[str, str, Reason]] = Counter()
    for row, other, reason in _across_splits(rows, verdicts):
        counts[str(row.split), str(other.split), reason] += 1
    return [
        Leak(source, into, counts[source, into, Reason.DUPLICATE], counts[source, into, Reason.SPLIT_LEAK])
        for into in reversed(SPLITS)
        for source in SPLITS
        if counts[source, into, Reason.DUPLICATE] or counts[source, into, Reason.SPLIT_LEAK]
    ]


def count_exposed(
    rows: Sequence[Row], verdicts: Sequence[Verdict | None], clusters: Sequence[Cluster]
) -> dict[str, int]:
    """Count the images of each given split that a less protected one shows too, as bytes or as near-duplicates."""
    exposed = defaultdict[str, set[str]](set)
    for _, other, reason in _across_splits(rows, verdicts):
        if reason is Reason.DUPLICATE:
            exposed[str(other.split)].add(other.path)
    for cluster in clusters:
        lowest = min(
            (protection(rows[index].split) for index in cluster.members if rows[index].split), default=0
        )
        for row in (rows[index] for index in cluster.members):
            if row.split and protection(row.split) > lowest:
                exposed[row.split].add(row.path)
    given = {row.split for row in rows}
    return {split: len(exposed[split]) for split in SPLITS if split in given}


def kept_clusters(
    clusters: Sequence[Cluster], verdicts: Sequence[Verdict | None]
) -> Iterator[tuple[int, str]]:
    """Yield row and cluster of the kept images that are still in a cluster with another."""
    for cluster in clusters:
        kept = [index for index in cluster.members if verdicts[index] is None]
        if len(kept) > 1:
            yield from ((index, cluster.name) for index in kept)


def choose_clusters(clusters: Sequence[Cluster], marked: Sequence[set[str]], limit: int) -> list[Cluster]:
    """Choose clusters to be shown: marked ones before others, and the largest first.

    Args:
        clusters: All clusters.
        marked: The names of those that should be seen, in sets, the most urgent first.
        limit: At most so many.
    """

    def urgency(cluster: Cluster) -> int:
        return next((rank for rank, names in enumerate(marked) if cluster.name in names), len(marked))

    return sorted(clusters, key=lambda found: (urgency(found), -len(found.members), found.name))[:limit]


def _across_splits(
    rows: Sequence[Row], verdicts: Sequence[Verdict | None]
) -> Iterator[tuple[Row, Row, Reason]]:
    """Yield each image left out as the copy of one in another given split, that other, and the reason."""
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict and verdict.like is not None:
            other = rows[verdict.like]
            if row.split and other.split and row.split != other.split:
                yield row, other, verdict.reason


def _likest(index: int, others: Sequence[int], measurements: Sequence[Measurement]) -> int:
    """Find the image that one differs least from, among so many that it costs little."""
    compared = others[:COMPARED]
    sketches = stack_sketches([measurements[other] for other in [index, *compared]]).reshape(
        -1, SKETCH_SIDE**2
    )
    apart = differences(np.broadcast_to(sketches[:1], sketches[1:].shape), sketches[1:])
    return compared[int(apart.argmin())]
