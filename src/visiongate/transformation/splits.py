"""Assign images to splits by their content, so that new images do not move old ones.

Images that share a group or a cluster of near-duplicates must not be separated, so they form a *unit*. Each unit has a *key*:
the group or content hash of one of its members. The key's hash is the unit's *position* in [0, 1), and the splits divide that
interval by their shares.
"""

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
from visiongate.settings.transformation import Split

Key = TypeVar("Key")
# A group or a cluster, by kind and name.
Link = tuple[str, str]


class Candidate(NamedTuple):
    """An image and the values that determine its split.

    Attributes:
        sha256: Content hash.
        label: Class name.
        given: The split that the source gives, if any.
        group: Group name, such as a patient.
        cluster: Name of the cluster of near-duplicates.
    """

    sha256: str
    label: str
    given: str | None = None
    group: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class _Unit:
    """Images that are assigned together.

    Attributes:
        members: Indices of the images.
        position: Hash of the unit's key, in [0, 1).
        choices: Splits that the unit may be assigned to.
    """

    members: list[int]
    position: float
    choices: list[str]

    def assign(self, split: str, splits: list[str]) -> None:
        """Assign all members to a split."""
        for member in self.members:
            splits[member] = split

    def distance(self, name: str, split: Split) -> float:
        """Return the distance of the position from the interval of a split; negative inside."""
        edges = _interval_edges(self.choices, split)
        index = self.choices.index(name)
        return max(edges[index] - self.position, self.position - edges[index + 1])


def assign_splits(images: Sequence[Candidate], split: Split) -> list[str]:
    """Assign each image to a split.

    Given splits are kept. If the source gives no ``val`` or no ``test``, that split is drawn from its ``train``. An image
    without a given split follows the images that it is linked to: those of its cluster before those of its group, and the most
    protected of several splits (test, then val, then train).

    A key is independent of labels, so every class is drawn with the same shares, up to chance. A new image can only move images
    that it is linked to: a unit with k keys changes its key with probability 1 / (k + 1). A new image of an existing group
    moves no image, unless it is a near-duplicate of an image outside the group.

    If a class would be missing from a split, the unit with this class whose position is nearest moves there, provided that no
    class loses its last image in the unit's split. The unit may move back when the class has more images.

    Args:
        images: All images of the data set.
        split: The shares and the seed.

    Returns:
        ``train``, ``val`` or ``test`` for each image.

    Raises:
        DataError: A split would have no image of some class.
    """
    units = _form_units(images, split.seed)
    splits = [""] * len(images)
    for unit in units:
        unit.assign(_draw(unit, split), splits)
    labels = [image.label for image in images]
    _fill_missing_classes(splits, units, labels, split)
    _check_classes(splits, labels)
    return splits


