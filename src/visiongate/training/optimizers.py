"""The optimizers that ``model.optimizer`` selects."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Muon, Optimizer

from visiongate.errors import SettingsError
from visiongate.settings.model import Model

Group = dict[str, Any]

# Of Newton and Schulz. torch takes five; three lose no accuracy on CIFAR-10, as in K. Jordan's airbench94_muon.py.
NEWTON_SCHULZ_STEPS = 3


class KernelMuon(Muon):
    """torch's Muon for convolution kernels too, which it treats as matrices with one row per output channel.

    Source: K. Jordan, Muon: An optimizer for hidden layers in neural networks, 2024.

    Args:
        parameters: Of two or more dimensions, on their device and in their final memory layout.
        model: The recipe.
        lr: Peak learning rate.
    """

    def __init__(self, parameters: Iterable[Parameter], model: Model, lr: float) -> None:
        self._parameters = list(parameters)
        self._holds_norm = model.hold_norm
        matrices = [_as_matrix(parameter.detach(), parameter) for parameter in self._parameters]
        super().__init__(matrices, lr, model.weight_decay, model.momentum, ns_steps=NEWTON_SCHULZ_STEPS)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401 - torch's signature
        """Update the matrices, which share the memory of the parameters."""
        matrices = (matrix for group in self.param_groups for matrix in group["params"])
        for matrix, parameter in zip(matrices, self._parameters, strict=True):
            matrix.grad = None if parameter.grad is None else _as_matrix(parameter.grad, parameter)
            if self._holds_norm and matrix.grad is not None:
                matrix.mul_(len(matrix) ** 0.5 / matrix.norm())
        super().step(closure)  # type: ignore[no-untyped-call]


def _as_matrix(kernel: Tensor, parameter: Parameter) -> Tensor:
    """Flatten all dimensions but the first in the order of the parameter's memory, so that the matrix is a view."""
    ordered = kernel if parameter.is_contiguous() else kernel.movedim(1, -1)
    return ordered.reshape(len(kernel), -1)


def make_optimizers(network: nn.Module, model: Model) -> list[Optimizer]:
    """Return the optimizer of the recipe; for muon also Nesterov SGD for the head, biases and norms.

    Weight decay applies to matrices and kernels only (Goyal et al., 2017, section 5.3). The backbone is frozen here if
    ``model.backbone_lr`` is 0.

    Raises:
        SettingsError: ``model.backbone_lr`` is set for a network without a backbone, or freezes random weights.
    """
    groups = _group_parameters(network, model)
    if model.optimizer == "muon":
        return _make_muon(network, groups, model)
    if model.optimizer == "sgd":
        return [SGD(groups, model.lr, momentum=model.momentum, nesterov=model.momentum > 0, fused=True)]
    adam = Adam if model.optimizer == "adam" else AdamW
    return [adam(groups, model.lr, betas=(model.momentum, 0.999), fused=True)]


def _group_parameters(network: nn.Module, model: Model) -> list[Group]:
    """Group the trained parameters: matrices and vectors of the head, then of the backbone."""
    backbone = set(_backbone_parameters(network, model))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[Group] = []
    for in_backbone, lr in ((False, model.lr), (True, model.backbone_lr)):
        chosen = [parameter for parameter in trained if (parameter in backbone) is in_backbone]
        matrices = [parameter for parameter in chosen if parameter.ndim > 1]
        vectors = [parameter for parameter in chosen if parameter.ndim <= 1]
        groups += [
            {"params": matrices, "lr": lr, "weight_decay": model.weight_decay},
            {"params": vectors, "lr": lr and lr * model.bias_lr, "weight_decay": 0.0},
        ]
    return [group for group in groups if group["params"]]


class BackboneFreezer:
    """Freezes the backbone during the first ``model.unfreeze_after`` epochs; its optimizer exists from the start.

    Args:
        network: Its optimizers have been made.
        model: The recipe.
    """

    def __init__(self, network: nn.Module, model: Model) -> None:
        self._epochs = model.unfreeze_after or 0
        self._parameters: list[Parameter] = []
        self._is_frozen = False
        if self._epochs:
            backbone = network.get_submodule("backbone")
            self._parameters = [each for each in backbone.parameters() if each.requires_grad]

    def set_epoch(self, epoch: int) -> bool:
        """Freeze or unfreeze the backbone for an epoch, from 1, and return whether that changed anything.

        It depends on nothing but the epoch, so that a resumed training continues alike. Optimizers skip parameters without a
        gradient.
        """
        was_frozen, self._is_frozen = self._is_frozen, epoch <= self._epochs
        for parameter in self._parameters:
            parameter.requires_grad = not self._is_frozen
        return self._is_frozen != was_frozen


def _backbone_parameters(network: nn.Module, model: Model) -> list[Parameter]:
    """Return the parameters that ``model.backbone_lr`` applies to; freeze them if it is 0."""
    if model.backbone_lr is None:
        return []
    backbone = getattr(network, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise SettingsError(
            f"params.yaml: model.backbone_lr = {model.backbone_lr:g} is invalid: {model.name} has no backbone; set it to null"
        )
    if (model.backbone_lr == 0 or model.unfreeze_after) and getattr(network, "pretrained", "") is None:
        setting = "backbone_lr = 0" if model.backbone_lr == 0 else f"unfreeze_after = {model.unfreeze_after}"
        raise SettingsError(
            f"params.yaml: model.{setting} would freeze random weights: set model.options.weights, or set it to null"
        )
    backbone.requires_grad_(requires_grad=model.backbone_lr > 0)
    return list(backbone.parameters())


def _make_muon(network: nn.Module, groups: list[Group], model: Model) -> list[Optimizer]:
    """Assign hidden matrices and kernels to Muon, and the rest to SGD."""
    head = getattr(network, "head", None)
    heads = set(head.parameters()) if isinstance(head, nn.Module) else set()
    muons: list[Optimizer] = []
    others: list[Group] = []
    for group in groups:
        hidden = [parameter for parameter in group["params"] if parameter.ndim > 1 and parameter not in heads]
        matrices = [parameter for parameter in group["params"] if parameter.ndim > 1 and parameter in heads]
        vectors = [parameter for parameter in group["params"] if parameter.ndim <= 1]
        if hidden:
            muons.append(KernelMuon(hidden, model, group["lr"]))
        others += [
            {"params": matrices, "lr": group["lr"] * model.head_lr},
            {"params": vectors, "lr": group["lr"]},
        ]
    others = [group for group in others if group["params"]]
    return [*muons, SGD(others, momentum=model.momentum, nesterov=model.momentum > 0, fused=True)]
