"""The section ``monitoring.collect``: which feedback a person must look at before it trains a model."""

from pydantic import Field

from visiongate.settings.fields import Count, OpenShare, Section


class CollectRules(Section):
    """When `visiongate collect` doubts what somebody says about an image."""

    doubtful_confidence: OpenShare = Field(
        default=0.98,
        description="Confidence from which one person who contradicts an answer is doubted: set it to the share of feedback "
        "that is right.",
    )
    level: OpenShare = Field(
        default=0.001,
        description="Probability of doubting an API key that is as reliable as the others, at most, of all keys and per run.",
    )
    min_answers: Count = Field(
        default=10, description="Images that a key must have told about to be doubted."
    )
