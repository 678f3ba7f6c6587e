"""The section ``transformation``: from encoded bytes to pixel arrays, and the splits."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from visiongate.settings.fields import Index, OpenShare, Section

TOLERANCE = 1e-9


class Split(Section):
    """Shares of the images, and how they are drawn."""

    method: Literal["auto", "hash", "stratified", "kfold"] = Field(
        description="How splits are drawn: by content hash, by its rank within each class, or as folds; auto takes stratified "
        "below 10,000 images, and kfold with cross-validation."
    )
    train: OpenShare = Field(description="Share of the training images.")
    val: OpenShare = Field(description="Share of the validation images.")
    test: OpenShare = Field(description="Share of the test images.")
    seed: Index = Field(description="Another seed draws another split.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > TOLERANCE:
            raise ValueError(f"train + val + test is {total:g}, but must be 1")
        return self


class Transformation(Section):
    """From encoded bytes to uint8 pixels."""

    size: Annotated[int, Field(ge=4, le=1024)] = Field(description="Width and height, in pixels.")
    mode: Literal["L", "RGB"] = Field(description="Gray or color.")
    resize: Literal["stretch", "center-crop", "letterbox"] = Field(
        description="How an image becomes square: distorted, cropped or padded."
    )
    split: Split = Field(description="Shares of the splits.")
