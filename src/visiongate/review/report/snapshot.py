"""What is known of a revision, parsed: the only thing that the report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from visiongate.records.evaluation import Slice
from visiongate.records.interval import Interval
from visiongate.records.preparation import QuarantinedImage
from visiongate.records.validation import ExpectationResult
from visiongate.records.verdict import GateVerdict
from visiongate.settings.registry import Registry


@dataclass(frozen=True, slots=True)
class ClassRow:
    """How a class fares; None where it has no test image."""

    name: str
    images: int
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Images of a class that were taken for a class."""

    actual: str
    predicted: str
    images: int


@dataclass(frozen=True, slots=True)
class Course:
    """How a training went: a value an epoch, by the name of the curve; not finite where it diverged."""

    epochs: Sequence[int]
    curves: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model answered to the test images, in the order of their hashes."""

    sha256: Sequence[str]  # N
    labels: Sequence[str]  # N names
    predicted: Sequence[str]  # N names
    probabilities: npt.NDArray[np.float64]  # N×K, in the order of the classes


@dataclass(frozen=True, slots=True)
class Search:
    """What `optimize` found."""

    trials: int
    metric: str
    best: float
    current: float | None
    beaten: bool  # a trial has a better value than the current settings
    better: bool  # and by more than seed noise
    verdict: str  # in words
    values: Mapping[str, object]  # the best settings, by name


@dataclass(frozen=True, slots=True)
class Registration:
    """What `register` decided."""

    decision: str
    reason: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A revision. A part is None where it is not known; ``missing`` says why, by the part's name."""

    name: str  # how a person calls it, such as ``main``
    commit: str  # or "unknown"
    clean: bool = True  # False where tracked files differ from the commit
    stages: Mapping[str, str] | None = None  # a digest of what each last ran with, by name
    params: Mapping[str, object] | None = None  # by dotted name
    metrics: Mapping[str, object] | None = None  # by name; not all need be numbers
    times: Mapping[str, object] | None = None  # measured where it ran
    training: Mapping[str, object] | None = None
    verdict: GateVerdict | None = None  # of the gate, without a base
    intervals: Mapping[str, Interval] | None = None
    classes: Sequence[ClassRow] | None = None  # in the order of the model's outputs
    confusion: Sequence[Pair] | None = None
    slices: Sequence[Slice] | None = None
    answers: Answered | None = None
    course: Course | None = None
    expectations: Sequence[ExpectationResult] | None = None
    quarantine: Sequence[QuarantinedImage] | None = None
    images: pa.Table | None = None  # sha256, path, split, label (by name) and group, a row an image
    search: Search | None = None
    registration: Registration | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no verdict on what is here."""

    kind: str  # "failed": the line broke off; "stale": it has not run; "unread": a file is not what it should be
    told: str  # what is wrong, in words that may be a stranger's
    stage: str | None = None
    log: str = ""  # of the run that broke off


@dataclass(frozen=True, slots=True)
class Judged:
    """All that a report is made of."""

    now: Snapshot
    base: Snapshot | None  # None where none was asked for
    verdict: GateVerdict | None  # with the base; None where there is trouble
    registry: Registry | None  # how two models are compared; None where the settings cannot be read
    trouble: Trouble | None = None
