"""The section ``monitoring.collect``: which feedback a person must look at before it trains a model."""

from pydantic import Field

from visiongate.settings.fields import Count, OpenShare, Section


class CollectRules(Section):
    """When `visiongate collect` doubts what somebody says about an image."""

    wrong_share: OpenShare = Field(
        default=0.05,
        description="Share of feedback that is wrong, as a slip or a lie. What one person says is doubted if, by the model's "
        "probabilities, it is more likely to be such feedback than right.",
    )
    level: OpenShare = Field(
        default=0.001,
        description="Probability of doubting an API key that is as reliable as the others, at most, of all keys and per run.",
    )
    min_answers: Count = Field(
        default=10, description="Images that a key must have told about to be doubted."
    )
