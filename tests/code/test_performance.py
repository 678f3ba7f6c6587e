"""Scores by feedback: values against scikit-learn, intervals against published formulas and simulations."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from visiongate.monitoring.database import Database
from visiongate.monitoring.entries import (
    Feedback,
    ImageFacts,
    LoggedModel,
    LoggedPrediction,
    new_prediction_id,
)
from visiongate.monitoring.history import History, read_feedback, read_history
from visiongate.monitoring.performance import (
    Latency,
    macro_interval,
    measure_latency,
    score_feedback,
    score_sampled,
    score_volunteered,
)
from visiongate.monitoring.scores import Others
from visiongate.monitoring.tally import Cell, Repeats, Tally, Voice, merge_tallies
from visiongate.monitoring.times import HOUR_US
from visiongate.records.interval import Interval, wilson_interval

CLASSES = ("a", "b", "c")
Names = npt.NDArray[np.str_]


def draw(images: int, seed: int = 0, accuracy: float = 0.8) -> tuple[Names, Names]:
    generator = np.random.default_rng(seed)
    labels = generator.choice(CLASSES, images, p=[0.5, 0.3, 0.2])
    wrong = generator.choice(CLASSES, images)
    return labels, np.where(generator.random(images) < accuracy, labels, wrong)


def tally(labels: Names, predicted: Names) -> Tally:
    pairs = zip(labels.tolist(), predicted.tolist(), strict=True)
    return Tally(by_class=Counter(predicted.tolist()), feedback=count_cells(pairs))


def count_cells(pairs: Iterable[tuple[str, str]], **further: Any) -> Counter[Cell]:  # noqa: ANN401
    return Counter(Cell(label, predicted, **further) for label, predicted in pairs)


def test_scores_are_those_of_scikit_learn() -> None:
    labels, predicted = draw(500)
    scores = score_feedback(tally(labels, predicted), CLASSES)

    assert scores.accuracy == wilson_interval(accuracy_score(labels, predicted), 500, 0.95)
    precision, recall, f1, images = precision_recall_fscore_support(labels, predicted)
    for number, found in enumerate(scores.classes):
        assert found.precision is not None
        assert found.recall is not None
        assert found.f1 is not None
        assert (found.name, found.labeled) == (CLASSES[number], images[number])
        assert found.predicted == np.count_nonzero(predicted == CLASSES[number])
        values = (found.precision.value, found.recall.value, found.f1.value)
        assert values == pytest.approx((precision[number], recall[number], f1[number]))
        for interval in (found.precision, found.recall, found.f1):
            assert 0 <= interval.low < interval.value < interval.high <= 1
    assert scores.macro_f1 is not None
    assert scores.macro_f1.value == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_without_feedback_there_are_no_scores() -> None:
    scores = score_feedback(Tally(by_class=Counter(a=3)), CLASSES)
    assert (scores.labeled, scores.accuracy, scores.macro_f1) == (0, None, None)
    assert [each.predicted for each in scores.classes] == [3, 0, 0]
    assert {each.f1 for each in scores.classes} == {None}


def test_class_without_a_label_has_a_precision_only() -> None:
    scores = score_feedback(Tally(feedback=count_cells([("a", "a")] * 3 + [("a", "b")])), CLASSES)
    first, second, third = scores.classes
    assert first.recall is not None
    assert first.recall.value == 0.75
    assert second.precision is not None
    assert (second.precision.value, second.recall, second.f1) == (0.0, None, None)
    assert (third.precision, third.recall, third.f1) == (None, None, None)
    # As in the evaluation, a class without images is left out of the mean.
    assert first.f1 is not None
    assert scores.macro_f1 == macro_interval([first.f1])


def test_perfect_feedback_leaves_doubt() -> None:
    scores = score_feedback(Tally(feedback=count_cells([("a", "a"), ("b", "b")] * 5)), CLASSES)
    assert scores.macro_f1 is not None
    assert (scores.macro_f1.value, scores.macro_f1.high) == (1.0, 1.0)
    assert 0.5 < scores.macro_f1.low < 0.75


def delta_method(labels: Names, predicted: Names) -> tuple[float, float]:
    """The interval of macro F1 by Takahashi et al. (2022), Applied Intelligence 52, from the gradient of each cell."""
    table = np.array([[np.mean((labels == a) & (predicted == b)) for b in CLASSES] for a in CLASSES])
    sums = table.sum(axis=0) + table.sum(axis=1)
    f1 = 2 * np.diag(table) / sums
    gradient = -(f1 / sums)[:, None] - (f1 / sums)[None, :] + np.diag(2 / sums)
    gradient /= len(CLASSES)
    variance = (gradient**2 * table).sum() - (gradient * table).sum() ** 2
    half = norm.ppf(0.975) * np.sqrt(variance / len(labels))
    return f1.mean() - half, f1.mean() + half


def test_macro_interval_is_hardly_wider_than_the_delta_method_in_large_samples() -> None:
    labels, predicted = draw(5000)
    interval = score_feedback(tally(labels, predicted), CLASSES).macro_f1
    assert interval is not None
    low, high = delta_method(labels, predicted)
    assert 1.0 < (interval.high - interval.low) / (high - low) < 1.35


@pytest.mark.parametrize(("classes", "images"), [(2, 20), (3, 200), (40, 150)])
def test_intervals_contain_the_true_score(classes: int, images: int) -> None:
    generator, accuracy, trials = np.random.default_rng(0), 0.9, 300
    names = [str(number) for number in range(classes)]
    shares = generator.dirichlet(np.full(classes, 3.0))
    table = accuracy * np.diag(shares) + (1 - accuracy) * shares[:, None] / classes
    truth = 2 * np.diag(table) / (table.sum(axis=0) + table.sum(axis=1))
    covered: Counter[str] = Counter()
    for cells in generator.multinomial(images, table.ravel(), trials):
        pairs = {
            Cell(names[cell // classes], names[cell % classes]): int(cells[cell])
            for cell in cells.nonzero()[0]
        }
        scores = score_feedback(Tally(feedback=Counter(pairs)), names)
        largest = int(shares.argmax())
        for name, found, true in (
            ("macro_f1", scores.macro_f1, truth.mean()),
            ("f1", scores.classes[largest].f1, truth[largest]),
        ):
            covered[name] += found is not None and found.low <= true <= found.high
    assert covered["f1"] / trials > 0.92
    assert covered["macro_f1"] / trials > 0.95


def test_two_classes_share_each_mistake() -> None:
    part = Interval(0.8, 0.7, 0.85)
    assert macro_interval([part, part]) == Interval(0.8, pytest.approx(0.7), pytest.approx(0.9))
    assert macro_interval([part]) == Interval(0.8, pytest.approx(0.7), pytest.approx(0.9))


ASKED = {"asked": True}


def assert_close(found: Interval | None, expected: Interval) -> None:
    assert found is not None
    assert astuple(found) == pytest.approx(astuple(expected))


def test_sampled_and_volunteered_feedback_are_apart() -> None:
    right, wrong = [("a", "a")], [("b", "a")]
    feedback = count_cells(right * 45 + wrong * 5, **ASKED) + count_cells(right * 2) + count_cells(wrong * 38)
    found = Tally(by_class=Counter(a=1000), asked=80, feedback=feedback)
    sampled, volunteered = score_sampled(found, CLASSES), score_volunteered(found, CLASSES)

    assert sampled.accuracy == wilson_interval(0.9, 50, 0.95)
    assert sampled.response_rate == wilson_interval(50 / 80, 80, 0.95)
    assert (sampled.labeled, sampled.asked) == (50, 80)
    # Whatever the 30 would have said.
    assert (sampled.worst, sampled.best) == (pytest.approx(45 / 80), pytest.approx(75 / 80))
    assert volunteered.accuracy == wilson_interval(2 / 40, 40, 0.95)
    both = score_feedback(found, CLASSES)
    assert (both.labeled, both.accuracy) == (90, wilson_interval(47 / 90, 90, 0.95))
    # A thousand classes without feedback would fill the answer.
    assert (
        [each.name for each in sampled.classes] == [each.name for each in volunteered.classes] == ["a", "b"]
    )
    assert len(both.classes) == 3


def test_nobody_asked_and_nobody_answered() -> None:
    none = score_sampled(Tally(), CLASSES)
    assert (none.asked, none.response_rate, none.worst, none.best) == (0, None, None, None)
    silent = score_sampled(Tally(asked=20), CLASSES)
    assert silent.response_rate is not None
    assert (silent.response_rate.value, silent.accuracy, silent.worst, silent.best) == (0.0, None, 0.0, 1.0)
    shadow = score_sampled(Tally(feedback=count_cells([("a", "a")], **ASKED)), CLASSES, answers=False)
    assert (shadow.labeled, shadow.asked, shadow.response_rate, shadow.worst) == (1, None, None, None)


def test_one_who_lies_is_one_voice() -> None:
    honest = [count_cells([("a", "a")] * 9 + [("b", "a")], giver=f"honest {number}") for number in range(4)]
    liar = count_cells([("b", "a")] * 60, giver="liar")
    scores = score_feedback(Tally(feedback=sum(honest, liar)), CLASSES)
    assert scores.accuracy is not None
    assert scores.accuracy.value == pytest.approx(0.36)
    assert scores.givers == 5
    assert scores.others is not None
    assert (scores.others.removed, scores.others.labeled) == (60, 40)
    assert scores.others.accuracy == wilson_interval(0.9, 40, 0.95)
    only_honest = score_feedback(Tally(feedback=sum(honest, Counter[Cell]())), CLASSES)
    assert scores.others.macro_f1 == only_honest.macro_f1


def test_feedback_without_keys_has_no_giver() -> None:
    scores = score_feedback(Tally(feedback=count_cells([("a", "a")] * 3)), CLASSES)
    assert (scores.givers, scores.others) == (0, None)
    mixed = count_cells([("a", "a")] * 3) + count_cells([("a", "b")] * 2, giver="phone")
    scores = score_feedback(Tally(feedback=mixed), CLASSES)
    assert scores.others is not None
    assert (scores.givers, scores.others.removed, scores.others.labeled) == (1, 2, 3)
    alone = score_feedback(Tally(feedback=count_cells([("a", "b")] * 2, giver="phone")), CLASSES)
    assert alone.others == Others(2, 0, None, None)


def test_one_picture_a_hundred_times_is_one_picture() -> None:
    """A flood of one image neither makes the interval narrow nor hides in the number of labels."""
    apart = count_cells([("a", "a")] * 45 + [("b", "a")] * 5, **ASKED)
    flood = count_cells([("b", "a")] * 100, **ASKED, giver="flood")
    repeats = {
        Voice(asked=True, giver=None): Repeats(50, 50, 50),
        Voice(asked=True, giver="flood"): Repeats(1, 100, 10_000),
    }
    found = score_sampled(Tally(asked=200, feedback=apart + flood, repeats=repeats), CLASSES)
    assert (found.labeled, found.images) == (150, 51)
    # Kish: 150² / (50 + 100²).
    assert_close(found.accuracy, wilson_interval(0.3, 150**2 / 10_050, 0.95))
    assert found.accuracy is not None
    assert found.accuracy.high > 0.8
    assert found.others is not None
    assert found.others.accuracy == wilson_interval(0.9, 50, 0.95)
    recall = {each.name: each.recall for each in found.classes}["b"]
    assert_close(recall, wilson_interval(0.0, 105 * 150 / 10_050, 0.95))

    # Of an older log, or without files, nothing is known.
    unknown = score_sampled(Tally(asked=200, feedback=apart + flood), CLASSES)
    assert (unknown.images, unknown.accuracy) == (150, wilson_interval(0.3, 150, 0.95))


def test_tallies_add_up() -> None:
    first = Tally(asked=2, confidences=Counter({19: 3}), roles=Counter(active=3))
    cell = Cell("a", "a", bin=19)
    for each, confidence in ((first, 0.96), (second := Tally(asked=1, roles=Counter(canary=1)), 0.98)):
        each.feedback[cell] += 1
        each.feedback_confidence[cell] += confidence
        each.repeats[Voice(asked=False, giver=None)] = Repeats(1, 2, 4)
    total = merge_tallies([first, second])
    assert (total.asked, total.roles, total.confidences) == (3, {"active": 3, "canary": 1}, {19: 3})
    assert (total.feedback[cell], total.feedback_confidence[cell]) == (2, pytest.approx(1.94))
    assert total.repeats == {Voice(asked=False, giver=None): Repeats(2, 4, 8)}
    scores = score_feedback(total, CLASSES)
    assert scores.calibration is not None
    [bin_] = scores.calibration.bins
    assert (bin_.low, bin_.high, bin_.labeled, bin_.confidence) == (0.9, 1.0, 2, pytest.approx(0.97))
    assert scores.calibration.ece.value == pytest.approx(0.03)


def test_latency_has_mean_and_percentiles() -> None:
    found = Tally(by_class=Counter(a=100), total_ms=5050.0, latencies=np.arange(1.0, 101.0))
    assert measure_latency(found) == Latency(50.5, 50.5, pytest.approx(95.05), pytest.approx(99.01), 100)
    assert measure_latency(Tally()) is None


MODEL = LoggedModel("pets", "1", "a" * 64, ("a", "b"))


def record(database: Database, *rows: LoggedPrediction) -> None:
    assert database.write(rows) == 0


def entry(
    model: LoggedModel = MODEL, label: str = "a", hour: float = 10, **further: object
) -> LoggedPrediction:
    identity = str(further.pop("prediction_id", new_prediction_id()))
    time_us, confidence = int(hour * HOUR_US), float(str(further.pop("confidence", 0.75)))
    return LoggedPrediction(identity, model, label, confidence, 20.0, time_us=time_us, **further)  # type: ignore[arg-type]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path}/log.sqlite")


def history(
    database: Database, since: float = 0, name: str | None = None, version: str | None = None
) -> History:
    return read_history(database.engine, int(since * HOUR_US), name, version)


def test_history_counts_by_model_and_hour(database: Database) -> None:
    second = LoggedModel("pets", "2", "b" * 64, ("a", "b", "c"))
    other = LoggedModel("digits", None, "c" * 64, ("0", "1"))
    record(
        database,
        entry(sure=True, out_of_distribution=False),
        entry(sure=False, out_of_distribution=False, label="b"),
        entry(hour=10.9),
        entry(second, "c", hour=11.5),
        entry(other, "1", hour=13),
    )
    found = history(database)
    assert [each.model for each in found.models] == [other, second, MODEL]
    assert [each.by_hour for each in found.models] == [
        {13 * HOUR_US: 1},
        {11 * HOUR_US: 1},
        {10 * HOUR_US: 3},
    ]
    first = found.models[2].tally
    assert first.by_class == {"a": 2, "b": 1}
    assert (first.sure, first.sure_known, first.unlike, first.unlike_known) == (1, 2, 0, 2)
    assert (first.first_us, first.last_us) == (10 * HOUR_US, int(10.9 * HOUR_US))
    assert (first.confidence, first.total_ms) == (2.25, 60.0)
    assert first.latencies.tolist() == [20.0, 20.0, 20.0]
    total = merge_tallies(each.tally for each in found.models)
    assert (total.predictions, total.first_us, len(total.latencies)) == (5, 10 * HOUR_US, 5)

    assert [each.model for each in history(database, name="pets").models] == [second, MODEL]
    assert [each.model for each in history(database, name="pets", version="1").models] == [MODEL]
    assert history(database, name="pets", version="3") == History(())
    assert [each.model for each in history(database, since=11).models] == [other, second]


def test_feedback_counts_for_answer_and_shadow(database: Database) -> None:
    answer = entry(asked=True)
    challenger = LoggedModel("pets", "2", "b" * 64, ("a", "b"))
    beside = entry(challenger, "b", shadow_of=answer.prediction_id, role="shadow")
    record(database, answer, beside, entry())
    database.record_feedback(Feedback(answer.prediction_id, "b", given_by="phone"))
    found = {each.model.version: each for each in history(database).models}
    cell = Cell("b", "a", asked=True, giver="phone", bin=15)
    assert (found["1"].shadow, found["1"].tally.feedback) == (False, {cell: 1})
    assert (found["2"].shadow, found["2"].tally.feedback) == (True, {cell._replace(predicted="b"): 1})
    assert found["1"].tally.feedback_confidence == {cell: 0.75}
    assert (found["1"].tally.asked, found["2"].tally.asked) == (1, 0)
    assert (found["1"].tally.roles, found["2"].tally.roles) == ({"active": 2}, {"shadow": 1})
    assert (found["1"].by_hour, found["2"].by_hour) == ({10 * HOUR_US: 2}, {10 * HOUR_US: 1})
    # Feedback belongs to the time of its prediction.
    assert history(database, since=11).models == ()

    # The gauges are of answers.
    [(model, gauges)] = read_feedback(database.engine, 0)
    assert (model, gauges.feedback) == (MODEL, {cell: 1})


def test_confidences_are_counted_in_bins(database: Database) -> None:
    confidences = [0.0, 0.049, 0.05, 0.5, 0.75, 0.949, 0.95, 0.999, 1.0]
    record(database, *(entry(confidence=each) for each in confidences))
    [found] = history(database).models
    assert found.tally.confidences == {0: 2, 1: 1, 10: 1, 15: 1, 18: 1, 19: 3}


def test_a_version_that_is_no_longer_used_has_percentiles_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visiongate.monitoring.history.MAX_LATENCIES", 3)
    second = LoggedModel("pets", "2", "b" * 64, ("a", "b"))
    record(database, *(entry(hour=hour) for hour in (8, 9)), *(entry(second, hour=hour) for hour in (10, 11)))
    found = {each.model.version: each for each in history(database).models}
    assert (len(found["1"].tally.latencies), len(found["1"].latencies)) == (1, 2)
    assert (len(found["2"].tally.latencies), len(found["2"].latencies)) == (2, 2)


def test_repeated_files_are_counted(database: Database) -> None:
    def facts(sha256: str) -> ImageFacts:
        return ImageFacts(sha256, 10, 8, 8, "PNG", "L", 0.5, 0.1)

    same = [entry(asked=True, image=facts("s")) for _ in range(3)]
    others = [entry(asked=True, image=facts("o")), entry(asked=True), entry(image=facts("s")), entry()]
    record(database, *same, *others)
    for each in (*same, *others):
        database.record_feedback(Feedback(each.prediction_id, "a"))
    [found] = history(database).models
    assert found.tally.repeats == {
        Voice(asked=True, giver=None): Repeats(2, 4, 10),
        Voice(asked=False, giver=None): Repeats(1, 1, 1),
    }
    scores = score_sampled(found.tally, MODEL.classes)
    # Three of one picture, and two others, one of which is not known.
    assert (scores.labeled, scores.images) == (5, 3)
    assert_close(scores.accuracy, wilson_interval(1.0, 25 / 11, 0.95))
    [(_, gauges)] = read_feedback(database.engine, 0)
    assert gauges.repeats == found.tally.repeats
