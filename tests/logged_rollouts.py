"""Predictions of a champion and a challenger in a prediction log, with true classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from visiongate.monitoring.database import Database
from visiongate.monitoring.entries import (
    Feedback,
    ImageFacts,
    LoggedModel,
    LoggedPrediction,
    Role,
    new_prediction_id,
)
from visiongate.monitoring.rollout_report import RolloutModel
from visiongate.monitoring.times import now_us

CLASSES = ("cat", "dog")
CHAMPION = LoggedModel("pets", "1", "a" * 64, CLASSES)
CHALLENGER = LoggedModel("pets", "2", "b" * 64, CLASSES)
ACTIVE: Role = "active"
CANARY: Role = "canary"
FACTS = ImageFacts("", 1000, 32, 32, "JPEG", "RGB", 0.5, 0.2)


@dataclass(frozen=True)
class Shown:
    """An image whose true class is `cat`, and who predicts it correctly; None does not predict it."""

    champion: bool | None = True
    challenger: bool | None = None
    image: str | None = None
    asked: bool = True
    labeled: bool = True
    kept: bool = False
    given_by: str | None = None
    total_ms: float = 5.0


class Log:
    """A prediction log in a folder."""

    def __init__(
        self,
        folder: Path,
        champion: RolloutModel | None = None,
        challenger: RolloutModel | None = None,
        *,
        address: str | None = None,
    ) -> None:
        self.champion = _model(champion) if champion else CHAMPION
        self.challenger = _model(challenger) if challenger else CHALLENGER
        self.address = address or f"sqlite:///{folder}/predictions.sqlite"
        self.database = Database(self.address)
        self._images = 0

    def show(self, images: Sequence[Shown], *, shadow: bool = False) -> None:
        """Write predictions, beside each other with a shadow, and the true classes."""
        entries, given = [], []
        for number, shown in enumerate(images):
            self._images += 1
            facts = FACTS._replace(sha256=shown.image or f"{self._images:064x}")
            time_us = now_us() - 1000 * (len(images) - number)
            as_canary = shown.champion is None
            model, role = (self.challenger, CANARY) if as_canary else (self.champion, ACTIVE)
            correct = shown.challenger if as_canary else shown.champion
            answer = _entry(model, role, _predicted(correct), facts, time_us)
            entries.append(replace(answer, asked=shown.asked, total_ms=shown.total_ms, kept=shown.kept))
            if shadow and shown.challenger is not None:
                beside = _entry(self.challenger, "shadow", _predicted(shown.challenger), facts, time_us + 1)
                entries.append(replace(beside, shadow_of=answer.prediction_id))
            if shown.labeled:
                given.append(Feedback(answer.prediction_id, "cat", given_by=shown.given_by))
        self.database.write(entries)
        for each in given:
            self.database.record_feedback(each)


def _model(version: RolloutModel) -> LoggedModel:
    return LoggedModel(version.name, version.version, version.sha256, CLASSES)


def _entry(
    model: LoggedModel,
    role: Role,
    predicted: str,
    facts: ImageFacts,
    time_us: int,
) -> LoggedPrediction:
    return LoggedPrediction(
        new_prediction_id(), model, predicted, 0.9, 5.0, role=role, image=facts, time_us=time_us
    )


def _predicted(correct: bool | None) -> str:  # noqa: FBT001
    return "cat" if correct else "dog"


def draw_pairs(images: int, champion: float, challenger: float, seed: int = 0) -> list[Shown]:
    """Return images that two versions predict with some accuracies, independently."""
    random = np.random.default_rng(seed).random((images, 2)) < [champion, challenger]
    return [Shown(bool(first), bool(second)) for first, second in random]


def draw_arms(
    images: int, champion: float, challenger: float, share: float = 0.2, seed: int = 0
) -> list[Shown]:
    """Return images that either a canary or the champion predicts."""
    random = np.random.default_rng(seed).random((images, 2))
    return [
        Shown(None, bool(hit < challenger)) if arm < share else Shown(bool(hit < champion))
        for arm, hit in random
    ]
