"""The model of a work tree, which the stages describe."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visiongate.errors import DataError
from visiongate.records.evaluation import read_metrics
from visiongate.records.model_card import strip_front_matter
from visiongate.records.registration import Registration, read_registration


@dataclass(frozen=True, slots=True)
class WorkTree:
    """The files of a work tree.

    Attributes:
        model: The model.
        metrics: Its metrics, which have its threshold, if any.
        registration: The decision about the registered model.
        card: The card of the registered model.
        reference: The held-out images that the model was evaluated on, for `visiongate drift`.
    """

    model: Path
    metrics: Path
    registration: Path
    card: Path
    reference: Path

    def has(self, path: Path) -> bool:
        """Return whether a file is the model."""
        return self.model.exists() and path.samefile(self.model)

    def describe(self, sha256: str) -> dict[str, Any]:
        """Return the model's threshold and, if it is the registered one, its name, card and lineage.

        Args:
            sha256: Of the model.

        Raises:
            DataError: The file of the metrics is invalid.
        """
        threshold = read_metrics(self.metrics).get("threshold") if self.metrics.exists() else None
        registration = self._find_registration()
        if registration is None or registration.model_sha256 != sha256:
            return {"threshold": threshold}
        return {
            "threshold": threshold,
            "name": registration.name,
            "card": strip_front_matter(self.card.read_text(encoding="utf-8")) if self.card.exists() else None,
            "lineage": asdict(registration.lineage),
        }

    def _find_registration(self) -> Registration | None:
        try:
            return read_registration(self.registration)
        except DataError:
            # It only adds a description.
            return None
