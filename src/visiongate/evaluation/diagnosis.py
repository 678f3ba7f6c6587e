"""Where a model fails: on which images of the test split, on which labels, and on which corruptions."""

from dataclasses import dataclass

import pyarrow as pa

from visiongate.evaluation.corruptions import (
    RobustnessRow,
    mean_corruption_accuracy,
    measure_robustness,
    sample_images,
)
from visiongate.evaluation.label_errors import LabelErrors, find_label_errors
from visiongate.evaluation.slices import Description, cut_slices
from visiongate.images.pixels import Pixels, PixelSplit
from visiongate.models.predictions import Predictions
from visiongate.models.predictor import Predictor
from visiongate.records.evaluation import Slice, worst_slice
from visiongate.settings.evaluation import Evaluation


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found."""

    slices: list[Slice]
    worst: Slice | None
    label_errors: LabelErrors  # of the test split
    robustness: list[RobustnessRow]  # empty where none is asked for

    def facts(self) -> dict[str, float]:
        """Return it as metrics; what was not measured is missing."""
        worst = {} if self.worst is None else {"worst_slice_accuracy": self.worst.accuracy}
        if not self.robustness:
            return worst
        return {**worst, "corrupted_accuracy": mean_corruption_accuracy(self.robustness)}


def diagnose(
    model: Predictor, test: Predictions, pixels: PixelSplit, manifest: pa.Table, settings: Evaluation
) -> Diagnosis:
    """Look for what the metrics over all images hide.

    Args:
        model: The model that is judged.
        test: Its predictions of the test split.
        pixels: The test split.
        manifest: Where the images came from, in the same order, with the columns ``path``, ``group``, ``width`` and ``height``.
        settings: Sizes, seed and confidence.
    """
    slices = cut_slices(
        test, describe_images(pixels.images, manifest), settings.confidence, settings.slice_images
    )
    return Diagnosis(
        slices,
        worst_slice(slices, settings.slice_images),
        find_label_errors(test),
        _measure_robustness(model, pixels, settings),
    )


def describe_images(images: Pixels, manifest: pa.Table) -> list[Description]:
    """Say of each image what slices are cut by; its source is the topmost folder of its path."""
    return [
        Description(
            float(image.mean()),
            row["path"].partition("/")[0],
            row["group"],
            row["width"],
            row["height"],
        )
        for image, row in zip(images, manifest.to_pylist(), strict=True)
    ]


def _measure_robustness(model: Predictor, pixels: PixelSplit, settings: Evaluation) -> list[RobustnessRow]:
    if not settings.corruption_images:
        return []
    chosen = sample_images(pixels.labels, settings.corruption_images, settings.seed)
    return measure_robustness(
        model, pixels.images[chosen], pixels.labels[chosen], settings.seed, settings.batch_size
    )
