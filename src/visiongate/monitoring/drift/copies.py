"""Copies and near-copies in a window, which one client may send by the thousand: a test, and what is left without them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from visiongate.monitoring.drift.distributions import Outcome
from visiongate.monitoring.drift.embeddings import near_pairs, nearest_distances
from visiongate.monitoring.drift.tails import binomial_tail

Groups = npt.NDArray[np.int64]
Sketches = npt.NDArray[np.float16]
# Of the reference's images, so many may be so near to another one that they look like copies.
_ALIKE: Final = 0.01
# Pictures are few if they are at most this share of the images. More than the second share of the images may not be copies of
# few pictures.
_FEW: Final = 0.05
_MOST_OF_FEW: Final = 0.5
_SEED: Final = 20261129


@dataclass(frozen=True, slots=True, eq=False)
class Repetition(Outcome):
    """The result of a test of copies.

    Attributes:
        groups: Numbers of the groups that are sent often.
    """

    groups: Groups


def find_groups(files: Sequence[str], sketches: Sketches | None, distance: float) -> Groups:
    """Return the number of the group of copies that each image is in, N. Groups are numbered by their first image.

    Args:
        files: The sha256 of each file, N; empty where it is unknown.
        sketches: Embeddings, N×d; None to compare files only.
        distance: Of two embeddings, up to which they are near-copies.
    """
    first: dict[str, int] = {}
    groups = np.array([first.setdefault(file, index) if file else index for index, file in enumerate(files)])
    if sketches is not None and len(groups):
        groups = _join_equal(groups, sketches)
        kept, places = np.unique(groups, return_inverse=True)
        groups = kept[_find_leaders(near_pairs(sketches[kept], distance))][places]
    return np.unique(groups, return_inverse=True)[1]


def safe_distance(reference: Sketches) -> float:
    """Return the distance up to which embeddings may be called near-copies: that at which nearly no images of a reference are.

    A model that tells images of one class hardly apart would otherwise make copies of all of them.

    Args:
        reference: Embeddings of different images.
    """
    # The halves alternate, because a reference may be sorted by class.
    return float(np.quantile(nearest_distances(reference[::2], reference[1::2]), _ALIKE))


def compare_largest_group(groups: Groups, largest: float) -> Repetition:
    """Test whether one picture is sent more often than any may be, as a share of all images.

    At most 1 / ``largest`` pictures can have that share; for each, the number of copies is binomial.

    Args:
        groups: Of `find_groups`, at least one.
        largest: The share that a picture may have.
    """
    counts = np.bincount(groups)
    copies = int(counts.max())
    p_value = math.ceil(1 / largest) * binomial_tail(copies, len(groups), largest)
    return Repetition(copies / len(groups), min(1.0, p_value), np.array([counts.argmax()]))


def compare_frequent_groups(groups: Groups, largest: float) -> Repetition:
    """Test whether most images are copies of a few pictures that are sent in turn, each no more often than one may be.

    The pictures are chosen in a random half of the images, and counted in the other, so that the choice does not matter.

    Args:
        groups: Of `find_groups`, at least one.
        largest: The share that a picture may have; 1 / ``largest`` of them, at most, are few.
    """
    few = min(math.ceil(1 / largest), int(_FEW * len(groups)))
    halves = np.random.default_rng(_SEED).permutation(len(groups))
    chosen_in, counted_in = groups[halves[::2]], groups[halves[1::2]]
    counts = np.bincount(chosen_in)
    frequent = np.argsort(-counts, kind="stable")[:few]
    # One image is no copy.
    frequent = frequent[counts[frequent] > 1]
    found = int(np.isin(counted_in, frequent).sum())
    if not found:
        return Repetition(0.0, 1.0, frequent)
    p_value = binomial_tail(found, len(counted_in), _MOST_OF_FEW)
    return Repetition(float(np.isin(groups, frequent).mean()), p_value, frequent)


def _join_equal(groups: Groups, sketches: Sketches) -> Groups:
    """Return groups in which equal embeddings are together. An embedding of zeros says nothing."""
    rows = np.ascontiguousarray(sketches).view(np.dtype((np.void, sketches.shape[1] * sketches.itemsize)))[
        :, 0
    ]
    _, first, places = np.unique(rows, return_index=True, return_inverse=True)
    joined = np.where(sketches.any(axis=1), groups[first][places], groups)
    # A file that was in a later group, under another embedding, stays with its first one.
    return np.minimum(groups, joined)


def _find_leaders(near: npt.NDArray[np.bool_]) -> Groups:
    """Return the first image of each image's group. A group is an image and what is near to it, so that chains do not grow."""
    leaders = np.arange(len(near))
    free = np.ones(len(near), np.bool_)
    neighbors = near.sum(axis=1)
    for index in np.argsort(-neighbors, kind="stable"):
        if neighbors[index] < 2:  # noqa: PLR2004 - near to itself only
            break
        if free[index]:
            members = near[index] & free
            leaders[members] = np.flatnonzero(members)[0]
            free &= ~members
    return leaders
