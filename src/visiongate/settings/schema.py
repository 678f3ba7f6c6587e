"""The settings: ``params.yaml`` parsed once, at the border, into frozen typed objects.

This is the only parser of ``params.yaml``. It imports nothing heavy, so that a mistyped setting is refused in a fraction
of a second, before torch or MLflow are loaded.
"""

import math
import re
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from visiongate.errors import SettingsError
from visiongate.paths import PARAMS
from visiongate.settings.explanations import MISSING, Location, explain, explain_missing

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
MOST = 1e6  # of a learning rate: what torch multiplies must not overflow
Rate = Annotated[float, Field(gt=0, le=MOST)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Severity = Literal["critical", "warning"]
# What a model is measured by: the names are those that `evaluation` gives, which is too heavy to import here.
Metric = Literal[
    "images",
    "accuracy",
    "top3",  # with more than five classes
    "balanced_accuracy",
    "precision_macro",
    "precision_weighted",
    "recall_macro",
    "recall_weighted",
    "f1_macro",
    "f1_weighted",
    "recall_min",
    "f1_min",
    "mcc",
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "ece",
    "ece_uncalibrated",
    "sensitivity",  # of two classes, as are the next three
    "specificity",
    "precision_positive",
    "f1_positive",
    "train_accuracy",
    "train_f1_macro",
    "accuracy_gap",  # train less test
    "f1_gap",
    "majority_accuracy",
    "linear_accuracy",
    "gain_over_majority",
    "gain_over_linear",
    "leaked_images",
    "failed_expectations",
    "worst_slice_accuracy",
    "corrupted_accuracy",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_batch_p50_ms",
    "latency_batch_p95_ms",
    "throughput_images_per_s",
    "peak_memory_mb",
]
ClassMetric = Literal["recall", "precision", "f1"]
LOWER_IS_BETTER = frozenset(
    {
        "log_loss",
        "brier",
        "ece",
        "ece_uncalibrated",
        "accuracy_gap",
        "f1_gap",
        "leaked_images",
        "failed_expectations",
        "latency_p50_ms",
        "latency_p95_ms",
        "latency_batch_p50_ms",
        "latency_batch_p95_ms",
        "peak_memory_mb",
    }
)
# What an epoch is measured by, on the validation split.
Monitor = Literal[
    "val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1", "val_roc_auc", "val_top3"
]
OptionValue = bool | int | float | str | list[int]


class Section(BaseModel):
    """A frozen part of the settings that knows all its keys and converts nothing silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class File(Section):
    """One file of a data set that is published: what it must be before it is read."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None  # null where its publisher gives none
    size: Count | None  # bytes


class Limits(Section):
    """What an archive or an image may cost before it is taken for an attack."""

    max_files: Count  # in one source
    max_file_bytes: Count  # of one file, decompressed
    max_total_bytes: Count  # of all files of a source, decompressed
    max_ratio: Annotated[float, Field(ge=1)]  # decompressed over compressed bytes, of a whole archive
    # Width times height of one image. Pillow refuses images with more than twice its `MAX_IMAGE_PIXELS`.
    max_pixels: Annotated[int, Field(ge=1, le=178_956_970)]


class Dataset(Section):
    """Where the images come from, and what is known of them beforehand."""

    name: Name
    path: str  # an archive or folder that takes the place of the download; the set's own page in conf/ where there is none
    url: (
        str | None
    )  # of one file, or of a folder that holds `files`: http(s), s3, gs, file, or kaggle://owner/dataset
    files: dict[str, File]  # by name; where empty, whatever `url` holds
    classes: (
        list[str] | None
    )  # in the order of the model's outputs; null takes the folders' names in alphabetical order
    exclude: list[str]  # patterns of paths that are left out, as in a shell
    splits: dict[str, Literal["train", "val", "test"]]  # folders above the classes' that give a split
    group: (
        str | None
    )  # regular expression on the path; what its parentheses match must stay together, a patient say
    license: str
    citation: str
    homepage: str
    limits: Limits
    limit: Count | None  # at most so many images, spread evenly over the source: for a quick try

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError("classes names one twice")
        if self.group is not None:
            _check_group(self.group)
        return self


def _check_group(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"group {pattern!r} is no regular expression: {error}") from None
    if groups != 1:
        raise ValueError(f"group {pattern!r} needs one pair of parentheses, around what names the group")


class Expectation(Section):
    """An expectation that takes no bound."""

    severity: Severity


class AllowedFormats(Expectation):
    """Encoded formats as Pillow names them."""

    allowed: list[str] = Field(min_length=1)


class AllowedModes(Expectation):
    """Color modes as Pillow names them."""

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


class MaxCount(Expectation):
    """At most so many."""

    max_count: Index


class Validation(Section):
    """What is expected of the raw image table."""

    columns: Expectation
    extensions: Expectation  # what a file's name says is what its bytes are
    formats: AllowedFormats
    decodable: MinShare
    size: SizeRange
    aspect: MaxRatio  # longer side over shorter
    modes: AllowedModes
    brightness: Expectation  # a number from 0 to 255 for every image
    classes: Expectation
    rows_per_class: MinRows
    balance: MaxRatio
    unique: MinShare
    label_conflicts: MaxCount  # images whose bytes bear another label too
    split_overlap: MaxCount  # images whose bytes are in another given split too
    split_groups: MaxCount  # groups that a given split shares with another


class NearDuplicates(Section):
    """When two images that differ in their bytes are taken for one picture."""

    max_distance: Annotated[int, Field(ge=0, le=16)]  # bits of 64 in which their perceptual hashes differ
    max_difference: NonNegative  # of their 32×32 gray sketches, in standard deviations


class Preparation(Section):
    """What is quarantined, and what is taken for the same picture."""

    min_side: Count  # pixels
    min_contrast: NonNegative  # standard deviation of the brightness, 0..127.5; below it an image is blank
    near_duplicates: NearDuplicates
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
    resize: Literal["stretch", "center-crop", "letterbox"]
    split: Split


class Model(Section):
    """A network by registered name, its options, and the recipe that suits it."""

    kind: Literal["network"]
    name: Name
    options: dict[str, OptionValue]  # checked against the network's own signature
    lr: Positive
    backbone_lr: NonNegative | None  # of a network with a backbone: 0 freezes it, null learns at lr
    batch_size: Count
    optimizer: Literal["sgd", "adam", "adamw", "muon"]
    momentum: Annotated[float, Field(ge=0, lt=1)]  # sgd's and muon's; beta1 of adam and adamw
    weight_decay: NonNegative
    bias_lr: Rate  # of biases and norms, in multiples of lr
    head_lr: Rate  # muon's, of the last layer, which it leaves to sgd, in multiples of lr
    hold_norm: bool  # muon's: kernels keep their norm, which batch norm undoes anyway
    schedule: Literal["constant", "step", "cosine", "one_cycle", "linear"]
    warmup: Annotated[float, Field(ge=0, lt=1)]  # share of the steps
    milestones: list[Annotated[float, Field(gt=0, lt=1)]]  # of schedule step: shares of the steps
    gamma: Annotated[float, Field(gt=0, lt=1)]  # what step multiplies the learning rate by at each of them

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.lr > MOST:
            raise ValueError(f"lr {self.lr:g} is beyond all use; at most {MOST:g}")
        if self.schedule == "step" and (
            not self.milestones or self.milestones != sorted(set(self.milestones))
        ):
            raise ValueError(f"schedule step needs milestones that increase, not {self.milestones}")
        return self


class Baseline(Section):
    """A classifier of scikit-learn by registered name, which a network must beat."""

    kind: Literal["baseline"]
    name: Name
    options: dict[str, OptionValue]  # checked against the baseline's own signature


class Augmentation(Section):
    """What is done to the training images, drawn for each image and epoch."""

    flip: Literal["none", "random", "alternating"]  # left to right; alternating: every other epoch
    shift: Index  # pixels, in each direction
    border: Literal["black", "reflect"]  # what comes in when an image is shifted
    rotation: Annotated[float, Field(ge=0, le=180)]  # degrees, either way
    zoom: Annotated[float, Field(ge=0, lt=1)]  # in or out by at most this share
    brightness: Share  # by at most this share, as are the next two
    contrast: Share
    saturation: Share  # of color images
    noise: Share  # standard deviation, pixels taken as 0..1
    cutout: Index  # pixels, the side of a square that is blanked
    mixup: NonNegative  # alpha of the beta distribution; 0 mixes nothing


class Progressive(Section):
    """Smaller images at the start of a training: they cost less, and teach as much."""

    size: Annotated[int, Field(ge=4)] | None  # pixels a side; null leaves them
    until: Annotated[float, Field(gt=0, le=1)]  # share of the steps


class Launch(Section):
    """How many processes train together."""

    processes: Count  # on each machine
    machines: Count
    address: Annotated[str, Field(pattern=r"^[^:\s]+:\d+$")]  # host:port of the first machine


class Training(Section):
    """How long, by what loss and on what to train, whatever the network."""

    epochs: Count
    patience: Count | None  # epochs without improvement before stopping early; null trains them all
    give_up: Count | None  # epochs without learning anything before stopping with advice; null never does
    monitor: Monitor  # what the best epoch is chosen by
    loss: Literal["cross_entropy", "focal"]
    focal_gamma: NonNegative
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    class_weights: Literal["none", "balanced"]
    gradient_clip: Positive | None  # largest norm of a step's gradient
    accumulation: Count  # batches a step
    ema: Annotated[float, Field(gt=0, lt=1)] | None  # decay of the weights' average by step; null keeps none
    seed: Index
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16"]
    augmentation: Augmentation
    progressive: Progressive
    launch: Launch
    tensorboard: bool  # whether to write logs for TensorBoard


class SearchRange(Section):
    """One dimension of the search: a setting by its dotted name, and where to look."""

    setting: str
    kind: Literal["float", "log", "int", "choice"]
    low: float | None = None
    high: float | None = None
    choices: list[bool | int | float | str | None] | None = None

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
    metric: Monitor  # at the trial's best epoch
    seed: Index
    sampler: Literal["tpe", "random"]
    startup_trials: Count  # drawn at random before the sampler takes over
    pruner: Literal["median", "hyperband", "halving", "none"]
    warmup_epochs: Index  # median's: before a trial may be pruned
    reduction_factor: Annotated[int, Field(ge=2)]  # hyperband's and halving's: one trial in so many goes on
    confirm_seeds: Annotated[
        int, Field(ge=0, le=16)
    ]  # to run the best trial and the current settings again on
    workers: Count  # processes on this machine
    storage: str | None  # a database that several machines share, without its password; null: a file here
    space: dict[str, SearchRange] = Field(min_length=1)

    @model_validator(mode="after")
    def _keeps_no_secret(self) -> Self:
        # params.yaml is in git, and its values in dvc.lock and MLflow. The message must not tell the password either.
        if self.storage is not None and re.match(r"[^:/]+://[^/@]*:[^/]*@", self.storage):
            raise ValueError(
                "storage has a password in it, which would be committed with params.yaml: leave it out, and give it in "
                "VISIONGATE_STORAGE_PASSWORD"
            )
        return self


class Evaluation(Section):
    """How the exported model is measured."""

    batch_size: Count
    calibration_bins: Count
    bootstrap_samples: Annotated[int, Field(ge=50)]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: Index
    latency_runs: Count
    positive: str | None  # of two classes, the one that sensitivity is of; null takes the last
    threshold: Literal["argmax", "youden", "recall"]  # of two classes, chosen on the validation split
    recall_floor: Share  # of the positive class, for threshold: recall
    slice_images: Count  # the fewest of which a slice can be named the worst
    corruption_images: Index  # of the test split, at most, that are corrupted; 0 skips it
    gallery_images: Count  # in each gallery of the report, at most


class Rule(Section):
    """One condition of the quality gate: a comparison with a threshold, or the largest drop against the base."""

    metric: Metric | ClassMetric
    comparison: Literal[">=", ">", "<=", "<"] | None = None
    threshold: float | None = None
    bound: Literal["point", "worst"] = "point"  # worst: the interval's worse bound must meet the threshold
    classes: Literal["all"] | list[str] | None = (
        None  # each of these must meet it, by its own recall, precision or F1
    )
    max_drop: NonNegative | None = None  # against the base branch; a rise, of what is better low

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if (self.threshold is None) != (self.comparison is None):
            raise ValueError("comparison and threshold go together")
        if (self.threshold is None) == (self.max_drop is None):
            raise ValueError("give either comparison and threshold, or max_drop")
        if (self.metric in get_args(ClassMetric)) != (self.classes is not None):
            names = ", ".join(get_args(ClassMetric))
            raise ValueError(
                f"classes goes with the metrics {names}, and they with it, not with {self.metric}"
            )
        if self.max_drop is not None and (self.classes is not None or self.bound != "point"):
            raise ValueError("max_drop takes neither classes nor bound")
        return self


class Gate(Section):
    """What a model must show to be promoted."""

    rules: dict[str, Rule] = Field(min_length=1)
    clean_tree: bool  # whether what is registered must be committed


class NonInferiority(Section):
    """Promote a model that is hardly worse, if it is smaller or faster."""

    margin: Positive  # of the metric: the loss must be shown to be at most this
    gain: Literal["size", "latency"]  # of the model's file in bytes; of one image in milliseconds, measured
    by: Annotated[float, Field(gt=0, lt=1)]  # the share of the champion's that must be saved


class Registry(Section):
    """Under what name to register, and what a challenger must prove."""

    name: Name
    metric: Literal["accuracy", "balanced_accuracy", "f1_macro", "log_loss", "roc_auc"]
    test: Literal["auto", "mcnemar", "bootstrap"]  # auto: McNemar's for accuracy of images without groups
    alpha: Annotated[float, Field(gt=0, lt=0.5)]  # of the one-sided test against the champion
    samples: Count  # of the bootstrap
    seed: Index
    non_inferiority: NonInferiority | None

    @model_validator(mode="after")
    def _can_decide(self) -> Self:
        if self.test == "mcnemar" and self.metric != "accuracy":
            raise ValueError(
                f"test = mcnemar compares accuracy, not metric = {self.metric}: choose auto or bootstrap"
            )
        if self.alpha * (self.samples + 1) <= 1:
            raise ValueError(
                f"samples = {self.samples}: no p-value of so few lies below alpha = {self.alpha:g}; "
                f"give at least {math.ceil(1 / self.alpha)}"
            )
        return self


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
    training: Training
    optimize: Optimize
    model: Annotated[Model | Baseline, Field(discriminator="kind")]
    evaluation: Evaluation
    gate: Gate
    registry: Registry
    tracking: Tracking

    @model_validator(mode="after")
    def _agree(self) -> Self:
        # A value error raised in a nested section carries that section's key; these concern two sections at once.
        _check_augmentation(self.training.augmentation, self.transformation)
        small = self.training.progressive.size
        if small is not None and small >= self.transformation.size:
            raise ValueError(
                f"training.progressive.size = {small}: must be less than transformation.size = {self.transformation.size}"
            )
        for name, dimension in self.optimize.space.items():
            if not _exists(self, dimension.setting):
                raise ValueError(
                    f"optimize.space.{name}.setting = {dimension.setting!r}: there is no such setting"
                )
        return self

    @property
    def network(self) -> Model:
        """The recipe of the network.

        Raises:
            SettingsError: The model is a baseline.
        """
        if isinstance(self.model, Baseline):
            raise SettingsError(
                f"model = {self.model.name}: a baseline, where a network is needed: choose one of conf/model"
            )
        return self.model

    def value(self, name: str) -> Any:  # noqa: ANN401 - whatever the setting holds
        """Return a setting by its dotted name, such as ``model.lr``."""
        return reduce(getitem, name.split("."), self.model_dump())

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
            if not _exists(self, name):
                raise SettingsError(f"{source}: {name}: there is no such setting")
            *sections, key = name.split(".")
            reduce(getitem, sections, tree)[key] = value
        return parse_settings(tree, source)


def _check_augmentation(augmentation: Augmentation, images: Transformation) -> None:
    name = "training.augmentation"
    if augmentation.shift >= images.size // 2:
        raise ValueError(
            f"{name}.shift = {augmentation.shift}: must be less than half of transformation.size = {images.size}"
        )
    if augmentation.cutout >= images.size:
        raise ValueError(
            f"{name}.cutout = {augmentation.cutout}: must be less than transformation.size = {images.size}"
        )


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's loader, except that 1e-4 is a number, as it is to Hydra and DVC, and not text as YAML 1.1 has it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_settings(path: Path = PARAMS) -> Settings:
    """Read ``params.yaml``.

    Raises:
        SettingsError: The file is missing, is not YAML, or a key is unknown, missing, mistyped or out of range. The message
            has a line for each, with the key, the value and what is allowed.
    """
    try:
        tree = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 - a safe loader
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
    unset = [f"{source}: {explain_missing(Settings, tree, location)}" for location in _missing(tree)]
    if unset:
        raise SettingsError("\n".join(unset))
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        lines = dict.fromkeys(
            f"{source}: {explain(Settings, tree, problem)}" for problem in error.errors(include_url=False)
        )
        raise SettingsError("\n".join(lines)) from None


def _missing(node: object, location: Location = ()) -> Iterator[Location]:
    if isinstance(node, Mapping | list):
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _missing(value, (*location, key))
    elif node == MISSING:
        yield location


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
