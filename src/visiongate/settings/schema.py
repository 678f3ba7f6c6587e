"""All settings: the sections of ``params.yaml``, and the checks that concern two of them."""

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

from visiongate.errors import SettingsError
from visiongate.settings.dataset import Dataset
from visiongate.settings.debug import Debug
from visiongate.settings.engine import Engine
from visiongate.settings.evaluation import Evaluation
from visiongate.settings.fields import Section
from visiongate.settings.gate import Gate
from visiongate.settings.model import Baseline, Model, Probe
from visiongate.settings.monitoring import Monitoring
from visiongate.settings.optimize import Optimize
from visiongate.settings.preparation import Preparation
from visiongate.settings.registry import Registry
from visiongate.settings.serving import Serving
from visiongate.settings.tracking import Tracking
from visiongate.settings.training import Training
from visiongate.settings.transformation import Transformation
from visiongate.settings.validation import Validation


class Settings(Section):
    """The content of ``params.yaml``."""

    dataset: Dataset = Field(description="Where the images come from.")
    validation: Validation = Field(description="Requirements on the raw images.")
    preparation: Preparation = Field(description="Quarantine and near-duplicates.")
    transformation: Transformation = Field(description="Pixel arrays and splits.")
    training: Training = Field(description="How to train.")
    optimize: Optimize = Field(description="The hyperparameter search.")
    model: Annotated[
        Model | Probe | Baseline, Field(discriminator="kind", description="Network, probe or baseline.")
    ]
    evaluation: Evaluation = Field(description="How the model is measured.")
    gate: Gate = Field(description="Rules that a model must pass.")
    registry: Registry = Field(description="The registered model.")
    tracking: Tracking = Field(description="Where MLflow records runs.")
    engine: Engine = Field(description="Where work in pieces runs.")
    serving: Serving = Field(default_factory=Serving, description="The inference service.")
    monitoring: Monitoring = Field(
        default_factory=Monitoring, description="What is concluded from the prediction log."
    )
    debug: Debug = Field(description="Help for finding errors.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        size, augmentation = self.transformation.size, self.training.augmentation
        if augmentation.shift >= size // 2:
            raise ValueError(_too_large("training.augmentation.shift", augmentation.shift, "half of ", size))
        if augmentation.cutout >= size:
            raise ValueError(_too_large("training.augmentation.cutout", augmentation.cutout, "", size))
        small = self.training.progressive.size
        if small is not None and small >= size:
            raise ValueError(_too_large("training.progressive.size", small, "", size))
        if isinstance(self.model, Baseline) and self.training.export.precision == "int8":
            raise ValueError(
                f"training.export.precision = int8 quantizes convolutions; the baseline {self.model.name} has none; set fp32"
            )
        if problem := _contradiction(self.evaluation.protocol, self.transformation.split.method):
            raise ValueError(problem)
        for name, dimension in self.optimize.space.items():
            if not self.has(dimension.setting):
                raise ValueError(f"optimize.space.{name}.setting: {dimension.setting} does not exist")
        return self

    @property
    def network(self) -> Model:
        """The network's recipe.

        Raises:
            SettingsError: The model is a baseline or a probe.
        """
        if not isinstance(self.model, Model):
            raise SettingsError(
                f"model.kind = {self.model.kind}: choose a network of conf/model, such as model=small_cnn"
            )
        return self.model

    def value(self, name: str) -> Any:  # noqa: ANN401 - the value of any setting
        """Return a setting by its dotted name, such as ``model.lr``."""
        return reduce(getitem, name.split("."), self.model_dump())

    def has(self, name: str) -> bool:
        """Return whether a dotted name is that of a setting."""
        node: Any = self
        for part in name.split("."):
            if isinstance(node, BaseModel) and part in type(node).model_fields:
                node = getattr(node, part)
            elif isinstance(node, dict) and part in node:
                node = node[part]
            else:
                return False
        return not isinstance(node, BaseModel)

    def replaced(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings as plain values, with some replaced by dotted name.

        Raises:
            SettingsError: A name does not exist.
        """
        tree = self.model_dump()
        for name, value in values.items():
            if not self.has(name):
                raise SettingsError(f"{name}: this setting does not exist")
            *sections, key = name.split(".")
            reduce(getitem, sections, tree)[key] = value
        return tree


def _contradiction(protocol: str, method: str) -> str | None:
    """Explain why a protocol and a method of the splits exclude each other."""
    if "auto" in {protocol, method} or (protocol == "cross_validation") == (method == "kfold"):
        return None
    needed = "kfold" if protocol == "cross_validation" else "hash or stratified"
    return (
        f"evaluation.protocol = {protocol}: transformation.split.method = {method} contradicts it; choose {needed}, or "
        "set one of the two to auto"
    )


def _too_large(name: str, value: int, part: str, size: int) -> str:
    return f"{name} = {value} must be less than {part}transformation.size = {size}"
