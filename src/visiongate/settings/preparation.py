"""The section ``preparation``: quarantine and near-duplicates."""

from typing import Annotated

from pydantic import Field

from visiongate.settings.fields import Count, NonNegative, Section


class NearDuplicates(Section):
    """When two images with different bytes count as the same picture."""

    max_distance: Annotated[int, Field(ge=0, le=16)] = Field(
        description="Bits of 64 in which the perceptual hashes differ."
    )
    max_difference: NonNegative = Field(
        description="RMS difference of the 32×32 gray sketches, in standard deviations."
    )


class Preparation(Section):
    """Which images are quarantined, and which count as the same picture."""

    min_side: Count = Field(description="Shortest side, in pixels.")
    min_contrast: NonNegative = Field(
        description="Standard deviation of the brightness, 0 to 127.5; below it an image is blank."
    )
    near_duplicates: NearDuplicates = Field(description="When two images count as the same picture.")
    samples_per_class: Count = Field(description="Images per class on the exploration page.")
