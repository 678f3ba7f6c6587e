"""Units: images that must not be separated, because they share a group or a cluster of near-duplicates.

Each unit has a *key*: the group or content hash of one of its members. The key's hash is the unit's *position* in [0, 1), so
that it depends neither on the order of the images nor on their names.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from visiongate.images.table import read_table
from visiongate.records.clusters import NEAR_COLLECTED_FILE, read_clusters
from visiongate.records.collected_paths import is_collected
from visiongate.records.splits import SPLITS, protection

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
        cluster: Name of the cluster of near-duplicates in the source.
        collected: Whether the image only trains models, because the service collected it.
        near: Name of the cluster of near-duplicates with collected images.
    """

    sha256: str
    label: str
    given: str | None = None
    group: str | None = None
    cluster: str | None = None
    collected: bool = False
    near: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """Images that are assigned together.

    Attributes:
        members: Indices of the images.
        position: Hash of the unit's key, in [0, 1).
        choices: Splits that the unit may be assigned to.
    """

    members: list[int]
    position: float
    choices: list[str]


def read_candidates(directory: Path) -> list[Candidate]:
    """Read the candidates from a prepared image table, in its order.

    Raises:
        DataError: The table or ``near_duplicates.csv`` is missing.
    """
    clusters = read_clusters(directory)
    table = read_table(directory, ["sha256", "label", "split", "group", "path"]).to_pydict()
    images = [
        Candidate(sha256, label, split, group, clusters.get(sha256), is_collected(path, sha256))
        for sha256, label, split, group, path in zip(*table.values(), strict=True)
    ]
    if not any(image.collected for image in images):
        return images
    near = read_clusters(directory, NEAR_COLLECTED_FILE)
    return [image._replace(near=near.get(image.sha256)) for image in images]


def form_units(images: Sequence[Candidate], seed: int) -> list[Unit]:
    """Form units of linked images that follow the same given split, or none."""
    components = connect(images)
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
        Unit(indices, hash_position(keys[component], seed), choices.get(followed, [str(followed)]))
        for (component, followed), indices in members.items()
    ]


def hash_position(key: str, seed: int) -> float:
    """Map a key to a uniformly distributed position in [0, 1), by SHA-256."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    # Six bytes: every such fraction is an exact float, and the largest is less than 1.
    return int.from_bytes(digest[:6], "big") / 2**48


def connect(images: Sequence[Candidate]) -> list[int]:
    """Return the number of the component that each image belongs to, connected by groups and near-duplicates."""
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
    links = (("group", image.group), ("cluster", image.cluster), ("near", image.near))
    return [(kind, name) for kind, name in links if name]


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
    components = connect([images[index] for index in free])
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
