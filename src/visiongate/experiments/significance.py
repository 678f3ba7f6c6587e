"""Test whether the best of many experiments is better than the baseline, corrected for the number of experiments."""

from dataclasses import dataclass, replace

from visiongate.comparison.paired_test import Comparison, compare
from visiongate.errors import SettingsError
from visiongate.experiments.listing import Experiment
from visiongate.experiments.results import ResultReader, TestedModel
from visiongate.settings.loading import replace_settings
from visiongate.settings.registry import Registry
from visiongate.settings.schema import Settings


@dataclass(frozen=True, slots=True)
class SignificanceTest:
    """The test of the best experiment against the baseline.

    Attributes:
        comparison: None if they cannot be compared.
        tried: The number of experiments that the best one was chosen from.
        alpha: The significance level.
        reason: Why they cannot be compared.
    """

    comparison: Comparison | None
    tried: int
    alpha: float
    reason: str = ""

    @property
    def p_value(self) -> float | None:
        """One-sided, with Bonferroni's correction: multiplied by the number of experiments tried."""
        return None if self.comparison is None else min(1.0, self.comparison.p_value * self.tried)

    @property
    def better(self) -> bool:
        """Whether the best experiment is significantly better."""
        return self.p_value is not None and self.p_value < self.alpha

    def __str__(self) -> str:
        """Return the result in a sentence."""
        comparison = self.comparison
        if comparison is None or self.p_value is None:
            return f"Not compared with the baseline: {self.reason}."
        verdict = "Better" if self.better else "Not shown to be better"
        values = f"{comparison.metric} {comparison.challenger:.4f} against {comparison.champion:.4f}"
        correction = f", corrected for {self.tried} experiments" if self.tried > 1 else ""
        p_value = f"p = {self.p_value:.3g}, required < {self.alpha:g}"
        return (
            f"{verdict} than the baseline: {values} on {comparison.images} test images "
            f"({comparison.test}{correction}: {p_value})."
        )


def compare_with_baseline(
    best: Experiment, baseline: Experiment, tried: int, reader: ResultReader, registry: Registry
) -> SignificanceTest:
    """Test whether an experiment is better than the baseline, by the predictions of both for the same test images.

    Args:
        best: The best experiment.
        baseline: The commit that it is compared with.
        tried: The number of experiments that it was chosen from.
        reader: Reads the predictions.
        registry: Metric, test and significance level.
    """
    test = SignificanceTest(None, tried, registry.alpha)
    challenger, champion = reader.read_predictions(best), reader.read_predictions(baseline)
    if challenger is None or champion is None:
        missing = best.name if challenger is None else baseline.name
        reason = f"the predictions of {missing} are not in DVC's cache; run `dvc pull`"
        return replace(test, reason=reason)
    problem = _find_mismatch(challenger, champion)
    if problem is not None:
        return replace(test, reason=problem)
    return replace(
        test, comparison=compare(challenger.predictions, champion.predictions, champion.truth, registry)
    )


def registry_with_metric(settings: Settings, metric: str) -> Registry | None:
    """Return the settings of the test with another metric, None if the metric has no paired test."""
    try:
        changes = {"registry.metric": metric, "registry.test": "auto"}
        return replace_settings(settings, changes, "--metric").registry
    except SettingsError:
        return None


def _find_mismatch(challenger: TestedModel, champion: TestedModel) -> str | None:
    """Return why two models cannot be compared, None if they can."""
    groups = set(champion.truth.groups)
    if challenger.sha256 != champion.sha256:
        return "the test images differ"
    if len(groups) == 1 and None not in groups:
        return "all test images are of one group"
    if challenger.predictions.probabilities.shape != champion.predictions.probabilities.shape:
        return "the classes differ"
    return None
