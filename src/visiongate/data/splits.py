"""Which images train, which validate, which test: a function of the images' own content, so that new ones move no old one."""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from visiongate.config import Split
from visiongate.data.image_table import read_table
from visiongate.errors import DataError
from visiongate.files import write_csv

SPLITS = ("train", "val", "test")  # the more protected the later
CLUSTERS = "near_duplicates.csv"

Key = TypeVar("Key")


class Candidate(NamedTuple):
    """What an image's split depends on."""

    sha256: str
    label: str
    given: str | None = None  # the source's own split
    group: str | None = None  # a patient, say
    cluster: str | None = None  # of near-duplicates


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
    it, moves nobody at all. For the same reason a class is not promised an image in every split: whoever keeps such a promise
    must move an old image once a new one keeps it too.

    Args:
        images: All images of the data set.
        split: The shares and the seed.

    Returns:
        ``train``, ``val`` or ``test`` for each image.

    Raises:
        DataError: A split would have no image of some class.
    """
    joined = _join(images)
    keys, given = _keys(images, joined), _given(images)
    told = {image.given for image in images}
    drawn: dict[str | None, list[str]] = {
        None: list(SPLITS),
        "train": [name for name in SPLITS if name == "train" or name not in told],
    }
    splits = [
        _draw(position(keys[place], split.seed), drawn.get(own, [str(own)]), split)
        for place, own in zip(joined, given, strict=True)
    ]
    _check_classes(splits, [image.label for image in images])
    return splits


def position(key: str, seed: int) -> float:
    """Place a key in [0, 1), uniformly and for ever, by SHA-256."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    # Six bytes: every such fraction is an exact float, and the largest stays below 1.
    return int.from_bytes(digest[:6], "big") / 2**48


def protection(split: str | None) -> int:
    """Rank a given split by how little its images may be known elsewhere: none, train, val, test."""
    return SPLITS.index(split) + 1 if split else 0


def read_candidates(directory: Path) -> list[Candidate]:
    """Read what the splits of a prepared table depend on, in its order.

    Raises:
        DataError: There is no table, or no ``near_duplicates.csv`` beside it.
    """
    path = directory / CLUSTERS
    if not path.exists():
        raise DataError(f"{path}: no such file; `dvc repro` makes it, `dvc pull` fetches it")
    with path.open(encoding="utf-8", newline="") as file:
        clusters = {row["sha256"]: row["cluster"] for row in csv.DictReader(file)}
    table = read_table(directory, ["sha256", "label", "split", "group"]).to_pydict()
    return [
        Candidate(sha256, label, split, group, clusters.get(sha256))
        for sha256, label, split, group in zip(*table.values(), strict=True)
    ]


def write_clusters(directory: Path, clusters: Iterable[tuple[str, str]]) -> None:
    """Write ``near_duplicates.csv`` beside a prepared table, so that no shard changes when a cluster does.

    Args:
        directory: The table's folder.
        clusters: The sha256 and the cluster's name of each image that is in one.
    """
    rows = ({"sha256": sha256, "cluster": cluster} for sha256, cluster in sorted(clusters))
    write_csv(directory / CLUSTERS, rows, ["sha256", "cluster"])


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
    shares: dict[str, float] = {name: getattr(split, name) for name in among}
    total, edge = sum(shares.values()), 0.0
    for name, share in shares.items():
        edge += share / total
        if place < edge:
            return name
    return among[-1]  # the shares' sum is 1 but for rounding


def _check_classes(splits: Sequence[str], labels: Sequence[str]) -> None:
    seen = set(zip(splits, labels, strict=True))
    for label in sorted(set(labels)):
        empty = [split for split in SPLITS if (split, label) not in seen]
        if empty:
            raise DataError(
                f"class {label!r} has no image in {' and '.join(empty)}: it needs more images, "
                "or transformation.split other shares or another seed"
            )
