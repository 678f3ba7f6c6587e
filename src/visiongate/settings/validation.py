"""The section ``validation``: requirements on the raw image table."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from visiongate.settings.fields import Count, Index, Section, Severity, Share


class Expectation(Section):
    """An expectation without a bound."""

    severity: Severity = Field(description="`critical` stops the pipeline, `warning` is reported.")


class AllowedFormats(Expectation):
    """Encoded formats."""

    allowed: list[str] = Field(min_length=1, description="Formats as Pillow names them.")


class AllowedModes(Expectation):
    """Color modes."""

    allowed: list[str] = Field(min_length=1, description="Color modes as Pillow names them.")


class MinShare(Expectation):
    """A lower bound on a share of the rows."""

    min_share: Share = Field(description="Minimum share of the rows.")


class SizeRange(Expectation):
    """Bounds on width and height."""

    min_side: Count = Field(description="Shortest side, in pixels.")
    max_side: Count = Field(description="Longest side, in pixels.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is greater than max_side {self.max_side}")
        return self


class MinRows(Expectation):
    """A lower bound on the number of rows."""

    min_rows: Count = Field(description="Minimum number of rows.")


class MaxRatio(Expectation):
    """An upper bound on a ratio."""

    max_ratio: Annotated[float, Field(ge=1)] = Field(
        description="Maximum ratio of the largest to the smallest."
    )


class MaxCount(Expectation):
    """An upper bound on a number of images."""

    max_count: Index = Field(description="Maximum number of images.")


class Validation(Section):
    """Requirements on the raw image table."""

    columns: Expectation = Field(description="The table has the expected columns.")
    extensions: Expectation = Field(description="A file's extension is that of its format.")
    formats: AllowedFormats = Field(description="Encoded formats.")
    decodable: MinShare = Field(description="Share of the images that can be decoded.")
    size: SizeRange = Field(description="Sides of an image.")
    aspect: MaxRatio = Field(description="Longer over shorter side.")
    modes: AllowedModes = Field(description="Color modes.")
    brightness: Expectation = Field(description="Every image has a mean brightness from 0 to 255.")
    classes: Expectation = Field(description="The classes are those of the data set.")
    rows_per_class: MinRows = Field(description="Images of each class.")
    balance: MaxRatio = Field(description="Images of the largest over the smallest class.")
    unique: MinShare = Field(description="Share of the images with unique bytes.")
    label_conflicts: MaxCount = Field(description="Images whose bytes also have another label.")
    split_overlap: MaxCount = Field(description="Images whose bytes are in another given split too.")
    split_groups: MaxCount = Field(description="Groups that are in several given splits.")
