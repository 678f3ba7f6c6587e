from collections import Counter

import pytest

from visiongate.config import Split
from visiongate.data.splits import assign_splits, position
from visiongate.errors import DataError

SPLIT = Split(train=0.7, val=0.15, test=0.15, seed=0)


def keys(count: int) -> list[str]:
    return [f"key-{index}" for index in range(count)]


def assign(names: list[str], given: list[str | None] | None = None, split: Split = SPLIT) -> list[str]:
    return assign_splits(names, given or [None] * len(names), ["a"] * len(names), split)


def test_position_is_uniform_and_fixed() -> None:
    places = [position(key, 0) for key in keys(4000)]
    assert all(0 <= place < 1 for place in places)
    tenths = Counter(int(place * 10) for place in places)
    assert all(320 < tenths[tenth] < 480 for tenth in range(10))  # 400 ± 4 standard deviations


def test_shares_are_kept_in_the_large() -> None:
    counts = Counter(assign(keys(10_000)))
    assert abs(counts["train"] / 10_000 - 0.7) < 0.02
    assert abs(counts["val"] / 10_000 - 0.15) < 0.02


def test_new_images_move_no_old_one_wherever_they_are_inserted() -> None:
    old = keys(500)
    new = [f"new-{index}" for index in range(100)]
    before = dict(zip(old, assign(old), strict=True))
    mixed = new[:50] + old[::-1] + new[50:]
    after = dict(zip(mixed, assign(mixed), strict=True))
    assert {key: after[key] for key in old} == before


def test_another_seed_draws_another_split() -> None:
    assert assign(keys(200)) != assign(keys(200), split=SPLIT.model_copy(update={"seed": 1}))


def test_images_with_one_key_stay_together() -> None:
    names = [f"patient-{index % 40}" for index in range(400)]
    splits = assign(names)
    assert all(
        len({split for name, split in zip(names, splits, strict=True) if name == own}) == 1 for own in names
    )


def test_a_given_split_is_kept_and_val_is_drawn_out_of_train() -> None:
    given: list[str | None] = ["test"] * 50 + ["train"] * 200
    splits = assign(keys(250), given)
    assert splits[:50] == ["test"] * 50
    assert set(splits[50:]) == {"train", "val"}
    assert 10 < splits[50:].count("val") < 70


def test_a_given_val_leaves_train_alone() -> None:
    given: list[str | None] = ["test"] * 5 + ["val"] * 5 + ["train"] * 90
    assert assign(keys(100), given) == given


def test_a_class_missing_from_a_split_is_told() -> None:
    with pytest.raises(DataError, match=r"class 'rare' has no image in .*more images"):
        assign_splits(keys(101), [None] * 101, ["a"] * 100 + ["rare"], SPLIT)
