from collections import Counter
from pathlib import Path

import pytest

from visiongate.optimization.pruning import is_hopeless, rungs
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
def test_brackets_range_from_all_rungs_to_none(
    epochs: int, factor: int, first: list[int], last: list[int]
) -> None:
    settings = optimize(pruner="hyperband", epochs=epochs, reduction_factor=factor)
    assert rungs(settings, 1) == first
    assert min((rungs(settings, place) for place in range(1, 100)), key=len) == last


def test_brackets_get_the_numbers_of_trials_that_hyperband_gives_them() -> None:
    # Li et al., 2018, table 1: for a factor of 3 and a largest resource of 81, n = 81, 34, 15, 8, 5.
    settings = optimize(pruner="hyperband", epochs=81, reduction_factor=3)
    numbers = Counter(len(rungs(settings, place)) for place in range(1, 144))
    assert numbers == {4: 81, 3: 34, 2: 15, 1: 8, 0: 5}
    assert rungs(settings, 144) == rungs(settings, 1)


def test_halving_has_all_rungs_for_every_trial() -> None:
    settings = optimize(pruner="halving", epochs=27, reduction_factor=3)
    assert all(rungs(settings, place) == [1, 3, 9] for place in range(1, 100))


def test_hyperband_lets_the_best_of_every_so_many_go_on() -> None:
    settings = optimize(pruner="hyperband", epochs=9, reduction_factor=3, startup_trials=2)
    others = [[value] for value in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert not is_hopeless(settings, 3, [0.45], others)  # second of six
    assert is_hopeless(settings, 3, [0.35], others)
    assert not is_hopeless(settings, 3, [0.35], [])  # alone
    assert not is_hopeless(settings, 3, [0.35, 0.1], others)  # between rungs
    assert is_hopeless(settings, 3, [0.5, 0.5, 0.1], [[0.5, 0.5, 0.2], *others])
    assert is_hopeless(settings, 2, [0.9], others)  # only scouts
    assert not is_hopeless(settings, 2, [0.9] * 3, others)


def test_the_median_rule_waits_and_then_ends_what_was_never_as_good_as_half_of_the_finished() -> None:
    settings = optimize(pruner="median", epochs=4, startup_trials=2, warmup_epochs=1)
    finished = [[0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.6]]
    assert is_hopeless(settings, 1, [0.1, 0.29], finished)
    assert not is_hopeless(settings, 1, [0.35, 0.29], finished)  # it was better once
    assert not is_hopeless(settings, 1, [0.1], finished)  # warming up
    assert not is_hopeless(settings, 1, [0.1, 0.2], finished[:1])  # too few have finished
    assert not is_hopeless(settings, 1, [0.1, 0.2], [finished[0], finished[1][:3]])


@pytest.mark.parametrize("pruner", ["median", "hyperband", "halving"])
def test_the_current_settings_and_finished_trials_are_spared(pruner: str) -> None:
    settings = optimize(pruner=pruner, epochs=8, reduction_factor=2, startup_trials=1, warmup_epochs=0)
    others = [[0.9] * 8] * 9
    assert is_hopeless(settings, 1, [0.1] * 4, others)
    assert not is_hopeless(settings, 0, [0.1] * 4, others)
    assert not is_hopeless(settings, 1, [0.1] * 8, others)


def test_none_ends_nothing() -> None:
    assert not is_hopeless(optimize(pruner="none"), 1, [0.0], [[0.9] * 8] * 9)
