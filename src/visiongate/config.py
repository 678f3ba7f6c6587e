"""The settings: ``params.yaml`` parsed once, at the border, into frozen typed objects.

This is the only parser of ``params.yaml``. It imports nothing heavy, so that a mistyped setting is refused in a fraction
of a second, before torch or MLflow are loaded.
"""

import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from visiongate.errors import SettingsError
from visiongate.paths import PARAMS

MISSING = "???"  # OmegaConf's mark for a value that must be given; DVC passes it through

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Severity = Literal["critical", "warning"]
OptionValue = bool | int | float | str | list[int]


class Section(BaseModel):
    """A frozen part of the settings that knows all its keys and converts nothing silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Dataset(Section):
    """Where the images come from."""

    name: Name
    limit: Count | None  # at most so many images, spread evenly over the source: for a quick try


class Expectation(Section):
    """An expectation that takes no bound."""

    severity: Severity


class AllowedFormats(Expectation):
    """Encoded formats as Pillow names them."""

    allowed: list[str] = Field(min_length=1)


class MinShare(Expectation):
    """At least this share of the rows."""

    min_share: Share


class SizeRange(Expectation):
    """Bounds on both sides, in pixels."""

    min_side: Count
    max_side: Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is greater than max_side {self.max_side}")
        return self


class MinRows(Expectation):
    """At least so many rows."""

    min_rows: Count


class MaxRatio(Expectation):
    """Largest over smallest, at most this."""

    max_ratio: Annotated[float, Field(ge=1)]


class Validation(Section):
    """What is expected of the raw image table."""

    columns: Expectation
    formats: AllowedFormats
    decodable: MinShare
    size: SizeRange
    classes: Expectation
    rows_per_class: MinRows
    balance: MaxRatio
    unique: MinShare


class Preparation(Section):
    """What is quarantined."""

    min_side: Count  # pixels
    min_contrast: NonNegative  # standard deviation of the brightness, 0..127.5; below it an image is blank
    samples_per_class: Count  # shown on the exploration page


class Split(Section):
    """Shares of the images, by content hash, and the seed that draws another split."""

    train: Annotated[float, Field(gt=0, lt=1)]
    val: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]
    seed: Index

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-9:  # noqa: PLR2004
            raise ValueError(f"train + val + test is {total:g}, and must be 1")
        return self


class Transformation(Section):
    """From encoded bytes to uint8 pixels."""

    size: Annotated[int, Field(ge=4, le=1024)]  # both sides, in pixels
    mode: Literal["L", "RGB"]
    resize: Literal["stretch", "centre-crop", "letterbox"]
    split: Split


class Model(Section):
    """A network by registered name, its options, and the recipe that suits it."""

    name: Name
    options: dict[str, OptionValue]  # checked against the network's own signature
    lr: Positive
    batch_size: Count
    optimizer: Literal["sgd", "adam", "adamw"]
    momentum: Annotated[float, Field(ge=0, lt=1)]  # sgd's; beta1 of adam and adamw
    weight_decay: NonNegative
    schedule: Literal["constant", "cosine", "one_cycle"]
    warmup: Annotated[float, Field(ge=0, lt=1)]  # share of the steps


class Training(Section):
    """How long and on what to train, whatever the network."""

    epochs: Count
    patience: Count | None  # epochs without improvement before stopping early; null trains them all
    monitor: Literal["val_loss", "val_accuracy"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    max_shift: Index  # pixels, in each direction, drawn for each image and epoch
    seed: Index
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16"]


class SearchRange(Section):
    """One dimension of the search: a setting by its dotted name, and where to look."""

    setting: str
    kind: Literal["float", "log", "int", "choice"]
    low: float | None = None
    high: float | None = None
    choices: list[OptionValue] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "choice":
            if not self.choices or self.low is not None or self.high is not None:
                raise ValueError("kind choice takes `choices` alone")
        elif self.choices is not None or self.low is None or self.high is None or self.low >= self.high:
            raise ValueError(f"kind {self.kind} takes `low` < `high` and no `choices`")
        elif self.kind == "log" and self.low <= 0:
            raise ValueError(f"kind log takes `low` > 0, got {self.low:g}")
        return self


class Optimize(Section):
    """The Optuna study."""

    trials: Count
    epochs: Count  # of each trial
    seed: Index
    startup_trials: Count  # drawn at random before TPE takes over, and never pruned
    warmup_epochs: Index  # before a trial may be pruned
    space: dict[str, SearchRange] = Field(min_length=1)


class Evaluation(Section):
    """How the exported model is measured."""

    batch_size: Count
    calibration_bins: Count
    bootstrap_samples: Count
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: Index
    latency_runs: Count


class Rule(Section):
    """One condition of the quality gate."""

    metric: str
    comparison: Literal[">=", ">", "<=", "<"]
    threshold: float


class Gate(Section):
    """What a model must show to be promoted."""

    rules: dict[str, Rule] = Field(min_length=1)


class Registry(Section):
    """Under what name to register, and what a challenger must prove."""

    name: Name
    alpha: Annotated[float, Field(gt=0, lt=0.5)]  # of the one-sided test against the champion


class Tracking(Section):
    """Where MLflow keeps its runs."""

    uri: str  # a relative sqlite path is taken from the main workspace
    experiment: Name


class Settings(Section):
    """Everything in ``params.yaml``."""

    dataset: Dataset
    validation: Validation
    preparation: Preparation
    transformation: Transformation
    model: Model
    training: Training
    optimize: Optimize
    evaluation: Evaluation
    gate: Gate
    registry: Registry
    tracking: Tracking

    @model_validator(mode="after")
    def _agree(self) -> Self:
        # A value error raised in a nested section carries that section's key; these concern two sections at once.
        if self.training.max_shift >= self.transformation.size // 2:
            raise ValueError(
                f"training.max_shift = {self.training.max_shift}: must be less than half of "
                f"transformation.size = {self.transformation.size}"
            )
        for name, dimension in self.optimize.space.items():
            if not _exists(self, dimension.setting):
                raise ValueError(
                    f"optimize.space.{name}.setting = {dimension.setting!r}: there is no such setting"
                )
        return self

    def with_values(self, values: Mapping[str, Any], source: str) -> "Settings":
        """Return these settings with some replaced by dotted name, validated again.

        Args:
            values: The new value of each setting, such as ``{"model.lr": 0.01}``.
            source: Where the values come from, for the message.

        Raises:
            SettingsError: A name is unknown or a value is not allowed.
        """
        tree = self.model_dump()
        for name, value in values.items():
            *sections, key = name.split(".")
            node = tree
            for section in sections:
                node = node.get(section, {})
            if key not in node:
                raise SettingsError(f"{source}: {name}: there is no such setting")
            node[key] = value
        return parse_settings(tree, source)


def load_settings(path: Path = PARAMS) -> Settings:
    """Read ``params.yaml``.

    Raises:
        SettingsError: The file is missing, is not YAML, or a key is unknown, missing, mistyped or out of range. The message
            has a line for each, with the key, the value and what is allowed.
    """
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file; `make params` composes it from conf/") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return parse_settings(tree, str(path))


def parse_settings(tree: object, source: str) -> Settings:
    """Validate a tree of plain values.

    Args:
        tree: What YAML or Hydra gave.
        source: Where it comes from, for the messages.

    Raises:
        SettingsError: As `load_settings`.
    """
    unset = [f"{source}: {'.'.join(key)} = '???': a value must be given: {_wanted(key)}" for key in _missing(tree)]
    if unset:
        raise SettingsError("\n".join(unset))
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        lines = dict.fromkeys(f"{source}: {_explain(problem)}" for problem in error.errors(include_url=False))
        raise SettingsError("\n".join(lines)) from None


def _missing(node: object, location: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _missing(value, (*location, str(key)))
    elif node == MISSING:
        yield location


def _wanted(location: tuple[str, ...]) -> str:
    _, field, _ = _locate(list(location))
    return _allowed(field) if field else "or the key removed"


def _exists(settings: Settings, name: str) -> bool:
    node: Any = settings
    for part in name.split("."):
        if isinstance(node, BaseModel) and part in type(node).model_fields:
            node = getattr(node, part)
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            return False
    return not isinstance(node, BaseModel)


def _explain(problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    """One line for one of pydantic's findings: key, value and what is allowed."""
    location = [str(part) for part in problem["loc"] if isinstance(part, int) or re.fullmatch(r"[\w.-]+", part)]
    section, field, depth = _locate(location)
    key = ".".join(location[:depth] if field else location)
    if problem["type"] == "extra_forbidden":
        allowed = ", ".join(section.model_fields)
        return f"{key} = {problem['input']!r}: unknown key; {'.'.join(location[:-1]) or 'the file'} has {allowed}"
    if problem["type"] == "missing":
        return f"{key}: missing; must be {_allowed(field)}" if field else f"{key}: missing"
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        return f"{key}: {message}" if key else message
    return f"{key} = {problem['input']!r}: " + (f"must be {_allowed(field)}" if field else problem["msg"])


