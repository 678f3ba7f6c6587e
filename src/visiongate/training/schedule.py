"""The learning-rate schedules that ``model.schedule`` selects."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from visiongate.settings.model import Model

# Share of the peak learning rate at the end of cosine and linear.
FINAL_SHARE = 1e-3
# Shares of the peak learning rate at the start and the end of one_cycle, as in torch's OneCycleLR.
ONE_CYCLE_START, ONE_CYCLE_END = 0.04, 4e-6


class Schedule:
    """The learning rate of each step, for several optimizers. Its only state is the index of the step."""

    def __init__(self, optimizers: list[Optimizer], model: Model, steps: int) -> None:
        self._optimizers = optimizers
        self._peaks = [group["lr"] for group in self._groups()]
        self._factor = lr_factor(model, steps)
        self._lr = model.lr

    def set_step(self, step: int) -> float:
        """Set the learning rates of a step, from 0, and return that of ``model.lr``."""
        return self.set_factor(self._factor(step))

    def set_factor(self, factor: float) -> float:
        """Set the learning rates to a multiple of their peaks, and return that of ``model.lr``."""
        for group, peak in zip(self._groups(), self._peaks, strict=True):
            group["lr"] = peak * factor
        return self._lr * factor

    def _groups(self) -> list[dict[str, Any]]:
        """Return the current groups; restoring an optimizer's state replaces them."""
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]


def lr_factor(model: Model, steps: int) -> Callable[[int], float]:
    """Return a function from a step to the share of the peak learning rate.

    The share rises during the ``warmup`` share of the steps. Then ``constant`` stays at 1, ``step`` multiplies it by ``gamma``
    at each milestone, ``cosine`` falls along half a cosine (Loshchilov and Hutter, 2017), ``linear`` falls linearly, and
    ``one_cycle`` (Smith and Topin, 2018) rises and falls along half a cosine.
    """
    warmup = round(model.warmup * steps)

    def factor(step: int) -> float:
        if step < warmup:
            share = (step + 1) / (warmup + 1)
            return _cosine(ONE_CYCLE_START, 1.0, share) if model.schedule == "one_cycle" else share
        progress = min((step - warmup) / max(steps - warmup, 1), 1.0)
        if model.schedule == "constant":
            return 1.0
        if model.schedule == "step":
            return model.gamma ** sum(step >= milestone * steps for milestone in model.milestones)
        if model.schedule == "linear":
            return 1 - progress * (1 - FINAL_SHARE)
        return _cosine(1.0, ONE_CYCLE_END if model.schedule == "one_cycle" else FINAL_SHARE, progress)

    return factor


def _cosine(start: float, end: float, share: float) -> float:
    """Interpolate along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
