"""What a model saves against another: bytes of its file, or milliseconds for an image."""

from dataclasses import dataclass
from typing import Literal

from visiongate.evaluation.latency import measure_latency
from visiongate.models.predictor import Images, Predictor
from visiongate.settings.evaluation import Evaluation

Kind = Literal["size", "latency"]
ROUNDS = 2  # each model is timed so often, in turn; the least disturbed counts


@dataclass(frozen=True, slots=True)
class Gain:
    """What two models cost."""

    kind: Kind
    challenger: float  # bytes or milliseconds
    champion: float

    @property
    def saved(self) -> float:
        """The share of the champion's cost that the challenger saves; below 0 where it costs more."""
        return 1 - self.challenger / self.champion

    def __str__(self) -> str:
        """Say it in words, such as ``its file has 40 kB, not 50 kB``."""
        if self.kind == "size":
            return (
                f"its file has {self.challenger / 1000:.1f} kB, the champion's {self.champion / 1000:.1f} kB"
            )
        return (
            f"it takes {self.challenger:.3g} ms an image, the champion {self.champion:.3g} ms, measured here"
        )


def measure_gain(
    kind: Kind, challenger: Predictor, champion: Predictor, images: Images, settings: Evaluation
) -> Gain:
    """Measure what two models cost, both now and on this machine.

    Args:
        kind: What counts: ``size``, or ``latency``, the median time of a single image.
        challenger: The one that is to save something.
        champion: The one to compare with.
        images: uint8, N×H×W×C, to time them on.
        settings: How many images to time.
    """
    if kind == "size":
        return Gain(kind, challenger.size, champion.size)
    times = [
        [measure_latency(model, images, settings)["latency_p50_ms"] for model in (challenger, champion)]
        for _ in range(ROUNDS)
    ]
    mine, theirs = (min(column) for column in zip(*times, strict=True))
    return Gain(kind, mine, theirs)
