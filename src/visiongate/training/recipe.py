"""Optimizers and learning-rate schedules, by the names that ``conf/model`` uses."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Muon, Optimizer

from visiongate.errors import SettingsError
from visiongate.settings.schema import Model

FINAL_SHARE = 1e-3  # of the peak learning rate, at the end of cosine and linear
ONE_CYCLE_START = 0.04  # of the peak; torch's OneCycleLR starts there too
ONE_CYCLE_END = 4e-6


class KernelMuon(Muon):
    """torch's Muon, which takes matrices alone, for kernels too: a kernel is the matrix of its outputs by all else.

    Source: K. Jordan, Muon: An optimizer for hidden layers in neural networks, 2024.

    Args:
        parameters: Of two dimensions or more, on their device and in their final memory layout.
        model: The recipe; its ``lr`` is replaced where the parameters have one of their own.
        lr: Peak learning rate.
    """

    def __init__(self, parameters: Iterable[Parameter], model: Model, lr: float) -> None:
        self._parameters = list(parameters)
        self._holds_norm = model.hold_norm
        matrices = [_as_matrix(parameter.detach(), parameter) for parameter in self._parameters]
        super().__init__(matrices, lr, model.weight_decay, model.momentum)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401 - torch's signature
        """Update the parameters by way of their matrices, which share their memory."""
        matrices = (matrix for group in self.param_groups for matrix in group["params"])
        for matrix, parameter in zip(matrices, self._parameters, strict=True):
            matrix.grad = None if parameter.grad is None else _as_matrix(parameter.grad, parameter)
            if self._holds_norm:
                matrix.mul_(len(matrix) ** 0.5 / matrix.norm())
        super().step(closure)  # type: ignore[no-untyped-call]


def _as_matrix(kernel: Tensor, parameter: Parameter) -> Tensor:
    """Lay all but the first dimension in a row, in the order in which the parameter lies in memory: so the matrix is a view."""
    ordered = kernel if parameter.is_contiguous() else kernel.movedim(1, -1)
    return ordered.reshape(len(kernel), -1)


def make_optimizers(network: nn.Module, model: Model) -> list[Optimizer]:
    """Make the optimizer that the recipe names; under muon a second one, nesterov SGD, for the head, biases and norms.

    Weight decay acts on matrices and kernels alone: shrinking a bias or a norm's scale regularizes nothing (Goyal et al., 2017,
    section 5.3). A backbone that the recipe freezes is frozen here.

    Raises:
        SettingsError: ``model.backbone_lr`` is given, and there is no backbone, or it is to be frozen, with random weights.
    """
    groups = _group_parameters(network, model)
    if model.optimizer == "muon":
        return _make_muon(network, groups, model)
    if model.optimizer == "sgd":
        return [SGD(groups, model.lr, momentum=model.momentum, nesterov=model.momentum > 0)]
    adam = Adam if model.optimizer == "adam" else AdamW
    return [adam(groups, model.lr, betas=(model.momentum, 0.999))]


def _group_parameters(network: nn.Module, model: Model) -> list[dict[str, Any]]:
    backbone = set(_backbone_parameters(network, model))
    groups = []
    for inside, lr in ((False, model.lr), (True, model.backbone_lr)):
        chosen = [
            parameter
            for parameter in network.parameters()
            if parameter.requires_grad and (parameter in backbone) is inside
        ]
        matrices = [parameter for parameter in chosen if parameter.ndim > 1]
        vectors = [parameter for parameter in chosen if parameter.ndim <= 1]
        groups += [
            {"params": matrices, "lr": lr, "weight_decay": model.weight_decay},
            {"params": vectors, "lr": lr and lr * model.bias_lr, "weight_decay": 0.0},
        ]
    return [group for group in groups if group["params"]]


def _backbone_parameters(network: nn.Module, model: Model) -> list[Parameter]:
    """Return what learns at ``model.backbone_lr``; freeze it where that is 0."""
    if model.backbone_lr is None:
        return []
    backbone = getattr(network, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise SettingsError(
            f"model.backbone_lr = {model.backbone_lr:g}: {model.name} has no backbone of its own: set it to null"
        )
    if model.backbone_lr == 0 and getattr(network, "pretrained", "") is None:
        raise SettingsError(
            "model.backbone_lr = 0: it would freeze random weights: choose model.options.weights, or set it to null"
        )
    backbone.requires_grad_(requires_grad=model.backbone_lr > 0)
    return list(backbone.parameters())


def _make_muon(network: nn.Module, groups: list[dict[str, Any]], model: Model) -> list[Optimizer]:
    """Share the parameters out: a head maps features to classes, and is no hidden layer."""
    head = getattr(network, "head", None)
    heads = set(head.parameters()) if isinstance(head, nn.Module) else set()
    muons, others = [], []
    for group in groups:
        hidden = [parameter for parameter in group["params"] if parameter.ndim > 1 and parameter not in heads]
        if hidden:
            muons.append(KernelMuon(hidden, model, group["lr"]))
        matrices = [parameter for parameter in group["params"] if parameter.ndim > 1 and parameter in heads]
        vectors = [parameter for parameter in group["params"] if parameter.ndim <= 1]
        others += [
            {"params": matrices, "lr": group["lr"] * model.head_lr},
            {"params": vectors, "lr": group["lr"]},
        ]
    others = [group for group in others if group["params"]]
    return [*muons, SGD(others, momentum=model.momentum, nesterov=model.momentum > 0)]


class Schedule:
    """The learning rate of each step, for all optimizers alike; it has no state but the step's number."""

    def __init__(self, optimizers: list[Optimizer], model: Model, steps: int) -> None:
        self._optimizers = optimizers
        self._peaks = [group["lr"] for group in self._groups()]
        self._factor = lr_factor(model, steps)
        self._lr = model.lr

    def set_step(self, step: int) -> float:
        """Set the learning rates of a step, from 0, and return that of the recipe's ``lr``."""
        factor = self._factor(step)
        for group, peak in zip(self._groups(), self._peaks, strict=True):
            group["lr"] = peak * factor
        return self._lr * factor

    def _groups(self) -> list[dict[str, Any]]:
        """Look the groups up anew: an optimizer that is given its state back replaces them."""
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]


def lr_factor(model: Model, steps: int) -> Callable[[int], float]:
    """Return the share of the peak learning rate at each step.

    Each rises over the ``warmup`` share of the steps. Then ``constant`` stays, ``step`` falls to ``gamma`` times as much
    at each of the ``milestones``, ``cosine`` falls along half a cosine (Loshchilov and Hutter, 2017), ``linear`` in a straight
    line, and ``one_cycle``, which rises along half a cosine too, falls along another almost to nothing (Smith and Topin, 2018).
    """
    rising = round(model.warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            share = (step + 1) / (rising + 1)
            return _between(ONE_CYCLE_START, 1.0, share) if model.schedule == "one_cycle" else share
        progress = min((step - rising) / max(steps - rising, 1), 1.0)
        if model.schedule == "constant":
            return 1.0
        if model.schedule == "step":
            return model.gamma ** sum(step >= milestone * steps for milestone in model.milestones)
        if model.schedule == "linear":
            return 1 - progress * (1 - FINAL_SHARE)
        return _between(1.0, ONE_CYCLE_END if model.schedule == "one_cycle" else FINAL_SHARE, progress)

    return factor


def _between(start: float, end: float, share: float) -> float:
    """Go from start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
