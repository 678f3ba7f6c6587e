"""Optimizers and learning-rate schedules, by the names that ``conf/model`` uses."""

import math
from collections.abc import Callable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from visiongate.config import Model

FINAL_SHARE = 1e-3  # of the peak learning rate, at the end of cosine and one-cycle


def make_optimizer(network: nn.Module, model: Model) -> Optimizer:
    """Make the optimizer that the recipe names.

    Weight decay acts on matrices and kernels alone: shrinking a bias or a norm's scale regularises nothing (Goyal et al., 2017,
    section 5.3).
    """
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": model.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if model.optimizer == "sgd":
        return SGD(groups, model.lr, momentum=model.momentum, nesterov=model.momentum > 0)
    adam = Adam if model.optimizer == "adam" else AdamW
    return adam(groups, model.lr, betas=(model.momentum, 0.999))


def make_schedule(optimizer: Optimizer, model: Model, steps: int) -> LambdaLR:
    """Make the schedule that the recipe names, stepped after each batch."""
    return LambdaLR(optimizer, lr_factor(model.schedule, model.warmup, steps))


def lr_factor(schedule: str, warmup: float, steps: int) -> Callable[[int], float]:
    """Return the share of the peak learning rate at each step.

    Each schedule rises linearly over the ``warmup`` share of the steps. Then ``constant`` stays, ``cosine`` falls along half a
    cosine (Loshchilov and Hutter, 2017), and ``one_cycle`` falls linearly (Smith, 2018).
    """
    rising = round(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        progress = min((step - rising) / max(steps - rising, 1), 1.0)
        if schedule == "constant":
            return 1.0
        fall = progress if schedule == "one_cycle" else (1 - math.cos(math.pi * progress)) / 2
        return 1 - fall * (1 - FINAL_SHARE)

    return factor
