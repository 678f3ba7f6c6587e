"""The comparison of the best settings of a search with the current ones, both trained with the same fresh seeds."""

from dataclasses import dataclass
from statistics import mean

from visiongate.optimization.confirmation import Confirmation, confirm
from visiongate.optimization.fresh_seeds import PairedScores
from visiongate.optimization.report import explain_guess, to_metric
from visiongate.records.search import RecommendationSummary, TestedGain, Values

NAME = "tuned"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The best and the current settings, and their scores with the same fresh seeds.

    Attributes:
        metric: The metric of a training.
        epochs: Epochs of each training.
        best: The best settings of the search by dotted name.
        current: The current values of the same settings.
        seeds: How many fresh seeds the test has, if it is not decided earlier.
        scores: The scores with these seeds.
        guessed: The metric of guessing, if no trial of the search is better; otherwise None.
    """

    metric: str
    epochs: int
    best: Values
    current: Values
    seeds: int
    scores: PairedScores
    guessed: float | None = None

    @property
    def confirmation(self) -> Confirmation | None:
        """The test of the differences; None if there is not one for each seed."""
        pairs = self.scores.pairs
        is_complete = bool(pairs) and len(pairs) == self.seeds
        return confirm([best - current for best, current in pairs]) if is_complete else None

    @property
    def better(self) -> bool:
        """Whether the best settings are shown to be better, or are the only ones of the two that can be trained."""
        if self.scores.current.failure:
            return not self.scores.best.failure
        return self.confirmation is not None and self.confirmation.better

    @property
    def adoptable(self) -> bool:
        """Whether the best settings differ from the current ones, and are not worse on the fresh seeds."""
        if self.best == self.current or self.scores.best.failure or self.guessed is not None:
            return False
        pairs = self.scores.pairs
        return not pairs or self.better or mean(best - current for best, current in pairs) > 0

    @property
    def command(self) -> str:
        """The command that runs the pipeline with the best settings; the recipe holds the data set and the model, too."""
        return f"visiongate adopt --name {NAME} && dvc exp run -S experiment={NAME}"


def summarize_recommendation(recommendation: Recommendation) -> RecommendationSummary:
    """Return the summary; a positive gain is an improvement, also of a metric of which less is better."""
    pairs, test = recommendation.scores.pairs, recommendation.confirmation
    best, current = _means(recommendation) if pairs else (None, None)
    return RecommendationSummary(
        better=recommendation.better,
        seeds=len(pairs),
        best_value=best,
        current_value=current,
        gain=None
        if test is None
        else TestedGain(test.mean_difference, test.low, test.high, test.confidence, test.p_value),
    )


def format_recommendation(recommendation: Recommendation) -> str:
    """Return the lines to print; the command only if the best settings are better."""
    conclusion = format_conclusion(recommendation)
    return f"{conclusion}\nTo use them: {recommendation.command}" if recommendation.better else conclusion


def format_conclusion(recommendation: Recommendation) -> str:
    """Return in a sentence whether the best settings are better than the current ones."""
    best, current = recommendation.scores.best, recommendation.scores.current
    if recommendation.guessed is not None:
        return explain_guess(recommendation.metric, recommendation.guessed)
    if recommendation.best == recommendation.current:
        return "The current settings are the best ones of the search."
    if not recommendation.seeds:
        return (
            "The best settings were not compared with the current ones, because optimize.confirm_seeds is 0; set it to 5 "
            "to compare them."
        )
    if best.failure:
        return f"The best settings are not recommended: with a fresh seed, their training failed: {best.failure}."
    if current.failure:
        return (
            f"The training of the current settings failed: {current.failure}. The best settings were trained with all "
            f"{recommendation.seeds} fresh seeds."
        )
    return _format_test(recommendation)


def _format_test(recommendation: Recommendation) -> str:
    pairs = len(recommendation.scores.pairs)
    best, current = _means(recommendation)
    values = (
        f"mean {recommendation.metric} {best:.4f} against {current:.4f} over {pairs} fresh seed{'s' if pairs > 1 else ''}"
        + (f", in trainings of at most {recommendation.epochs} epochs" if recommendation.epochs > 1 else "")
    )
    test = recommendation.confirmation
    verdict = "better" if recommendation.better else "not shown to be better"
    if test is None:
        return (
            f"The best settings are {verdict} than the current ones: {values}. The other {recommendation.seeds - pairs} seeds "
            "could not change that and were skipped."
        )
    return (
        f"The best settings are {verdict} than the current ones: {values} (gain {test.mean_difference:+.4f}, "
        f"{test.confidence:.0%} confidence interval {test.low:+.4f} to {test.high:+.4f}, p = {test.p_value:.3f})."
    )


def _means(recommendation: Recommendation) -> tuple[float, float]:
    """Return the mean metric of the best and of the current settings."""
    best, current = (mean(scores) for scores in zip(*recommendation.scores.pairs, strict=True))
    return to_metric(recommendation.metric, best), to_metric(recommendation.metric, current)
