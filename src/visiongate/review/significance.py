"""Whether the difference between two revisions is significant, by the test that `register` uses."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from visiongate.comparison.paired_test import Comparison, compare, uses_mcnemar
from visiongate.comparison.predictions import GroundTruth, UnlabeledPredictions
from visiongate.records.predictions import RecordedPredictions
from visiongate.review.markdown import Markdown, render_value
from visiongate.review.snapshot import Snapshot
from visiongate.settings.registry import Registry


def describe_significance(current: Snapshot, base: Snapshot, registry: Registry) -> Markdown:
    """Describe whether one model is significantly better on the same test images, or why that is unknown."""
    if current.predictions is None or base.predictions is None:
        return Markdown("Significance is unknown: the predictions are unavailable.")
    now, before = _sort(current.predictions), _sort(base.predictions)
    if list(now.sha256) != list(before.sha256) or list(now.labels) != list(before.labels):
        return Markdown("The test images or their labels differ, so the metrics are not comparable.")
    names = _class_names(current, now)
    if names is None or names != _class_names(base, before):
        return Markdown("Significance is unknown: the classes differ.")
    groups = _find_groups(current, now)
    if groups is None:
        return Markdown("Significance is unknown: the groups of the test images are unavailable.")
    truth = GroundTruth(_encode(names, now.labels), groups)
    if len(set(groups)) == 1 and groups[0] is not None and not uses_mcnemar(truth, registry):
        return Markdown("Significance is unknown: all test images are in one group.")
    return _compare(_encode_predictions(now, names), _encode_predictions(before, names), truth, registry)


def _sort(predictions: RecordedPredictions) -> RecordedPredictions:
    """Return the predictions in the order of the hashes."""
    order = sorted(range(len(predictions.sha256)), key=predictions.sha256.__getitem__)
    columns = (predictions.sha256, predictions.labels, predictions.predicted)
    sha256, labels, predicted = ([column[index] for index in order] for column in columns)
    return RecordedPredictions(sha256, labels, predicted, predictions.probabilities[order])


def _compare(
    now: UnlabeledPredictions, before: UnlabeledPredictions, truth: GroundTruth, registry: Registry
) -> Markdown:
    result = compare(now, before, truth, registry)
    if result.difference >= 0:
        return _describe(result, "better", (result.wins, result.losses), registry.alpha)
    result = compare(before, now, truth, registry)
    return _describe(result, "worse", (result.losses, result.wins), registry.alpha)


def _describe(result: Comparison, direction: str, counts: tuple[int, int], alpha: float) -> Markdown:
    fixed, broken = counts
    if fixed == broken == 0 and result.difference == 0:
        return Markdown("Both models are correct on the same test images.")
    verdict = (
        f"**Significantly {direction}**" if result.p_value < alpha else "**Not significantly different**"
    )
    return Markdown(
        f"{verdict} on the same {result.images:,} test images: {fixed:,} errors fixed, {broken:,} introduced "
        f"({result.metric}, one-sided {result.test}, p = {render_value(result.p_value)})."
    )


def _class_names(snapshot: Snapshot, predictions: RecordedPredictions) -> list[str] | None:
    """Return the classes in the order of the probabilities; None if the records contradict each other."""
    names = [row.name for row in snapshot.classes or ()]
    complete = len(set(names)) == len(names) == predictions.probabilities.shape[1]
    return names if complete and {*predictions.labels, *predictions.predicted} <= set(names) else None


def _find_groups(snapshot: Snapshot, predictions: RecordedPredictions) -> list[str | None] | None:
    """Return the group of each test image, or None for an image without one; nothing if an image is unknown."""
    if snapshot.images is None:
        return None
    columns = (snapshot.images[name].to_pylist() for name in ("sha256", "group"))
    known: Mapping[str, str | None] = dict(zip(*columns, strict=True))
    return (
        [known[sha256] for sha256 in predictions.sha256] if known.keys() >= set(predictions.sha256) else None
    )


def _encode_predictions(predictions: RecordedPredictions, names: Sequence[str]) -> UnlabeledPredictions:
    return UnlabeledPredictions(predictions.probabilities, _encode(names, predictions.predicted))


def _encode(names: Sequence[str], labels: Sequence[str]) -> npt.NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[label] for label in labels], dtype=np.int64)
