"""Clusters of near-duplicates in a data set: their names, and the leaks between given splits."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from visiongate.preparation.near_duplicates import differences, find_clusters
from visiongate.preparation.quality import ImageRow, Reason, Rejection, Rejections
from visiongate.records.measurements import SKETCH_SIDE, Sketches
from visiongate.records.preparation import Leak
from visiongate.records.splits import SPLITS, protection
from visiongate.settings.preparation import NearDuplicates

# In hexadecimal digits.
NAME_LENGTH = 16
# Images of a protected split among which the most similar one is searched.
MAX_COMPARED = 64


@dataclass(frozen=True, slots=True)
class Cluster:
    """Images that show the same picture.

    Attributes:
        name: The start of its members' smallest sha256, so that new images rename no other cluster.
        members: Rows of the table, in its order.
    """

    name: str
    members: list[int]


@dataclass(frozen=True, slots=True)
class Clusters:
    """The clusters among the images that are not quarantined so far, sorted by name.

    Attributes:
        source: Of the images of the source alone, so that collected ones change neither their splits nor their leaks.
        every: Of all images.
    """

    source: list[Cluster]
    every: list[Cluster]

    def with_collected(self, rows: Sequence[ImageRow]) -> list[Cluster]:
        """Return the clusters that have a collected image."""
        return [found for found in self.every if any(rows[index].collected for index in found.members)]


def find_all_clusters(
    rows: Sequence[ImageRow], sketches: Sketches, rejections: Rejections, limits: NearDuplicates
) -> Clusters:
    """Return the clusters with and without the collected images."""
    every = name_clusters(rows, sketches, rejections, limits)
    if not any(row.collected for row in rows):
        return Clusters(every, every)
    # A collected image is left out like a quarantined one.
    chosen = [row.collected or rejection for row, rejection in zip(rows, rejections, strict=True)]
    return Clusters(name_clusters(rows, sketches, chosen, limits), every)


def name_clusters(
    rows: Sequence[ImageRow], sketches: Sketches, left_out: Sequence[object], limits: NearDuplicates
) -> list[Cluster]:
    """Return the clusters among the images that are not left out, sorted by name.

    Args:
        rows: All images.
        sketches: Of each image.
        left_out: A true value for each image to leave out, such as its rejection.
        limits: The thresholds.
    """
    chosen = np.array([not each for each in left_out], dtype=np.bool_)
    clusters = [
        Cluster(min(rows[index].sha256 for index in members)[:NAME_LENGTH], members)
        for members in find_clusters(sketches, limits, chosen)
    ]
    return sorted(clusters, key=lambda cluster: cluster.name)


def find_leaks(
    rows: Sequence[ImageRow], sketches: Sketches, clusters: Sequence[Cluster]
) -> dict[int, Rejection]:
    """Return the images whose picture is in a more protected given split too: test before val before train.

    A cluster keeps the images of its most protected split, and those without a given split, which will follow them.

    Returns:
        By row, a ``split_leak`` that names the most similar of the images that stay.
    """
    rejections = {}
    for cluster in clusters:
        highest = max(protection(rows[index].split) for index in cluster.members)
        protected = [index for index in cluster.members if protection(rows[index].split) == highest]
        for index in cluster.members:
            if 0 < protection(rows[index].split) < highest:
                original = _find_most_similar(index, protected, sketches)
                detail = f"near-duplicate of {rows[original]}"
                rejections[index] = Rejection(Reason.SPLIT_LEAK, detail, original)
    return rejections


def count_leaks(rows: Sequence[ImageRow], rejections: Rejections) -> list[Leak]:
    """Count the images quarantined from each given split because another one has them, most protected split first."""
    counts: Counter[tuple[str, str, Reason]] = Counter()
    for row, original, reason in _across_splits(rows, rejections):
        counts[str(row.split), str(original.split), reason] += 1
    return [
        Leak(source, into, counts[source, into, Reason.DUPLICATE], counts[source, into, Reason.SPLIT_LEAK])
        for into in reversed(SPLITS)
        for source in SPLITS
        if counts[source, into, Reason.DUPLICATE] or counts[source, into, Reason.SPLIT_LEAK]
    ]


def count_exposed(
    rows: Sequence[ImageRow], rejections: Rejections, clusters: Sequence[Cluster]
) -> dict[str, int]:
    """Count the images of each given split that a less protected one shows too, as bytes or as near-duplicates."""
    exposed = defaultdict[str, set[str]](set)
    for _, original, reason in _across_splits(rows, rejections):
        if reason is Reason.DUPLICATE:
            exposed[str(original.split)].add(original.path)
    for cluster in clusters:
        given = [rows[index] for index in cluster.members if rows[index].split]
        lowest = min((protection(row.split) for row in given), default=0)
        for row in given:
            if protection(row.split) > lowest:
                exposed[str(row.split)].add(row.path)
    splits = {row.split for row in rows}
    return {split: len(exposed[split]) for split in SPLITS if split in splits}


def kept_clusters(clusters: Sequence[Cluster], rejections: Rejections) -> Iterator[tuple[int, str]]:
    """Yield the row and the cluster of each kept image that is in a cluster with another kept one."""
    for cluster in clusters:
        kept = [index for index in cluster.members if rejections[index] is None]
        if len(kept) > 1:
            yield from ((index, cluster.name) for index in kept)


def choose_clusters(clusters: Sequence[Cluster], marked: Sequence[set[str]], limit: int) -> list[Cluster]:
    """Choose clusters to show: marked ones first, and the largest first.

    Args:
        clusters: All clusters.
        marked: Sets of names, the most important set first.
        limit: How many at most.
    """

    def rank(cluster: Cluster) -> int:
        return next((rank for rank, names in enumerate(marked) if cluster.name in names), len(marked))

    return sorted(clusters, key=lambda found: (rank(found), -len(found.members), found.name))[:limit]


def _across_splits(
    rows: Sequence[ImageRow], rejections: Rejections
) -> Iterator[tuple[ImageRow, ImageRow, Reason]]:
    """Yield each quarantined copy of an image in another given split, with that image and the reason."""
    for row, rejection in zip(rows, rejections, strict=True):
        if rejection and rejection.original is not None:
            original = rows[rejection.original]
            if row.split and original.split and row.split != original.split:
                yield row, original, rejection.reason


def _find_most_similar(index: int, others: Sequence[int], sketches: Sketches) -> int:
    """Return the image that differs least from one, among the first `MAX_COMPARED`."""
    compared = list(others[:MAX_COMPARED])
    one, flat = (sketches[rows].reshape(-1, SKETCH_SIDE**2) for rows in ([index], compared))
    distances = differences(np.broadcast_to(one, flat.shape), flat)
    return compared[int(distances.argmin())]
