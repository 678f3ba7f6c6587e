"""The sections ``monitoring.rollout`` and ``monitoring.retrain``: what a challenger must show, and when to train again."""

from pydantic import Field

from visiongate.settings.fields import Count, NonNegative, OpenShare, Positive, Section, Share


class RolloutRules(Section):
    """What `visiongate rollout` asks of a challenger, as a shadow and as a canary."""

    level: OpenShare = Field(
        default=0.05,
        description="Probability of a wrong verdict about a challenger, at most, however often somebody looks.",
    )
    margin: Share = Field(
        default=0.0,
        description="Accuracy that a shadow may lose against the champion; 0: it must be shown to be better.",
    )
    canary_margin: Share = Field(default=0.02, description="The same of a canary.")
    min_labels: Count = Field(default=50, description="True classes that a promotion needs.")
    min_answers: Count = Field(default=1000, description="Predictions that a promotion needs.")
    max_error_ratio: Positive = Field(
        default=2.0,
        description="Failures per prediction, as a multiple of the champion's, that are accepted.",
    )
    max_latency_ratio: Positive = Field(
        default=1.5,
        description="95th percentile of a canary's latency, as a multiple of the champion's, that is accepted.",
    )
    one_giver_decides: bool = Field(
        default=False,
        description="Whether the true classes that one API key gave may decide. Otherwise the verdict must hold without those "
        "of the most active key, too, if several gave some.",
    )
    idle_hours: Positive = Field(
        default=24.0, description="After which a challenger without predictions is no longer judged."
    )


class RetrainRules(Section):
    """When `visiongate retrain-check` says that a new model is due."""

    yearly_level: OpenShare = Field(
        default=0.05,
        description="Probability that measured harm is found within a year although there is none, at most, however often "
        "somebody looks.",
    )
    margin: NonNegative = Field(
        default=0.02, lt=1, description="Accuracy that the champion may lose against its reference."
    )
    min_labels: Count = Field(default=50, description="True classes that measured harm needs.")
    one_giver_decides: bool = Field(default=False, description="As `monitoring.rollout.one_giver_decides`.")
    new_labels: Count = Field(
        default=500,
        description="Images with true classes that were not collected yet, which are reason enough.",
    )
