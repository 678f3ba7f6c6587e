"""The learning-rate range test: train for some steps at rates that rise exponentially, and see where the loss falls.

Sources: Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3.3; fastai's ``lr_find``, whose
``steep`` is the suggestion.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from visiongate.errors import NotLearningError
from visiongate.images.folds import load_folds
from visiongate.records.files import atomic_path
from visiongate.records.transform import Transform
from visiongate.settings.schema import Settings
from visiongate.training.hardware import reproducible
from visiongate.training.memory import explain_out_of_memory
from visiongate.training.task import build_task, prepare_task
from visiongate.training.trainer import Trainer

# Of the running mean of the losses.
MOMENTUM = 0.95
# The test ends when the mean exceeds the lowest one by this factor, or is not finite.
DIVERGED = 4.0
# The lowest mean must be below the first by this factor, or the network learned nothing.
LEARNED = 0.99


@dataclass(frozen=True, slots=True)
class LrRange:
    """The result of a range test.

    Attributes:
        rates: The learning rate of each step.
        losses: The running mean of the loss at each step.
        suggestion: A learning rate of the schedule's peak.
        has_diverged: Whether the test ended early.
    """

    rates: list[float]
    losses: list[float]
    suggestion: float
    has_diverged: bool


def measure_lr_range(
    settings: Settings, transform: Transform, directory: Path, rates: Sequence[float]
) -> LrRange:
    """Train the network of the settings at rising rates until the loss diverges; with folds, on the images of the first model.

    Args:
        settings: The sections ``model``, a network's, and ``training``.
        transform: The preprocessing of the images.
        directory: Contains the pixel arrays and ``transform.json``.
        rates: Of the steps, rising. Those of other parameters keep their ratio to ``model.lr``.

    Raises:
        SettingsError: As `visiongate.training.task.build_task`.
        DataError: A split has too few images.
        NotLearningError: No rate lowered the loss.
    """
    model, training = settings.network, settings.training
    with reproducible(training.seed), explain_out_of_memory(model.batch_size, training.accumulation):
        if transform.protocol == "cross_validation":
            folds = load_folds(directory)
            task = build_task(transform, (folds.split(0, "train"), folds.split(0, "val")), model, training)
        else:
            task = prepare_task(directory, model, training)
        losses = Trainer(task, model, training).try_factors(rate / model.lr for rate in rates)
        console = Console()
        shown = track(
            losses, model.name, len(rates), console=console, transient=True, disable=not console.is_terminal
        )
        with task.hardware.computing():
            return judge_losses(rates, shown)


def judge_losses(rates: Sequence[float], losses: Iterable[float]) -> LrRange:
    """Smooth the losses until they diverge, and suggest a learning rate.

    Args:
        rates: Of the steps.
        losses: Of the steps; read one by one, none after the divergence.

    Raises:
        NotLearningError: No rate lowered the loss.
    """
    means: list[float] = []
    total, lowest, has_diverged = 0.0, math.inf, False
    for step, loss in enumerate(losses, start=1):
        total = MOMENTUM * total + (1 - MOMENTUM) * loss
        mean = total / (1 - MOMENTUM**step)
        lowest = min(lowest, mean)
        has_diverged = not mean <= DIVERGED * lowest
        if has_diverged:
            break
        means.append(mean)
    suggestion = _find_steepest(rates, means)
    if suggestion is None:
        raise NotLearningError(
            f"no learning rate from {rates[0]:g} to {rates[max(len(means) - 1, 0)]:g} lowered the loss: check the labels, "
            "raise --steps, or widen the range with --low and --high"
        )
    return LrRange(list(rates[: len(means)]), means, suggestion, has_diverged)


def _find_steepest(rates: Sequence[float], means: list[float]) -> float | None:
    """Return the rate at which the mean falls fastest, over the logarithm of the rate; None if it does not fall."""
    # The first means are those of few losses.
    settled = round(1 / (1 - MOMENTUM))
    falling = np.array(means[settled : int(np.argmin(means or [0])) + 1])
    if len(falling) < 2 or falling[-1] > LEARNED * falling[0]:  # noqa: PLR2004 - a slope has two ends
        return None
    slopes = np.gradient(falling, np.log(rates[settled : settled + len(falling)]))
    return rates[settled + int(slopes.argmin())]


def draw_lr_range(result: LrRange, title: str, path: Path) -> None:
    """Write a PNG of the losses by learning rate, with the suggestion."""
    figure = Figure(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(result.rates, result.losses)
    axes.axvline(
        result.suggestion, color="tab:orange", linestyle="--", label=f"suggested: {result.suggestion:.2g}"
    )
    axes.set_xscale("log")
    axes.set_xlabel("model.lr")
    axes.set_ylabel("training loss, running mean")
    axes.set_title(title, fontsize=11)
    axes.legend()
    with atomic_path(path) as temporary:
        canvas.print_png(temporary)  # type: ignore[no-untyped-call]
