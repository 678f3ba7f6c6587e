"""How well confidences match the shares of correct answers, from counts in bins of the confidence."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from visiongate.records.interval import Interval, wilson_interval

# Confidences are counted in bins of this width, the bounds included below: [0, 0.05), [0.05, 0.1), …, [0.95, 1].
BINS: Final = 20
# For the calibration, two of them are one bin: fewer answers have feedback.
RELIABILITY_BINS: Final = 10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The predictions with feedback whose confidence is in a range."""

    low: Annotated[float, Field(description="The least confidence.")]
    high: Annotated[float, Field(description="The greatest confidence; that of the last bin is included.")]
    labeled: Annotated[int, Field(description="Predictions with feedback.")]
    confidence: Annotated[float, Field(description="Their mean confidence.")]
    accuracy: Annotated[Interval, Field(description="Share of them that was correct.")]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether answers with a confidence of 90% are correct nine times in ten."""

    ece: Annotated[
        Interval,
        Field(
            description="Expected calibration error: the mean difference of confidence and accuracy over the bins. Few answers "
            "bias its value upward, but not its interval."
        ),
    ]
    bins: Annotated[tuple[ReliabilityBin, ...], Field(description="Those with feedback.")]


def measure_calibration(
    labeled: Floats,
    correct: Floats,
    confidence: Floats,
    level: float,
    independent: float = 1.0,
) -> Calibration | None:
    """Return the calibration; None without feedback.

    Args:
        labeled: Predictions with feedback by bin, `BINS` of them.
        correct: The correct ones of these.
        confidence: Sums of their confidences.
        level: Of the intervals.
        independent: How many independent predictions each one is worth, for the intervals.
    """
    sums = [each.reshape(RELIABILITY_BINS, -1).sum(1) for each in (labeled, correct, confidence)]
    used = sums[0] > 0
    if not used.any():
        return None
    images, hits, confidences = (each[used] for each in sums)
    bins = tuple(
        ReliabilityBin(
            number / RELIABILITY_BINS,
            (number + 1) / RELIABILITY_BINS,
            int(count),
            # Rounding of sums must not leave 0 to 1.
            min(1.0, float(total / count)),
            wilson_interval(float(right / count), float(count) * independent, level),
        )
        for number, count, right, total in zip(
            used.nonzero()[0].tolist(), images, hits, confidences, strict=True
        )
    )
    ece = bound_ece(images * independent, hits * independent, confidences * independent, level)
    return Calibration(ece, bins)


def bound_ece(images: Floats, correct: Floats, confidence: Floats, level: float) -> Interval:
    """Return the expected calibration error with an interval that few images do not bias.

    The error is the mean |g| of the bins' gaps g, weighted by images. Noise of the estimated gaps ĝ lifts it, also in each
    sample of a bootstrap, whose interval then excludes the 0 of a calibrated model. Two inequalities hold for any gaps:

    - mean |ĝ| - mean |g| is at most mean |ĝ - g|, a sum of folded normal variables, whose upper quantile gives the lower bound;
    - mean |g| - mean |ĝ| is at most the sum of w sign(g) (g - ĝ), which is normal around 0 and gives the upper bound.

    Args:
        images: By bin, each above 0.
        correct: Correct predictions by bin.
        confidence: Sums of confidences by bin.
        level: Of the interval, such as 0.95.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    weights, gaps = images / images.sum(), np.abs(correct - confidence) / images
    error = float(weights @ gaps)
    # Laplace's estimate, so that a bin without a mistake is not taken for certain.
    share = (correct + 1) / (images + 2)
    variances = share * (1 - share) / images
    noise = float(weights**2 @ variances)
    # The weights are estimates, too.
    spread = float(weights @ (gaps - error) ** 2 / images.sum())
    excess = float(weights @ np.sqrt(variances)) * (2 / np.pi) ** 0.5
    low = error - excess - z * (noise * (1 - 2 / np.pi) + spread) ** 0.5
    high = error + z * (noise + spread) ** 0.5
    return Interval(error, max(0.0, low), min(1.0, max(error, high)))
