"""The section ``evaluation``: how the exported model is measured."""

from typing import Annotated, Literal

from pydantic import Field

from visiongate.settings.fields import Count, Index, OpenShare, Section, Share


class Evaluation(Section):
    """How the exported model is measured."""

    protocol: Literal["auto", "holdout", "cross_validation"] = Field(
        description="How images judge a model: a test split, or cross-validation; auto cross-validates fewer than 1,000 images "
        "without a given test split."
    )
    folds: Annotated[int, Field(ge=3)] = Field(description="Folds of the cross-validation.")
    batch_size: Count = Field(
        description="Most images in the batch whose latency is measured, and that are corrupted at a time."
    )
    calibration_bins: Count = Field(description="Bins of the calibration error.")
    bootstrap_samples: Annotated[int, Field(ge=50)] = Field(description="Samples of the bootstrap.")
    confidence: OpenShare = Field(description="Level of the confidence intervals.")
    seed: Index = Field(description="Seed of the bootstrap and of the corruptions.")
    latency_runs: Count = Field(description="Predictions that are timed.")
    positive: str | None = Field(description="Positive class, of two classes; null takes the last.")
    threshold: Literal["argmax", "youden", "recall"] = Field(
        description="Operating point of two classes, chosen on the validation split."
    )
    recall_floor: Share = Field(description="With threshold recall: lowest recall of the positive class.")
    slice_images: Count = Field(description="Fewest images of a slice that can be the worst.")
    corruption_images: Index = Field(
        description="Maximum number of test images to corrupt; 0 skips the corruptions."
    )
    reference_images: Count = Field(
        description="Maximum number of held-out images in the reference that `visiongate drift` compares with."
    )
    gallery_images: Count = Field(description="Maximum number of images in each gallery of the page.")
