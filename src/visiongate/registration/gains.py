"""What a model saves compared with another: bytes of its file, or milliseconds per image."""

from dataclasses import dataclass
from typing import Literal

from visiongate.evaluation.latency import measure_latency
from visiongate.models.predictor import Images, Predictor
from visiongate.settings.evaluation import Evaluation

Kind = Literal["size", "latency"]
# The models are timed in turn, this many times; the shortest time counts.
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Gain:
    """The cost of two models, in bytes or milliseconds."""

    kind: Kind
    challenger: float
    champion: float

    @property
    def saved(self) -> float:
        """The share of the champion's cost that the challenger saves; negative if it costs more."""
        return 1 - self.challenger / self.champion

    def __str__(self) -> str:
        """Return both costs as text."""
        if self.kind == "size":
            return f"file size {self.challenger / 1000:.1f} kB against {self.champion / 1000:.1f} kB"
        return f"latency {self.challenger:.3g} ms against {self.champion:.3g} ms on this machine"


def measure_gain(
    kind: Kind, challenger: Predictor, champion: Predictor, images: Images, settings: Evaluation
) -> Gain:
    """Measure the cost of two models on this machine.

    Args:
        kind: ``size``, or ``latency``, the median time of a single image.
        challenger: The model that must save something.
        champion: The model to compare with.
        images: uint8, N×H×W×C, to time them on.
        settings: How many images to time.
    """
    if kind == "size":
        return Gain(kind, challenger.size, champion.size)
    times = [
        [measure_latency(model, images, settings)["latency_p50_ms"] for model in (challenger, champion)]
        for _ in range(ROUNDS)
    ]
    challenger_ms, champion_ms = (min(column) for column in zip(*times, strict=True))
    return Gain(kind, challenger_ms, champion_ms)
