"""Hands predictions over to the prediction log: no file names, nor anything else about who sent them.

Predictions of the example in a model's own file are left out: they test a deployment, and say nothing about users' images.
"""

from visiongate.images.extensions import extension_of
from visiongate.models.predictor import EMBEDDING, Outputs
from visiongate.models.sketch import Sketch, sketch
from visiongate.monitoring.entries import (
    FailureKind,
    LoggedModel,
    LoggedPrediction,
    Role,
    new_prediction_id,
)
from visiongate.monitoring.image_store import ImageStore
from visiongate.monitoring.kept_images import EncodedImage
from visiongate.monitoring.prediction_log import PredictionLog
from visiongate.serving.service import Answered
from visiongate.serving.versions.batching import Inference
from visiongate.serving.versions.loaded_model import LoadedModel
from visiongate.serving.versions.shares import find_position
from visiongate.serving.web.request_context import current_request
from visiongate.settings.serving import PredictionLog as Settings

# What a share of the prediction ids is drawn for.
IMAGES = "images"


class Recorder:
    """Records each prediction. It is an `Observer`."""

    def __init__(self, log: PredictionLog, settings: Settings, images: ImageStore | None) -> None:
        """Record to a log.

        Args:
            log: The log.
            settings: Whether to record sketches of embeddings, and which images to store.
            images: Stores images; None to store none.
        """
        self._log, self._settings, self._images = log, settings, images
        # The answers of a batch come together.
        self._batch: tuple[Outputs, Sketch] | None = None

    def predicted(self, answered: Answered) -> None:
        """Record an answer."""
        if not answered.is_example:
            kept = self._keep(answered)
            self._record(answered, answered.prediction_id, kept=kept)

    def compared(self, answered: Answered, shadow: Answered) -> None:
        """Record a prediction of the shadow, so that feedback on the answer counts for it, too."""
        if not answered.is_example:
            self._record(shadow, new_prediction_id(), shadow_of=answered.prediction_id)

    def unanswered(self, model: LoadedModel, role: Role, kind: FailureKind) -> None:
        """Count a failure of a version."""
        self._log.count_failure(describe_model(model), role, kind)

    def _record(
        self,
        answered: Answered,
        prediction_id: str,
        shadow_of: str | None = None,
        *,
        kept: bool | None = None,
    ) -> None:
        embedding = self._sketch(answered.inference) if self._settings.embeddings else None
        self._log.put(describe(answered, prediction_id, shadow_of, embedding, kept=kept))

    def _keep(self, answered: Answered) -> bool | None:
        """Store the image if it is wanted, and return whether that works; None if no file was sent.

        While the folder cannot be written, images wait, and some are lost: nobody is to count on them.
        """
        image = answered.image
        if image is None or image.facts is None:
            return None
        # Without its prediction, an image would be of no use.
        if self._images is None or self._log.is_full or not self._wants(answered):
            return False
        facts = image.facts
        taken = self._images.put(EncodedImage(facts.sha256, extension_of(facts.format), image.encoded))
        return taken and self._images.fault is None

    def _wants(self, answered: Answered) -> bool:
        """Return whether an image is to be stored. Those whose class is asked for are, so that answers can be learned from."""
        answers, row, images = answered.inference.answers, answered.inference.row, self._settings.images
        if images.keep == "sample":
            return answered.asked or find_position(answered.prediction_id, IMAGES) < images.share
        if images.keep == "unsure":
            sure, outside = answers.sure, answers.out_of_distribution
            unsure = sure is not None and not sure[row]
            return answered.asked or unsure or (outside is not None and bool(outside[row]))
        return images.keep == "all"

    def _sketch(self, inference: Inference) -> bytes | None:
        outputs = inference.outputs
        if EMBEDDING not in outputs:
            return None
        if self._batch is None or self._batch[0] is not outputs:
            self._batch = outputs, sketch(outputs[EMBEDDING])
        row: Sketch = self._batch[1][inference.row]
        return row.tobytes()


def describe(
    answered: Answered,
    prediction_id: str,
    shadow_of: str | None,
    embedding: bytes | None = None,
    *,
    kept: bool | None = None,
) -> LoggedPrediction:
    """Return what the log records of a prediction.

    Args:
        answered: The prediction.
        prediction_id: Its id.
        shadow_of: The id of the answer that it was made beside; None for an answer.
        embedding: Its sketch, if it is recorded.
        kept: Whether the file is stored.
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
        role=answered.role,
        asked=answered.asked,
        image=None if answered.image is None else answered.image.facts,
        embedding=embedding,
        kept=kept,
    )


def describe_model(model: LoadedModel) -> LoggedModel:
    """Return what the log records of a model."""
    return LoggedModel(model.name, model.version, model.origin.sha256, model.classifier.classes)
