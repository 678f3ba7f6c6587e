"""Which images train, which validate, which test: a function of the images' own content, so that new ones move no old one."""

import hashlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from visiongate.errors import DataError
from visiongate.images.table import read_table
from visiongate.records.clusters import read_clusters
from visiongate.records.splits import SPLITS, protection
from visiongate.settings.schema import Split

Key = TypeVar("Key")


class Candidate(NamedTuple):
    """What an image's split depends on."""

    sha256: str
    label: str
    given: str | None = None  # the source's own split
    group: str | None = None  # a patient, say
    cluster: str | None = None  # of near-duplicates


@dataclass(frozen=True, slots=True)
class _Set:
    """Images that are drawn as one."""

    members: list[int]
    place: float  # in [0, 1)
    among: list[str]  # splits that it may be drawn into

    def move(self, split: str, splits: list[str]) -> None:
        """Put all members into a split."""
        for member in self.members:
            splits[member] = split


def assign_splits(images: Sequence[Candidate], split: Split) -> list[str]:
    """Assign each image to a split.

    Images of one group or of one cluster are joined, and so is what these join in turn. A split that the source gives is kept,
    but a ``val`` or ``test`` that it does not give is drawn out of its ``train``. What is joined and not given is drawn as one,
    by one key: that of its members' keys, groups or else hashes of contents, which comes first in the order of their own
    hashes. An image without a given split that is joined to others with one goes where they are, and so do those without that
    it is joined to: to their clusters' before their groups', and to the most protected of several (test, val, train).

    The key says nothing of the place it leads to, so joined images are drawn at the same shares as single ones, and so is every
    class; the shares hold up to the chance of the draw. Since a key is a member's own, an image that comes later moves only
    images that it is itself joined to: it brings k keys another with a chance of 1 / (k + 1), and another key is another split
    by chance only; of two sets that it joins, one keeps its key. An image of a known group, near-duplicate of nothing outside
    it, moves nobody at all.

    A class with so few images that a split is left without it gets there, of those drawn, the set of joined images whose place
    is nearest, if no other class loses its last image by that. Such a set may move back once the class has more images.

    Args:
        images: All images of the data set.
        split: The shares and the seed.

    Returns:
        ``train``, ``val`` or ``test`` for each image.

    Raises:
        DataError: A split would have no image of some class.
    """
    sets = _gather(images, split.seed)
    splits = [""] * len(images)
    for found in sets:
        found.move(_draw(found.place, found.among, split), splits)
    labels = [image.label for image in images]
    _supply(splits, sets, labels, split)
    _check_classes(splits, labels)
    return splits


def position(key: str, seed: int) -> float:
    """Place a key in [0, 1), uniformly and for ever, by SHA-256."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    # Six bytes: every such fraction is an exact float, and the largest stays below 1.
    return int.from_bytes(digest[:6], "big") / 2**48


def read_candidates(directory: Path) -> list[Candidate]:
    """Read what the splits of a prepared table depend on, in its order.

    Raises:
        DataError: There is no table, or no ``near_duplicates.csv`` beside it.
    """
    clusters = read_clusters(directory)
    table = read_table(directory, ["sha256", "label", "split", "group"]).to_pydict()
    return [
        Candidate(sha256, label, split, group, clusters.get(sha256))
        for sha256, label, split, group in zip(*table.values(), strict=True)
    ]


def _gather(images: Sequence[Candidate], seed: int) -> list[_Set]:
    """Gather what is drawn as one: joined images that one given split binds, or none."""
    joined = _join(images)
    keys, given = _keys(images, joined), _given(images)
    told = {image.given for image in images}
    among: dict[str | None, list[str]] = {
        None: list(SPLITS),
        "train": [name for name in SPLITS if name == "train" or name not in told],
    }
    members = defaultdict[tuple[int, str | None], list[int]](list)
    for index, found in enumerate(zip(joined, given, strict=True)):
        members[found].append(index)
    return [
        _Set(found, position(keys[number], seed), among.get(own, [str(own)]))
        for (number, own), found in members.items()
    ]


def _supply(splits: list[str], sets: Sequence[_Set], labels: Sequence[str], split: Split) -> None:
    """Move the nearest set into each split that a class is missing from, where one can be spared."""
    counts = Counter(zip(splits, labels, strict=True))
    missing = [
        (label, name) for label in sorted(set(labels)) for name in reversed(SPLITS) if not counts[name, label]
    ]
    for label, name in missing:
        spare = (
            found
            for found in sets
            if name in found.among and _can_spare(found, label, splits, labels, counts)
        )
        nearest = min(spare, key=lambda found: _distance(found, name, split), default=None)
        if nearest is not None:
            of_set = Counter(labels[member] for member in nearest.members)
            counts.subtract({(splits[nearest.members[0]], of): count for of, count in of_set.items()})
            counts.update({(name, of): count for of, count in of_set.items()})
            nearest.move(name, splits)


def _can_spare(
    found: _Set,
    label: str,
    splits: Sequence[str],
    labels: Sequence[str],
    counts: Mapping[tuple[str, str], int],
) -> bool:
    """Tell whether a set has a class, and its split has more of all the classes that it has."""
    of_set = Counter(labels[member] for member in found.members)
    own = splits[found.members[0]]
    return label in of_set and all(counts[own, of] > count for of, count in of_set.items())


def _distance(found: _Set, name: str, split: Split) -> float:
    """Tell how far a set's place is from the interval that is drawn into a split."""
    edges = _edges(found.among, split)
    place = found.among.index(name)
    return max(edges[place] - found.place, found.place - edges[place + 1])


