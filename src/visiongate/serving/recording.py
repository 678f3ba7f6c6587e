"""Hands predictions over to the prediction log: neither images nor file names, nor anything else about who sent them.

Predictions of the example in a model's own file are left out: they test a deployment, and say nothing about users' images.
"""

from visiongate.monitoring.entries import LoggedModel, LoggedPrediction, new_prediction_id
from visiongate.monitoring.prediction_log import PredictionLog
from visiongate.serving.service import Answered
from visiongate.serving.versions.loaded_model import LoadedModel
from visiongate.serving.web.request_context import current_request


class Recorder:
    """Records each prediction. It is an `Observer`."""

    def __init__(self, log: PredictionLog) -> None:
        """Record to a log."""
        self._log = log

    def predicted(self, answered: Answered) -> None:
        """Record an answer."""
        if not answered.is_example:
            self._log.put(describe(answered, answered.prediction_id, shadow_of=None))

    def compared(self, answered: Answered, shadow: Answered) -> None:
        """Record a prediction of the shadow, so that feedback on the answer counts for it, too."""
        if not answered.is_example:
            self._log.put(describe(shadow, new_prediction_id(), shadow_of=answered.prediction_id))


def describe(answered: Answered, prediction_id: str, shadow_of: str | None) -> LoggedPrediction:
    """Return what the log records of a prediction.

    Args:
        answered: The prediction.
        prediction_id: Its id.
        shadow_of: The id of the answer that it was made beside; None for an answer.
    """
    answers, row, timing = answered.inference.answers, answered.inference.row, answered.timing
    sure, outside = answers.sure, answers.out_of_distribution
    model, request = describe_model(answered.model), current_request.get()
    return LoggedPrediction(
        prediction_id=prediction_id,
        model=model,
        predicted=model.classes[int(answers.predicted[row])],
        confidence=float(answers.confidence[row]),
        total_ms=1000 * timing.total,
        decode_ms=1000 * timing.decode,
        wait_ms=1000 * timing.wait,
        inference_ms=1000 * timing.inference,
        probabilities=answers.probabilities[row].astype("<f4").tobytes(),
        sure=None if sure is None else bool(sure[row]),
        out_of_distribution=None if outside is None else bool(outside[row]),
        request_id=None if request is None else request.request_id,
        shadow_of=shadow_of,
    )


def describe_model(model: LoadedModel) -> LoggedModel:
    """Return what the log records of a model."""
    return LoggedModel(model.name, model.version, model.origin.sha256, model.classifier.classes)
