import pytest

from visiongate.optimization.figures import MARGIN, draw_history, draw_parallel, draw_slices
from visiongate.optimization.outcome import Outcome
from visiongate.optimization.space import Value, Values
from visiongate.optimization.study import SearchResult, TrialResult
from visiongate.settings.optimize import SearchRange

SPACE = [
    SearchRange(setting="model.lr", kind="log", low=0.001, high=0.1),
    SearchRange(setting="model.options.width", kind="int", low=8, high=10),
    SearchRange(setting="model.optimizer", kind="choice", choices=["sgd", None, True]),
]


def outcome(rows: list[tuple[float | None, float, int, Value]], metric: str = "val_accuracy") -> Outcome:
    trials = [
        TrialResult(place, "pruned" if value is None else "complete", value, [0.5], tried(lr, width, chosen))
        for place, (value, lr, width, chosen) in enumerate(rows)
    ]
    best = max((trial for trial in trials if trial.value is not None), key=lambda trial: trial.value or 0)
    return Outcome(metric, SearchResult(trials, best, best.value or 0, {}), None)


def tried(lr: float, width: int, chosen: Value) -> Values:
    return {"model.lr": lr, "model.options.width": width, "model.optimizer": chosen}


FOUND = outcome([(0.5, 0.01, 8, "sgd"), (0.7, 0.1, 10, None), (None, 0.001, 9, True), (0.6, 0.1, 9, True)])


def test_the_history_steps_up_with_each_better_trial() -> None:
    figure = draw_history(FOUND)
    assert [mark.kind for mark in figure.marks] == ["current", "best", "pruned", "complete"]
    assert [mark.y for mark in figure.marks] == pytest.approx([MARGIN, 1 - MARGIN, None, 0.5])
    assert figure.marks[2].title == "trial 2: pruned"
    assert figure.marks[1].title == "trial 1: 0.7000"
    heights = [height for _, height in figure.steps]
    assert heights == pytest.approx([MARGIN, MARGIN, 1 - MARGIN, 1 - MARGIN])
    assert [text for _, text in figure.across.ticks] == ["0", "1", "2", "3"]


def test_a_slice_lies_where_the_scale_has_it() -> None:
    lr, width, optimizer = draw_slices(FOUND, SPACE)
    assert [mark.x for mark in lr.marks] == pytest.approx([0.5, 1 - MARGIN, MARGIN, 1 - MARGIN])
    assert [text for _, text in lr.across.ticks] == ["0.001", "0.01", "0.1"]
    assert [mark.x for mark in width.marks] == pytest.approx([MARGIN, 1 - MARGIN, 0.5, 0.5])
    assert [text for _, text in width.across.ticks] == ["8", "9", "10"]
    assert [mark.x for mark in optimizer.marks] == pytest.approx([1 / 6, 3 / 6, 5 / 6, 5 / 6])
    assert [text for _, text in optimizer.across.ticks] == ["sgd", "null", "True"]


def test_lines_of_pruned_trials_end_before_the_value_and_the_best_is_on_top() -> None:
    figure = draw_parallel(FOUND, SPACE)
    assert [kind for kind, _, _ in figure.lines] == ["pruned", "complete", "current", "best"]
    assert [len(points) for _, points, _ in figure.lines] == [3, 4, 4, 4]
    assert [axis.label for axis in figure.axes] == [
        "model.lr",
        "model.options.width",
        "model.optimizer",
        "val_accuracy",
    ]


def test_losses_are_shown_as_they_are() -> None:
    figure = draw_history(outcome([(-0.5, 0.01, 8, "sgd"), (-0.25, 0.1, 10, None)], "val_loss"))
    assert [mark.y for mark in figure.marks] == pytest.approx([1 - MARGIN, MARGIN])
    assert [text for _, text in figure.up.ticks] == ["0.25", "0.30", "0.35", "0.40", "0.45", "0.50"]


def test_a_single_trial_and_a_narrow_range_can_be_drawn() -> None:
    found = outcome([(0.5, 0.02, 8, "sgd")])
    assert len(draw_history(found).marks) == 1
    narrow = [SearchRange(setting="model.lr", kind="log", low=0.02, high=0.03)]
    (figure,) = draw_slices(found, narrow)
    assert [text for _, text in figure.across.ticks] == ["0.02", "0.03"]


def test_every_place_lies_within_the_frame() -> None:
    for figure in [draw_history(FOUND), *draw_slices(FOUND, SPACE)]:
        assert all(0 <= mark.x <= 1 and (mark.y is None or 0 <= mark.y <= 1) for mark in figure.marks)
        assert all(0 <= place <= 1 for place, _ in figure.across.ticks + figure.up.ticks)