def _join(images: Sequence[Candidate]) -> list[int]:
    """Number the sets of joined images: the same number for those that groups and clusters connect."""
    knots: dict[tuple[str, str], int] = {}
    edges: list[tuple[int, int]] = []
    for place, image in enumerate(images):
        edges.extend((place, knots.setdefault(knot, len(images) + len(knots))) for knot in _knots(image))
    count = len(images) + len(knots)
    one, other = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(count, count))
    labels: list[int] = connected_components(graph, directed=False)[1][: len(images)].tolist()
    return labels


def _keys(images: Sequence[Candidate], joined: Sequence[int]) -> dict[int, str]:
    """Choose each set's key by hash, so that names that sort before others do not take over."""
    members = defaultdict[int, set[str]](set)
    for image, place in zip(images, joined, strict=True):
        members[place].add(image.group or image.sha256)
    return {
        place: min(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
        for place, keys in members.items()
    }


def _given(images: Sequence[Candidate]) -> list[str | None]:
    """Find the given split that binds each image: its own, or else that of what it is joined to."""
    free = [place for place, image in enumerate(images) if not image.given]
    told = _most_protected((knot, image.given) for image in images if image.given for knot in _knots(image))
    joined = _join([images[place] for place in free])
    bound = {
        kind: _most_protected(
            (own, told[knot])
            for own, place in zip(joined, free, strict=True)
            for knot in _knots(images[place])
            if knot in told and knot[0] == kind
        )
        for kind in ("cluster", "group")
    }
    given = [image.given for image in images]
    for own, place in zip(joined, free, strict=True):
        given[place] = bound["cluster"].get(own) or bound["group"].get(own)
    return given


def _most_protected(splits: Iterable[tuple[Key, str]]) -> dict[Key, str]:
    found: dict[Key, str] = {}
    for key, split in splits:
        if protection(split) > protection(found.get(key)):
            found[key] = split
    return found


def _knots(image: Candidate) -> list[tuple[str, str]]:
    """Name what joins an image to others."""
    return [(kind, name) for kind, name in (("group", image.group), ("cluster", image.cluster)) if name]


def _draw(place: float, among: Sequence[str], split: Split) -> str:
    """Find the split in which a place lies, where those of ``among`` share out [0, 1)."""
    # The last edge is 1 but for rounding.
    return among[min(bisect_right(_edges(among, split), place), len(among)) - 1]


def _edges(among: Sequence[str], split: Split) -> list[float]:
    """Return where each split begins, and the last ends."""
    shares: list[float] = [getattr(split, name) for name in among]
    return [0.0, *(edge / sum(shares) for edge in accumulate(shares))]


def _check_classes(splits: Sequence[str], labels: Sequence[str]) -> None:
    seen = set(zip(splits, labels, strict=True))
    for label in sorted(set(labels)):
        empty = [split for split in SPLITS if (split, label) not in seen]
        if empty:
            raise DataError(
                f"class {label!r} has no image in {' and '.join(empty)}: it needs more images, "
                "or transformation.split other shares or another seed"
            )
