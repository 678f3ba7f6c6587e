"""The comparison of the best settings of a search with the current ones, both trained with the same fresh seeds."""

from dataclasses import dataclass
from statistics import mean

from visiongate.optimization.confirmation import Confirmation, confirm, is_decided
from visiongate.optimization.fresh_seeds import train_fresh_seeds
from visiongate.optimization.report import explain_guess, to_metric
from visiongate.optimization.rounds import StudyRunner
from visiongate.optimization.trainer import Trainer
from visiongate.records.search import FreshSeeds, RecommendationSummary, TestedGain, Values

NAME = "tuned"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The best and the current settings, and their scores with the same fresh seeds.

    Attributes:
        metric: The metric of a training.
        epochs: Epochs of each training.
        best: The best settings of the search by dotted name.
        current: The current values of the same settings.
        best_seeds: The scores of the best settings.
        current_seeds: Those of the current settings, perhaps with fewer seeds.
        guessed: The metric of guessing, if no trial of the search is better; otherwise None.
    """

    metric: str
    epochs: int
    best: Values
    current: Values
    best_seeds: FreshSeeds
    current_seeds: FreshSeeds
    guessed: float | None = None

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """The score of the best and of the current settings, for each seed with which both were trained."""
        scores = zip(self.best_seeds.scores, self.current_seeds.scores, strict=False)
        return [(best, current) for best, current in scores if best is not None and current is not None]

    @property
    def confirmation(self) -> Confirmation | None:
        """The test of the differences; None if there is not one for each seed."""
        pairs = self.pairs
        is_complete = bool(pairs) and len(pairs) == len(self.best_seeds.seeds)
        return confirm([best - current for best, current in pairs]) if is_complete else None

    @property
    def better(self) -> bool:
        """Whether the best settings are shown to be better, or are the only ones of the two that can be trained."""
        if self.current_seeds.failure:
            return not self.best_seeds.failure
        return self.confirmation is not None and self.confirmation.better

    @property
    def adoptable(self) -> bool:
        """Whether the best settings differ from the current ones, and are not worse on the fresh seeds."""
        if self.best == self.current or self.best_seeds.failure or self.guessed is not None:
            return False
        return not self.pairs or self.better or mean(best - current for best, current in self.pairs) > 0

    @property
    def command(self) -> str:
        """The command that runs the pipeline with the best settings; the recipe holds the data set and the model, too."""
        return f"visiongate adopt --name {NAME} && dvc exp run -S experiment={NAME}"


def train_current(
    trainer: Trainer, name: str, current: Values, best: FreshSeeds, runner: StudyRunner
) -> FreshSeeds:
    """Train the current settings with the seeds of the best ones, until the test is decided.

    Args:
        trainer: Trains with the values.
        name: The name in the storage, which must change with everything that a score depends on.
        current: The current settings by dotted name.
        best: The scores of the best settings.
        runner: Runs the trainings, and keeps those of an interrupted stage.

    Raises:
        StudyError: As `train_fresh_seeds`.
    """
    trained, step = FreshSeeds([], []), trainer.settings.optimize.trials_per_round
    for count in range(step, len(best.seeds) + step, step):
        trained = train_fresh_seeds(trainer, name, current, runner, count)
        pairs = Recommendation("", 0, {}, {}, best, trained).pairs
        if trained.failure or is_decided([each - other for each, other in pairs], len(best.seeds)):
            break
    return trained


def summarize_recommendation(recommendation: Recommendation) -> RecommendationSummary:
    """Return the summary; a positive gain is an improvement, also of a metric of which less is better."""
    pairs, test = recommendation.pairs, recommendation.confirmation
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
    best, current = recommendation.best_seeds, recommendation.current_seeds
    if recommendation.guessed is not None:
        return explain_guess(recommendation.metric, recommendation.guessed)
    if recommendation.best == recommendation.current:
        return "The current settings are the best ones of the search."
    if not best.seeds:
        return (
            "The best settings were not compared with the current ones, because optimize.confirm_seeds is 0; set it to 5 "
            "to compare them."
        )
    if best.failure:
        return f"The best settings are not recommended: with a fresh seed, their training failed: {best.failure}."
    if current.failure:
        return (
            f"The training of the current settings failed: {current.failure}. The best settings were trained with all "
            f"{len(best.seeds)} fresh seeds."
        )
    return _format_test(recommendation)


def _format_test(recommendation: Recommendation) -> str:
    pairs, planned = len(recommendation.pairs), len(recommendation.best_seeds.seeds)
    best, current = _means(recommendation)
    values = (
        f"mean {recommendation.metric} {best:.4f} against {current:.4f} over {pairs} fresh seed{'s' if pairs > 1 else ''}"
        + (f", in trainings of at most {recommendation.epochs} epochs" if recommendation.epochs > 1 else "")
    )
    test = recommendation.confirmation
    verdict = "better" if recommendation.better else "not shown to be better"
    if test is None:
        return (
            f"The best settings are {verdict} than the current ones: {values}. The other {planned - pairs} seeds could not "
            "change that and were skipped."
        )
    return (
        f"The best settings are {verdict} than the current ones: {values} (gain {test.mean_difference:+.4f}, "
        f"{test.confidence:.0%} confidence interval {test.low:+.4f} to {test.high:+.4f}, p = {test.p_value:.3f})."
    )


def _means(recommendation: Recommendation) -> tuple[float, float]:
    """Return the mean metric of the best and of the current settings."""
    best, current = (mean(scores) for scores in zip(*recommendation.pairs, strict=True))
    return to_metric(recommendation.metric, best), to_metric(recommendation.metric, current)