def hash_position(key: str, seed: int) -> float:
    """Map a key to a uniformly distributed position in [0, 1), by SHA-256."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    # Six bytes: every such fraction is an exact float, and the largest is less than 1.
    return int.from_bytes(digest[:6], "big") / 2**48


def read_candidates(directory: Path) -> list[Candidate]:
    """Read the candidates from a prepared image table, in its order.

    Raises:
        DataError: The table or ``near_duplicates.csv`` is missing.
    """
    clusters = read_clusters(directory)
    table = read_table(directory, ["sha256", "label", "split", "group"]).to_pydict()
    return [
        Candidate(sha256, label, split, group, clusters.get(sha256))
        for sha256, label, split, group in zip(*table.values(), strict=True)
    ]


def _form_units(images: Sequence[Candidate], seed: int) -> list[_Unit]:
    """Form units of linked images that follow the same given split, or none."""
    components = _connect(images)
    keys, given = _choose_keys(images, components), _resolve_given(images)
    given_splits = {image.given for image in images}
    choices: dict[str | None, list[str]] = {
        None: list(SPLITS),
        "train": [name for name in SPLITS if name == "train" or name not in given_splits],
    }
    members = defaultdict[tuple[int, str | None], list[int]](list)
    for index, unit in enumerate(zip(components, given, strict=True)):
        members[unit].append(index)
    return [
        _Unit(indices, hash_position(keys[component], seed), choices.get(followed, [str(followed)]))
        for (component, followed), indices in members.items()
    ]


def _connect(images: Sequence[Candidate]) -> list[int]:
    """Return the number of the connected component that each image belongs to."""
    nodes: dict[Link, int] = {}
    edges: list[tuple[int, int]] = []
    for index, image in enumerate(images):
        edges.extend((index, nodes.setdefault(link, len(images) + len(nodes))) for link in _links(image))
    count = len(images) + len(nodes)
    sources, targets = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(sources), dtype=np.int8), (sources, targets)), shape=(count, count))
    numbers: list[int] = connected_components(graph, directed=False)[1][: len(images)].tolist()
    return numbers


def _links(image: Candidate) -> list[Link]:
    return [(kind, name) for kind, name in (("group", image.group), ("cluster", image.cluster)) if name]


def _choose_keys(images: Sequence[Candidate], components: Sequence[int]) -> dict[int, str]:
    """Choose each component's key by its hash, so that alphabetically early names are not preferred."""
    keys = defaultdict[int, set[str]](set)
    for image, component in zip(images, components, strict=True):
        keys[component].add(image.group or image.sha256)
    return {
        component: min(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        for component, names in keys.items()
    }


def _resolve_given(images: Sequence[Candidate]) -> list[str | None]:
    """Return the given split that each image follows: its own, or that of the images it is linked to."""
    free = [index for index, image in enumerate(images) if not image.given]
    split_of = _most_protected(
        (link, image.given) for image in images if image.given for link in _links(image)
    )
    components = _connect([images[index] for index in free])
    followed = {
        kind: _most_protected(
            (component, split_of[link])
            for component, index in zip(components, free, strict=True)
            for link in _links(images[index])
            if link in split_of and link[0] == kind
        )
        for kind in ("cluster", "group")
    }
    given = [image.given for image in images]
    for component, index in zip(components, free, strict=True):
        given[index] = followed["cluster"].get(component) or followed["group"].get(component)
    return given


def _most_protected(splits: Iterable[tuple[Key, str]]) -> dict[Key, str]:
    highest: dict[Key, str] = {}
    for key, split in splits:
        if protection(split) > protection(highest.get(key)):
            highest[key] = split
    return highest


def _draw(unit: _Unit, split: Split) -> str:
    # Rounding can leave the last edge just below 1.
    edges = _interval_edges(unit.choices, split)
    return unit.choices[min(bisect_right(edges, unit.position), len(unit.choices)) - 1]


def _interval_edges(choices: Sequence[str], split: Split) -> list[float]:
    """Return the start of each split's interval, and the end of the last."""
    shares: list[float] = [getattr(split, name) for name in choices]
    return [0.0, *(edge / sum(shares) for edge in accumulate(shares))]


def _fill_missing_classes(
    splits: list[str], units: Sequence[_Unit], labels: Sequence[str], split: Split
) -> None:
    """Move the nearest unit that can be spared into each split that misses a class."""
    counts = Counter(zip(splits, labels, strict=True))
    missing = [
        (label, name) for label in sorted(set(labels)) for name in reversed(SPLITS) if not counts[name, label]
    ]
    for label, name in missing:
        spare = [
            unit for unit in units if name in unit.choices and _can_spare(unit, label, splits, labels, counts)
        ]
        if spare:
            nearest = min(spare, key=lambda unit: unit.distance(name, split))
            moved = Counter(labels[member] for member in nearest.members)
            old_split = splits[nearest.members[0]]
            counts.subtract({(old_split, other): count for other, count in moved.items()})
            counts.update({(name, other): count for other, count in moved.items()})
            nearest.assign(name, splits)


def _can_spare(
    unit: _Unit,
    label: str,
    splits: Sequence[str],
    labels: Sequence[str],
    counts: Mapping[tuple[str, str], int],
) -> bool:
    """Return whether a unit has a class, and its split has more images of each of the unit's classes."""
    in_unit = Counter(labels[member] for member in unit.members)
    own_split = splits[unit.members[0]]
    return label in in_unit and all(counts[own_split, other] > count for other, count in in_unit.items())


def _check_classes(splits: Sequence[str], labels: Sequence[str]) -> None:
    present = set(zip(splits, labels, strict=True))
    for label in sorted(set(labels)):
        empty = [split for split in SPLITS if (split, label) not in present]
        if empty:
            raise DataError(
                f"class {label!r} has no image in {' and '.join(empty)}; add images of this class, "
                "or change the shares or the seed in transformation.split"
            )
