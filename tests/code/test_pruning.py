from collections import Counter
from pathlib import Path

import pytest

from visiongate.optimization.pruning import Race, rungs, should_prune
from visiongate.settings.loading import load_settings
from visiongate.settings.optimize import Optimize

OPTIMIZE = load_settings(Path(__file__).parents[2] / "params.yaml").optimize


def optimize(**changes: object) -> Optimize:
    return Optimize.model_validate(OPTIMIZE.model_dump() | changes)


@pytest.mark.parametrize(
    ("epochs", "factor", "first", "last"),
    [
        (8, 2, [1, 2, 4], []),
        (27, 3, [1, 3, 9], []),
        (8, 3, [2], []),
        (9, 3, [1, 3], []),
        (8, 8, [1], []),
        (5, 9, [], []),
    ],
)
def test_first_bracket_has_all_rungs_and_last_has_none(
    epochs: int, factor: int, first: list[int], last: list[int]
) -> None:
    settings = optimize(pruner="hyperband", epochs=epochs, reduction_factor=factor)
    assert rungs(settings, 0) == first
    assert min((rungs(settings, index) for index in range(100)), key=len) == last


def test_bracket_sizes_equal_those_of_the_paper() -> None:
    # Li et al., 2018, table 1: for a factor of 3 and a largest resource of 81, n = 81, 34, 15, 8, 5.
    settings = optimize(pruner="hyperband", epochs=81, reduction_factor=3)
    numbers = Counter(len(rungs(settings, index)) for index in range(143))
    assert numbers == {4: 81, 3: 34, 2: 15, 1: 8, 0: 5}
    assert rungs(settings, 143) == rungs(settings, 0)


def test_halving_has_all_rungs_for_every_trial() -> None:
    settings = optimize(pruner="halving", epochs=27, reduction_factor=3)
    assert all(rungs(settings, index) == [1, 3, 9] for index in range(100))


def test_hyperband_continues_the_best_of_each_reduction_factor() -> None:
    settings = optimize(pruner="hyperband", epochs=9, reduction_factor=3, startup_trials=2)
    others = [[value] for value in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert not should_prune(settings, 3, [0.45], others)
    assert should_prune(settings, 3, [0.35], others)
    assert not should_prune(settings, 3, [0.35], [])
    assert not should_prune(settings, 3, [0.35, 0.1], others)
    assert should_prune(settings, 3, [0.5, 0.5, 0.1], [[0.5, 0.5, 0.2], *others])
    assert should_prune(settings, 1, [0.9], others)
    assert not should_prune(settings, 1, [0.9] * 3, others)


def test_median_prunes_trials_below_the_median_after_warmup() -> None:
    settings = optimize(pruner="median", epochs=4, startup_trials=2, warmup_epochs=1)
    finished = [[0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.6]]
    assert should_prune(settings, 1, [0.1, 0.29], finished)
    assert not should_prune(settings, 1, [0.35, 0.29], finished)
    assert not should_prune(settings, 1, [0.1], finished)
    assert not should_prune(settings, 1, [0.1, 0.2], finished[:1])
    assert not should_prune(settings, 1, [0.1, 0.2], [finished[0], finished[1][:3]])


@pytest.mark.parametrize("pruner", ["race", "median", "hyperband", "halving"])
def test_finished_trials_are_not_pruned(pruner: str) -> None:
    settings = optimize(pruner=pruner, epochs=8, reduction_factor=2, startup_trials=1, warmup_epochs=0)
    others = [[0.9] * 8] * 9
    assert should_prune(settings, 1, [0.1] * 4, others)
    assert not should_prune(settings, 1, [0.1] * 8, others)


@pytest.mark.parametrize(
    ("pruner", "pruned"), [("race", [6]), ("median", [6, 7]), ("hyperband", [6]), ("halving", [6])]
)
def test_no_trial_is_pruned_before_the_first_check(pruner: str, pruned: list[int]) -> None:
    settings = optimize(pruner=pruner, epochs=8, warmup_epochs=0)
    others = [[0.9] * 8] * 9
    assert [
        epoch for epoch in range(1, 9) if should_prune(settings, 7, [0.1] * epoch, others, Race(first=6))
    ] == pruned


def test_none_prunes_nothing() -> None:
    settings = optimize(pruner="none", epochs=8)
    assert not should_prune(settings, 1, [0.0], [[0.9] * 8] * 9)
    assert not should_prune(settings, 1, [0.0] * 8, [[0.9] * 24] * 9, Race(folds=3))


def test_race_prunes_the_lower_half_after_the_first_epochs_and_after_each_fold() -> None:
    settings = optimize(pruner="race", epochs=8, reduction_factor=4, startup_trials=3)
    others = [[value] * 24 for value in (0.9, 0.8, 0.7)]
    worse, better = [[value] * 24 for value in (0.75, 0.85)]
    race = Race(folds=3)
    pruned = [step for step in range(1, 25) if should_prune(settings, 3, worse[:step], others, race)]
    assert pruned == [2, 8, 16]
    assert not any(should_prune(settings, 3, better[:step], others, race) for step in range(1, 25))


def test_race_keeps_the_first_trial_and_a_second_one_that_is_no_worse() -> None:
    settings, race = optimize(pruner="race", epochs=8, reduction_factor=8), Race(folds=3)
    first = [0.5] * 24
    assert not any(should_prune(settings, 0, first[:step], [], race) for step in range(1, 25))
    assert not any(should_prune(settings, 1, first[:step], [first], race) for step in range(1, 25))
    assert should_prune(settings, 1, [0.4], [first], race)


@pytest.mark.parametrize("pruner", ["median", "hyperband", "halving"])
def test_every_pruner_races_after_the_first_fold(pruner: str) -> None:
    settings = optimize(pruner=pruner, epochs=4, reduction_factor=8, startup_trials=9)
    others = [[0.9] * 12] * 3
    assert should_prune(settings, 20, [0.5] * 4, others, Race(folds=3))
    assert should_prune(settings, 20, [0.5] * 8, others, Race(folds=3))
    assert not should_prune(settings, 20, [0.5] * 6, others, Race(folds=3))
    assert not should_prune(settings, 20, [0.5] * 12, others, Race(folds=3))
