"""Is the best of many experiments better than what there was, or only the luckiest?"""

from dataclasses import dataclass, replace

from visiongate.comparison.paired_test import Comparison, compare
from visiongate.errors import SettingsError
from visiongate.experiments.evidence import Evidence
from visiongate.experiments.listing import Experiment
from visiongate.settings.loading import replace_settings
from visiongate.settings.schema import Settings


@dataclass(frozen=True, slots=True)
class Contest:
    """The best against the base."""

    comparison: Comparison | None
    tried: int  # among how many it is the best
    alpha: float
    reason: str = ""  # why there is no comparison

    @property
    def p_value(self) -> float | None:
        """One-sided, multiplied by how many were tried: Bonferroni's correction, for the best of many is also the luckiest."""
        return None if self.comparison is None else min(1.0, self.comparison.p_value * self.tried)

    @property
    def better(self) -> bool:
        """Whether the best is shown to be better."""
        return self.p_value is not None and self.p_value < self.alpha

    def __str__(self) -> str:
        """Say it in a sentence."""
        found = self.comparison
        if found is None or self.p_value is None:
            return f"Whether it is really better is not known: {self.reason}."
        verdict = (
            "better than the base by more than luck"
            if self.better
            else "not shown to be better than the base"
        )
        corrected = f", times {self.tried} tried" if self.tried > 1 else ""
        return (
            f"It is {verdict}: {found.metric} {found.champion:.4f} and {found.challenger:.4f} on the same {found.images} test "
            f"images, {found.wins} of which it alone gets right and {found.losses} the base alone; {found.test}{corrected}: "
            f"p = {self.p_value:.3g}, asked < {self.alpha:g}."
        )


def hold_contest(
    best: Experiment, base: Experiment, tried: int, evidence: Evidence, settings: Settings
) -> Contest:
    """Test whether an experiment is better than the base, on the answers that both gave to the same test images.

    Args:
        best: The best of those tried.
        base: The commit that it is compared with.
        tried: Among how many it is the best.
        evidence: Of what they answered.
        settings: Whose ``registry`` says by which metric and test, and at what level.
    """
    blank = Contest(None, tried, settings.registry.alpha)
    challenger, champion = evidence.answered(best), evidence.answered(base)
    if challenger is None or champion is None:
        missing = best.name if challenger is None else base.name
        return replace(
            blank,
            reason=f"the predictions of {missing} are not in DVC's cache; `dvc pull` fetches those of a commit",
        )
    if challenger.images != champion.images:
        return replace(blank, reason="the two were tested on different images")
    if set(champion.exam.groups) == {champion.exam.groups[0]} and champion.exam.groups[0] is not None:
        return replace(blank, reason="all test images are of one group")
    if challenger.answers.probabilities.shape != champion.answers.probabilities.shape:
        return replace(blank, reason="the two know different classes")
    found = compare(challenger.answers, champion.answers, champion.exam, settings.registry)
    return replace(blank, comparison=found)


def with_metric(settings: Settings, metric: str) -> Settings | None:
    """Return the settings with another metric to compare by; None where no test of it on paired answers is known."""
    try:
        return replace_settings(settings, {"registry.metric": metric, "registry.test": "auto"}, "METRIC")
    except SettingsError:
        return None
