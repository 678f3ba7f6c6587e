"""The section ``monitoring``: what `visiongate drift` and others conclude from the prediction log.

The settings have defaults, so that the commands work without ``params.yaml``. Those in ``conf/monitoring`` are the same.
"""

from typing import Annotated, Final, Literal, get_args

from pydantic import Field, field_validator

from visiongate.settings.collecting import CollectRules
from visiongate.settings.fields import NonNegative, OpenShare, Positive, Section, Share
from visiongate.settings.rollout import RetrainRules, RolloutRules
from visiongate.settings.serving import MAX_WINDOW_HOURS

# The order is that of reports.
DriftTest = Literal[
    "flood",
    "format",
    "mode",
    "size",
    "aspect",
    "brightness",
    "contrast",
    "embeddings",
    "novelty",
    "out_of_distribution",
    "classes",
    "probabilities",
    "confidence",
    "accuracy",
]
DRIFT_TESTS: Final[tuple[DriftTest, ...]] = get_args(DriftTest)


class Drift(Section):
    """The comparison of recent predictions with the reference of a version, `visiongate drift`."""

    window_hours: Positive = Field(
        default=168.0, le=MAX_WINDOW_HOURS, description="Hours that it looks back."
    )
    yearly_level: OpenShare = Field(
        default=0.05,
        description="Probability of a false alarm within a year, at most, of all tests and versions, however often it looks.",
    )
    min_images: Annotated[int, Field(ge=30)] = Field(
        default=100, description="Different images that a window needs."
    )
    max_images: Annotated[int, Field(ge=100, le=20_000)] = Field(
        default=5000, description="Images of a window that are compared; of more, an even selection."
    )
    reference: Annotated[int, Field(ge=100)] = Field(
        default=1000,
        description="First predictions of a version, which take the place of a reference that the version lacks.",
    )
    largest_repeat: OpenShare = Field(
        default=0.02,
        description="Share of the images that one picture and its near-copies may have; more is a flood.",
    )
    near_distance: NonNegative = Field(
        default=0.1,
        description="Distance of two embeddings of unit length below which they may be near-copies.",
    )
    permutations: Annotated[int, Field(ge=199)] = Field(
        default=999, description="Permutations of the test of embeddings."
    )


class Rule(Section):
    """What a test of `visiongate drift` means."""

    enabled: bool = Field(default=True, description="Whether to make the test.")
    severity: Literal["critical", "warning", "info"] = Field(
        default="warning", description="`info` is reported, but is no drift: the exit status stays 0."
    )
    harm: Literal["none", "possible", "estimated"] = Field(
        default="possible", description="What a finding says about the accuracy."
    )
    min_effect: Share = Field(
        default=0.0, description="Effect from which a difference matters; a smaller one is no finding."
    )
    advice: str | None = Field(default=None, description="What to do; null for the built-in advice.")


def _rules() -> dict[DriftTest, Rule]:
    harmless = {"flood", "format", "mode", "size", "aspect"}
    rules = {
        test: Rule(harm="none" if test in harmless else "possible", min_effect=0.05) for test in DRIFT_TESTS
    }
    few = {"embeddings": 0.0, "flood": 0.0, "novelty": 0.03, "out_of_distribution": 0.03, "accuracy": 0.02}
    rules |= {
        test: rules[test].model_copy(update={"min_effect": few[test]}) for test in DRIFT_TESTS if test in few
    }
    rules["accuracy"] = rules["accuracy"].model_copy(update={"severity": "critical", "harm": "estimated"})
    return rules


class Monitoring(Section):
    """What is concluded from the prediction log."""

    drift: Drift = Field(default_factory=Drift, description="The check for drift.")
    rules: dict[DriftTest, Rule] = Field(default_factory=_rules, description="Its tests, by name.")
    rollout: RolloutRules = Field(
        default_factory=RolloutRules, description="What a challenger must show, `visiongate rollout`."
    )
    retrain: RetrainRules = Field(
        default_factory=RetrainRules, description="When a new model is due, `visiongate retrain-check`."
    )
    collect: CollectRules = Field(
        default_factory=CollectRules, description="What `visiongate collect` doubts."
    )

    @field_validator("rules")
    @classmethod
    def _check(cls, rules: dict[DriftTest, Rule]) -> dict[DriftTest, Rule]:
        if missing := [test for test in DRIFT_TESTS if test not in rules]:
            raise ValueError(
                f"the tests {', '.join(missing)} are missing; `enabled: false` switches a test off"
            )
        return {test: rules[test] for test in DRIFT_TESTS}
