"""A service's prediction log and kept images, with feedback, written as the service writes them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiongate.monitoring.database import Database
from visiongate.monitoring.entries import (
    Feedback,
    ImageFacts,
    LoggedModel,
    LoggedPrediction,
    new_prediction_id,
)

MODEL = LoggedModel("digits", "4", "e" * 64, tuple(str(label) for label in range(10)))


@dataclass
class Visitors:
    """People who send images and say what they show.

    Attributes:
        address: Of the log's database.
        folder: Of the kept images.
    """

    address: str
    folder: Path
    model: LoggedModel = MODEL

    def send(
        self,
        image: bytes | None,
        predicted: str,
        confidence: float = 0.7,
        *,
        kept: bool = True,
        **changes: Any,  # noqa: ANN401 - as `LoggedPrediction`
    ) -> str:
        """Send an image; return the id of the prediction."""
        facts = None
        if image is not None:
            sha256 = hashlib.sha256(image).hexdigest()
            facts = ImageFacts(sha256, len(image), 8, 8, "PNG", "L", 0.5, 0.2)
            if kept:
                file = self.folder / sha256[:2] / f"{sha256}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(image)
        entry = LoggedPrediction(
            new_prediction_id(), self.model, predicted, confidence, 5.0, image=facts, **changes
        )
        database = Database(self.address)
        assert database.write([entry]) == 0
        database.close()
        return entry.prediction_id

    def say(self, prediction_id: str, label: str, by: str | None = None) -> None:
        """Tell the true class of a prediction's image."""
        database = Database(self.address)
        database.record_feedback(Feedback(prediction_id, label, given_by=by))
        database.close()

    def tell(
        self, image: bytes, predicted: str, label: str, confidence: float = 0.7, *, by: str | None = None
    ) -> str:
        """Send an image, tell its true class, and return its sha256."""
        self.say(self.send(image, predicted, confidence), label, by)
        return hashlib.sha256(image).hexdigest()
