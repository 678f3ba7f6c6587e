"""Splits: given splits are kept, linked images stay together, and new images move no old ones."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from visiongate.errors import DataError
from visiongate.images.table import write_shards
from visiongate.records.clusters import write_clusters
from visiongate.settings.transformation import Split
from visiongate.transformation.splits import Candidate, assign_splits, hash_position, read_candidates

SPLIT = Split(train=0.8, val=0.1, test=0.1, seed=0)
DICE = random.Random(0)  # noqa: S311 - no secret


def images(count: int, **fields: str) -> list[Candidate]:
    return [Candidate(f"image-{index}", "a", **fields) for index in range(count)]


def assign(candidates: Sequence[Candidate], split: Split = SPLIT) -> dict[str, str]:
    return dict(zip([image.sha256 for image in candidates], assign_splits(candidates, split), strict=True))


def mixed(count: int, prefix: str = "") -> list[Candidate]:
    """Return images alone, in groups, in clusters and in both, so that they form chains."""
    return [
        Candidate(
            f"{prefix}image-{index}",
            "ab"[index % 2],
            group=f"{prefix}patient-{DICE.randrange(count // 3)}" if index % 3 else None,
            cluster=f"{prefix}cluster-{DICE.randrange(count // 8)}" if index % 4 == 0 else None,
        )
        for index in range(count)
    ]


def splits_by(candidates: Sequence[Candidate], splits: Sequence[str], field: str) -> dict[str, set[str]]:
    """Return the splits of each group or cluster."""
    found = defaultdict[str, set[str]](set)
    for image, split in zip(candidates, splits, strict=True):
        if getattr(image, field):
            found[getattr(image, field)].add(split)
    return found


def test_position_is_uniform_and_fixed() -> None:
    positions = [hash_position(f"key-{index}", 0) for index in range(4000)]
    assert all(0 <= position < 1 for position in positions)
    tenths = Counter(int(position * 10) for position in positions)
    # 400 ± 4 standard deviations.
    assert all(320 < tenths[tenth] < 480 for tenth in range(10))
    assert hash_position("key", 0) == pytest.approx(0.41015, abs=1e-5)


def test_each_class_is_split_by_the_shares() -> None:
    candidates = [Candidate(f"image-{index}", "abc"[index % 3]) for index in range(30_000)]
    splits = assign_splits(candidates, SPLIT)
    for label in "abc":
        counts = Counter(
            split for image, split in zip(candidates, splits, strict=True) if image.label == label
        )
        assert abs(counts["train"] / 10_000 - 0.8) < 0.02
        assert abs(counts["val"] / 10_000 - 0.1) < 0.015


def test_linked_images_are_split_by_the_shares() -> None:
    candidates = [
        Candidate(f"image-{index}", "a", group=f"p{index // 2}", cluster=f"c{index // 4}")
        for index in range(40_000)
    ]
    sets = splits_by(candidates, assign_splits(candidates, SPLIT), "cluster")
    counts = Counter(next(iter(found)) for found in sets.values())
    assert abs(counts["train"] / len(sets) - 0.8) < 0.02


@pytest.mark.parametrize("position", ["before", "after", "between"])
def test_unlinked_new_images_move_no_old_image(position: str) -> None:
    old, new = mixed(600), mixed(300, "new-")
    together = {
        "before": new + old,
        "after": old + new,
        "between": old[300:] + new + old[:300][::-1],
    }[position]
    before, after = assign(old), assign(together)
    assert {name: after[name] for name in before} == before


def test_a_new_image_moves_only_linked_images() -> None:
    old = mixed(300)
    moved = 0
    for number in range(20):
        new = Candidate(f"new-{number}", "a", cluster=f"cluster-{number}")
        before, after = assign(old), assign([*old, new])
        changed = {name for name in before if after[name] != before[name]}
        linked = linked_to(new, [*old, new])
        assert changed <= linked
        moved += bool(changed)
    assert moved < 10


def linked_to(start: Candidate, candidates: Sequence[Candidate]) -> set[str]:
    found, seen = {start}, set[Candidate]()
    while found - seen:
        image = (found - seen).pop()
        seen.add(image)
        found |= {
            other
            for other in candidates
            if (image.group and other.group == image.group)
            or (image.cluster and other.cluster == image.cluster)
        }
    return {image.sha256 for image in found}


def test_a_new_image_of_an_existing_group_moves_no_image() -> None:
    old = [Candidate(f"image-{index}", "a", group=f"patient-{index % 40}") for index in range(200)]
    new = [Candidate(f"new-{index}", "a", group=f"patient-{index % 40}") for index in range(400)]
    before, after = assign(old), assign(new + old)
    assert {name: after[name] for name in before} == before


def test_an_image_that_links_two_others_moves_at_most_one() -> None:
    old = images(100)
    before = assign(old)
    for index, (one, other) in enumerate(pairwise(old)):
        linked = [
            one._replace(cluster="c"),
            other._replace(cluster="c"),
            Candidate(f"new-{index}", "a", cluster="c"),
        ]
        after = assign([*linked[:2], *(image for image in old if image not in (one, other))])
        assert after[one.sha256] == after[other.sha256]
        assert after[one.sha256] in (before[one.sha256], before[other.sha256])


def test_another_seed_gives_another_split() -> None:
    assert assign(images(200)) != assign(images(200), SPLIT.model_copy(update={"seed": 1}))


def test_groups_and_clusters_stay_in_one_split() -> None:
    candidates = mixed(1200)
    splits = assign_splits(candidates, SPLIT)
    for field in ("group", "cluster"):
        sets = splits_by(candidates, splits, field)
        assert len(sets) > 100
        assert {len(found) for found in sets.values()} == {1}


def test_chains_of_links_stay_in_one_split() -> None:
    chain = [
        Candidate("one", "a", group="x"),
        Candidate("two", "a", group="x", cluster="1"),
        Candidate("three", "a", group="y", cluster="1"),
        Candidate("four", "a", group="y"),
    ]
    for seed in range(20):
        found = assign(chain + images(200), SPLIT.model_copy(update={"seed": seed}))
        assert len({found[image.sha256] for image in chain}) == 1


def test_a_group_and_a_cluster_of_the_same_name_are_not_linked() -> None:
    apart = [Candidate(f"g{n}", "a", group=str(n)) for n in range(50)]
    apart += [Candidate(f"c{n}", "a", cluster=str(n)) for n in range(50)]
    found = assign(apart)
    assert any(found[f"g{n}"] != found[f"c{n}"] for n in range(50))


def test_given_splits_are_kept_and_a_missing_val_is_drawn_from_train() -> None:
    given = images(250)
    given = [
        image._replace(given="test" if position < 50 else "train") for position, image in enumerate(given)
    ]
    splits = assign_splits(given, SPLIT)
    assert splits[:50] == ["test"] * 50
    assert set(splits[50:]) == {"train", "val"}
    # The expected number is 22.
    assert 8 < splits[50:].count("val") < 45


def test_a_missing_test_is_drawn_from_train() -> None:
    given = [
        image._replace(given="val" if position < 50 else "train")
        for position, image in enumerate(images(250))
    ]
    splits = assign_splits(given, SPLIT)
    assert splits[:50] == ["val"] * 50
    assert set(splits[50:]) == {"train", "test"}


def test_a_given_val_leaves_train_unchanged() -> None:
    given = ["test"] * 5 + ["val"] * 5 + ["train"] * 90
    candidates = [image._replace(given=own) for image, own in zip(images(100), given, strict=True)]
    assert assign_splits(candidates, SPLIT) == given


def test_given_splits_take_precedence_over_groups() -> None:
    given = ["test", "train", "val"] * 40
    candidates = [
        Candidate(f"image-{index}", "a", own, group=f"p{index // 3}") for index, own in enumerate(given)
    ]
    assert assign_splits(candidates, SPLIT) == given


def test_val_is_drawn_from_train_by_whole_units() -> None:
    candidates = [image._replace(given="train") for image in mixed(600)]
    candidates += [Candidate("held", "a", "test"), Candidate("out", "b", "test")]
    splits = assign_splits(candidates, SPLIT)
    for field in ("group", "cluster"):
        assert {len(found) for found in splits_by(candidates, splits, field).values()} == {1}
    assert set(splits) == {"train", "val", "test"}


def test_an_image_without_a_given_split_follows_linked_images() -> None:
    given = [Candidate(f"{own}-{n}", "a", own) for own in ("train", "val", "test") for n in range(5)]
    some = [
        Candidate("known", "a", "test", cluster="1"),
        Candidate("near", "a", None, group="x", cluster="1"),
        Candidate("same group", "a", None, group="x"),
        Candidate("patient", "a", "train", group="x"),
        Candidate("in train", "a", "train", group="y"),
        Candidate("in val", "a", "val", group="y"),
        Candidate("in both", "a", None, group="y"),
    ]
    found = assign(given + some)
    assert (found["near"], found["same group"], found["patient"]) == ("test", "test", "train")
    assert found["in both"] == "val"


def test_linked_images_without_a_given_split_stay_together_despite_contradicting_given_splits() -> None:
    some = [
        Candidate("a", "a", "test", group="g"),
        Candidate("b", "a", None, group="g", cluster="c"),
        Candidate("c", "a", None, group="h", cluster="c"),
        Candidate("d", "a", "train", group="h"),
    ]
    given = [Candidate(f"{own}-{n}", "a", own) for own in ("train", "val", "test") for n in range(5)]
    found = assign(given + some)
    assert found["b"] == found["c"] == "test"


def test_a_class_missing_from_a_split_is_an_error() -> None:
    with pytest.raises(DataError, match="rare"):
        assign_splits([*images(100), Candidate("other", "rare")], SPLIT)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_a_small_class_is_in_every_split(count: int) -> None:
    candidates = [
        Candidate(f"{label}-{index}", str(label), group=f"{label}-{index // 2}" if count > 5 else None)
        for label in range(200)
        for index in range(count)
    ]
    splits = assign_splits(candidates, SPLIT)
    assert len({(split, image.label) for split, image in zip(splits, candidates, strict=True)}) == 600
    assert all(len(found) == 1 for found in splits_by(candidates, splits, "group").values())
    assert splits.count("train") >= max(splits.count("val"), splits.count("test"))


def test_a_missing_class_takes_the_nearest_unit() -> None:
    some = [image for image in images(20) if hash_position(image.sha256, SPLIT.seed) < SPLIT.train][:4]
    drawn = [hash_position(image.sha256, SPLIT.seed) for image in some]
    splits = dict(zip(drawn, assign_splits(some, SPLIT), strict=True))
    assert [splits[position] for position in sorted(drawn)] == ["train", "train", "val", "test"]


def test_given_splits_do_not_fill_missing_classes() -> None:
    given = [Candidate(f"{label}-{index}", label, given="train") for label in "ab" for index in range(9)]
    given += [Candidate("only", "a", given="test")]
    with pytest.raises(DataError, match=r"'b' .* test"):
        assign_splits(given, SPLIT)


def test_a_class_in_a_single_cluster_is_an_error() -> None:
    with pytest.raises(DataError, match="'a'"):
        assign_splits(images(100, cluster="all"), SPLIT)


def test_candidates_are_read_with_their_clusters(tmp_path: Path) -> None:
    rows = [
        {"image": b"1", "label": "a", "path": "1", "split": "test", "group": None, "sha256": "s1"},
        {"image": b"2", "label": "b", "path": "2", "split": None, "group": "g", "sha256": "s2"},
    ]
    write_shards(tmp_path, rows)
    with pytest.raises(DataError, match=r"near_duplicates\.csv"):
        read_candidates(tmp_path)
    write_clusters(tmp_path, [("s2", "s2")])
    assert read_candidates(tmp_path) == [
        Candidate("s1", "a", "test", None, None),
        Candidate("s2", "b", None, "g", "s2"),
    ]