def _locate(location: list[str]) -> tuple[type[BaseModel], FieldInfo | None, int]:
    """Find the section and field that a location names, and how many of its parts name them."""
    section: type[BaseModel] = Settings
    field: FieldInfo | None = None
    for depth, part in enumerate(location, start=1):
        if field is not None and get_origin(field.annotation) is dict:
            inner = get_args(field.annotation)[1]
            if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
                return section, field, depth
            section, field = inner, None
            continue
        field = section.model_fields.get(part)
        if field is None:
            return section, None, depth
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            if get_origin(field.annotation) is dict and depth < len(location):
                continue
            return section, field, depth
        if depth < len(location):
            section, field = field.annotation, None
    return section, field, len(location)


_KINDS: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    str: "text",
    bool: "true or false",
    type(None): "null",
}
_BOUNDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}


def _allowed(field: FieldInfo) -> str:
    """Say in words what a field takes, bounds included."""
    bounds = [
        f"{word} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, word in _BOUNDS.items()
        if getattr(rule, name, None) is not None
    ]
    patterns = [f"matching {rule.pattern}" for rule in field.metadata if getattr(rule, "pattern", None)]
    return " ".join([_kind(field.annotation), " and ".join(bounds + patterns)]).strip()


def _kind(annotation: Any) -> str:  # noqa: ANN401 - any type annotation
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is Annotated:
        return _allowed(FieldInfo.from_annotation(annotation))
    if origin in (types.UnionType, Union):
        return " or ".join(_kind(arg) for arg in args)
    if origin is dict:
        return f"a mapping, each value {_kind(args[1])}"
    if origin is list:
        return f"a list, each {_kind(args[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a mapping with " + ", ".join(annotation.model_fields)
    return _KINDS.get(annotation, str(annotation))
