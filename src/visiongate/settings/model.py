"""The section ``model``: a network with its recipe, or a baseline."""

from typing import Literal, Self

from pydantic import Field, model_validator

from visiongate.settings.fields import (
    MAX_RATE,
    Count,
    Name,
    NonNegative,
    OpenShare,
    OptionValue,
    Positive,
    Rate,
    Section,
)


class Model(Section):
    """A network by registered name, and the recipe that suits it."""

    kind: Literal["network"] = Field(description="A network.")
    name: Name = Field(description="Name of a module of `src/visiongate/models/networks`.")
    options: dict[str, OptionValue] = Field(description="Options of the network, by name.")
    lr: Positive = Field(description="Learning rate.")
    backbone_lr: NonNegative | None = Field(
        description="Learning rate of a backbone: 0 freezes it, null uses `lr`."
    )
    unfreeze_after: Count | None = Field(
        description="Epochs that train the head alone before `backbone_lr` trains the backbone, too; null trains both from the "
        "start."
    )
    batch_size: Count = Field(description="Images per batch.")
    optimizer: Literal["sgd", "adam", "adamw", "muon"] = Field(description="Optimizer.")
    momentum: float = Field(ge=0, lt=1, description="Momentum of sgd and muon; beta1 of adam and adamw.")
    weight_decay: NonNegative = Field(description="Weight decay.")
    bias_lr: Rate = Field(description="Learning rate of biases and norms, in multiples of `lr`.")
    head_lr: Rate = Field(
        description="With muon: learning rate of the last layer, which sgd trains, in multiples of `lr`."
    )
    hold_norm: bool = Field(description="With muon: keep the norm of kernels.")
    schedule: Literal["constant", "step", "cosine", "one_cycle", "linear"] = Field(
        description="Learning-rate schedule."
    )
    warmup: float = Field(ge=0, lt=1, description="Share of the steps with a rising learning rate.")
    milestones: list[OpenShare] = Field(
        description="With schedule step: shares of the steps at which the rate drops."
    )
    gamma: OpenShare = Field(description="With schedule step: factor of each drop.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.lr > MAX_RATE:
            raise ValueError(f"lr {self.lr:g} exceeds the maximum {MAX_RATE:g}")
        if self.unfreeze_after is not None and not self.backbone_lr:
            raise ValueError(
                f"unfreeze_after {self.unfreeze_after} needs a backbone_lr above 0, which then trains the backbone: set "
                f"backbone_lr to {self.lr / 10:g}, or unfreeze_after to null"
            )
        increases = self.milestones and self.milestones == sorted(set(self.milestones))
        if self.schedule == "step" and not increases:
            raise ValueError(f"schedule step needs increasing milestones, not {self.milestones}")
        return self


class Baseline(Section):
    """A classifier of scikit-learn by registered name, which a network must beat."""

    kind: Literal["baseline"] = Field(description="A baseline.")
    name: Name = Field(description="Name of a module of `src/visiongate/models/baselines`.")
    options: dict[str, OptionValue] = Field(description="Options of the baseline, by name.")


class Probe(Section):
    """A logistic regression on the features of a frozen backbone, which are computed once per image."""

    kind: Literal["probe"] = Field(description="A linear classifier on a frozen backbone.")
    name: Name = Field(description="Name of a pretrained network of `src/visiongate/models/networks`.")
    options: dict[str, OptionValue] = Field(description="Options of the network, by name.")
    strength: Positive = Field(
        description="C of the logistic regression on centered and scaled features: the inverse of the regularization strength."
    )
