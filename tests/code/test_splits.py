"""Splits: given splits are kept, linked images stay together, and new images move no old ones."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from evaluation_settings import evaluation_settings
from visiongate.errors import DataError
from visiongate.images.table import write_shards
from visiongate.records.clusters import write_clusters
from visiongate.settings.transformation import Split
from visiongate.transformation.folds import assign_folds
from visiongate.transformation.protocol import assign_images
from visiongate.transformation.splits import Method
from visiongate.transformation.splits import assign_splits as assign_by
from visiongate.transformation.units import Candidate, hash_position, read_candidates

SPLIT = Split(method="auto", train=0.8, val=0.1, test=0.1, seed=0)
DICE = random.Random(0)  # noqa: S311 - no secret


def assign_splits(images: Sequence[Candidate], split: Split, method: Method = "hash") -> list[str]:
    return assign_by(images, split, method)


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


@pytest.mark.parametrize("method", ["hash", "stratified"])
def test_a_class_of_one_image_is_trained_and_its_absence_elsewhere_reported(
    method: Method, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(12):
        caplog.clear()
        split = SPLIT.model_copy(update={"seed": seed})
        assert assign_splits([*images(100), Candidate("other", "rare")], split, method)[-1] == "train"
        assert [record.message.split(":")[0] for record in caplog.records] == [
            "class 'rare' has no images in val",
            "class 'rare' has no images in test",
        ]


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


def test_a_class_without_given_test_images_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    given = [Candidate(f"{label}-{index}", label, given="train") for label in "abcdef" for index in range(9)]
    given += [Candidate("only", "a", given="test")]
    assert assign_splits(given, SPLIT).count("test") == 1
    assert [record.message for record in caplog.records] == [
        "5 classes, such as 'b', 'c', 'd', have no images in test: nothing measures them"
    ]


def test_a_class_without_given_training_images_names_its_split_and_what_to_do() -> None:
    given = [Candidate(f"{own}-{n}", "a", own) for own in ("train", "val", "test") for n in range(5)]
    given += [Candidate(f"b-{n}", "b", ("val", "test", "test")[n]) for n in range(3)]
    with pytest.raises(
        DataError, match=r"class 'b' has no training images: .* 2 in test and 1 in val; add .* pool all"
    ):
        assign_splits(given, SPLIT)


@pytest.mark.parametrize("method", ["hash", "stratified"])
def test_images_in_a_single_cluster_are_an_error(method: Method) -> None:
    with pytest.raises(DataError, match=r"no images for val and test: .* 100 images"):
        assign_splits(images(100, cluster="all"), SPLIT, method)


def labelled(counts: dict[str, int]) -> list[Candidate]:
    return [Candidate(f"{label}-{n}", label) for label, count in counts.items() for n in range(count)]


def count_by_class(
    candidates: Sequence[Candidate], places: Sequence[str | int]
) -> Counter[tuple[str, str | int]]:
    return Counter((image.label, place) for image, place in zip(candidates, places, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_stratified_splits_have_each_class_by_its_share(seed: int) -> None:
    candidates = labelled({"a": 20, "b": 37, "c": 178, "d": 500})
    splits = assign_splits(candidates, SPLIT.model_copy(update={"seed": seed}), "stratified")
    sizes = Counter(image.label for image in candidates)
    for (label, split), count in count_by_class(candidates, splits).items():
        assert abs(count - sizes[label] * getattr(SPLIT, str(split))) < 1


def test_stratified_splits_keep_groups_together_and_close_to_the_shares() -> None:
    candidates = mixed(1200)
    splits = assign_splits(candidates, SPLIT, "stratified")
    for field in ("group", "cluster"):
        assert {len(found) for found in splits_by(candidates, splits, field).values()} == {1}
    apart = [Candidate(f"i{n}", "ab"[n % 40 // 20], group=f"p{n // 4}") for n in range(800)]
    for (_, split), count in count_by_class(apart, assign_splits(apart, SPLIT, "stratified")).items():
        assert abs(count - 400 * getattr(SPLIT, str(split))) <= 4


def test_a_new_image_moves_at_most_two_images_of_its_class_between_stratified_splits() -> None:
    old = labelled({"a": 90, "b": 133})
    before = dict(zip(old, assign_splits(old, SPLIT, "stratified"), strict=True))
    moved = []
    for number in range(60):
        added = [Candidate(f"new-{number}", "a"), *old]
        after = dict(zip(added, assign_splits(added, SPLIT, "stratified"), strict=True))
        changed = [image for image in old if before[image] != after[image]]
        assert all(image.label == "a" for image in changed)
        moved.append(len(changed))
    assert max(moved) <= 2
    assert sum(moved) / len(moved) < 1


def test_stratified_splits_differ_little_from_those_by_hash() -> None:
    candidates = labelled({"a": 4000, "b": 4000})
    pairs = zip(*(assign_splits(candidates, SPLIT, method) for method in ("hash", "stratified")), strict=True)
    assert sum(one != other for one, other in pairs) < 160


def test_given_splits_are_kept_in_stratified_splits() -> None:
    given = [image._replace(given="test" if n < 50 else "train") for n, image in enumerate(images(250))]
    splits = assign_splits(given, SPLIT, "stratified")
    # The share of val in train and val is 1/9, of 200 images.
    assert (splits[:50], splits.count("val")) == (["test"] * 50, 22)


@pytest.mark.parametrize("folds", [3, 5])
def test_folds_have_the_same_number_of_each_class(folds: int) -> None:
    candidates = labelled({"a": 11, "b": 43, "c": 101})
    counts = count_by_class(candidates, assign_folds(candidates, folds, 0))
    for label in "abc":
        numbers = [counts[label, fold] for fold in range(folds)]
        assert max(numbers) - min(numbers) <= 1
    totals = [sum(counts[label, fold] for label in "abc") for fold in range(folds)]
    assert max(totals) - min(totals) <= 1


def test_folds_keep_linked_images_together_and_have_every_class() -> None:
    candidates = mixed(600)
    folds = assign_folds(candidates, 5, 0)
    for field in ("group", "cluster"):
        found = defaultdict[str, set[int]](set)
        for image, fold in zip(candidates, folds, strict=True):
            if name := getattr(image, field):
                found[name].add(fold)
        assert {len(each) for each in found.values()} == {1}
    assert len(count_by_class(candidates, folds)) == 10


def test_folds_depend_on_the_images_and_the_seed_only() -> None:
    candidates = mixed(300)
    shuffled = DICE.sample(candidates, len(candidates))
    folds = dict(zip(candidates, assign_folds(candidates, 4, 0), strict=True))
    assert dict(zip(shuffled, assign_folds(shuffled, 4, 0), strict=True)) == folds
    assert dict(zip(candidates, assign_folds(candidates, 4, 1), strict=True)) != folds


def test_the_smallest_class_limits_the_folds(caplog: pytest.LogCaptureFixture) -> None:
    candidates = labelled({"a": 50, "b": 4})
    assert len(count_by_class(candidates, assign_folds(candidates, 5, 0))) == 8
    assert caplog.messages == ["4 folds instead of evaluation.folds = 5: class 'b' has 4 images"]


@pytest.mark.parametrize("counts", [{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 3, "b": 1}, {"a": 9, "b": 2}])
def test_the_cures_for_too_few_images_work(counts: dict[str, int]) -> None:
    candidates = labelled(counts)
    with pytest.raises(
        DataError, match=r"too few images: class '[ab]' has . images?; .* at least 3"
    ) as error:
        assign_folds(candidates, 5, 0)
    if "evaluation.protocol=holdout" in str(error.value):
        assert set(assign_splits(candidates, SPLIT, "stratified")) == {"train", "val", "test"}
    else:
        with pytest.raises(DataError, match=r"too few images: the largest class, 'a', has .; at least 3"):
            assign_splits(candidates, SPLIT, "stratified")


def test_too_few_units_for_folds_are_an_error() -> None:
    linked = [Candidate(f"b{n}", "b", group=f"patient-{n % 2}") for n in range(30)]
    with pytest.raises(DataError, match=r"class 'b' has 30 images, linked by groups .* to 2; .* at least 3"):
        assign_folds([*images(50), *linked], 5, 0)


@pytest.mark.parametrize(
    ("count", "given", "protocol", "method", "expected"),
    [
        (999, None, "auto", "auto", ("cross_validation", "kfold")),
        (1000, None, "auto", "auto", ("holdout", "stratified")),
        (10_000, None, "auto", "auto", ("holdout", "hash")),
        (60, "test", "auto", "auto", ("holdout", "stratified")),
        (60, "val", "auto", "auto", ("cross_validation", "kfold")),
        (60, "test", "cross_validation", "auto", ("cross_validation", "kfold")),
        (60, None, "holdout", "auto", ("holdout", "stratified")),
        (60, None, "auto", "hash", ("holdout", "hash")),
        (1500, None, "auto", "kfold", ("cross_validation", "kfold")),
    ],
)
def test_the_number_of_images_and_the_given_splits_choose_the_protocol(
    count: int, given: str | None, protocol: str, method: str, expected: tuple[str, str]
) -> None:
    candidates = [*images(count - 10), *images_of(10, given)]
    split = SPLIT.model_copy(update={"method": method})
    assignment = assign_images(candidates, split, evaluation_settings(protocol=protocol))
    assert (assignment.protocol, assignment.method) == expected
    assert assignment.fold_count == (5 if expected[1] == "kfold" else None)


def images_of(count: int, given: str | None) -> list[Candidate]:
    return [Candidate(f"given-{index}", "a", given) for index in range(count)]


def test_cross_validation_pools_given_splits_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    candidates = [*images(50), *images_of(10, "test")]
    assignment = assign_images(candidates, SPLIT, evaluation_settings(protocol="cross_validation"))
    assert assignment.folds is not None
    placed = set(zip(assignment.folds, assignment.splits, strict=True))
    assert placed == {(0, "test"), (1, "val"), (2, "train"), (3, "train"), (4, "train")}
    assert "evaluation.protocol=holdout keeps them" in caplog.text


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
