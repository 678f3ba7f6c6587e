"""A snapshot of a revision: the records that the report compares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from visiongate.records.corrections import Correction
from visiongate.records.evaluation import ClassMetrics, ConfusionRow, Slice
from visiongate.records.history import EpochMetrics
from visiongate.records.interval import Interval
from visiongate.records.predictions import RecordedPredictions
from visiongate.records.preparation import CorrectedImage, QuarantinedImage
from visiongate.records.registration import Registration
from visiongate.records.transform import Transform
from visiongate.records.validation import ExpectationResult
from visiongate.records.verdict import GateVerdict
from visiongate.review.parsing import Search
from visiongate.settings.registry import Registry


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The records of a revision. A record is None if it is unavailable; ``missing`` has the reason, by the record's name.

    Attributes:
        name: Such as ``main``.
        commit: Its hash, or "unknown".
        clean: Whether no tracked file differs from the commit.
        stages: A digest of what each stage last ran with, by name.
        params: Parameters by dotted name.
        times: Measured where the pipeline ran.
        corrections: The decisions of people, by sha256.
        corrected: The images that the corrections were applied to, with the labels of the source.
        images: A row per image: sha256, path, split, label (a name) and group.
    """

    name: str
    commit: str
    clean: bool = True
    stages: Mapping[str, str] | None = None
    params: Mapping[str, object] | None = None
    metrics: Mapping[str, float] | None = None
    times: Mapping[str, float] | None = None
    training: Mapping[str, object] | None = None
    verdict: GateVerdict | None = None
    intervals: Mapping[str, Interval] | None = None
    classes: Sequence[ClassMetrics] | None = None
    confusion: Sequence[ConfusionRow] | None = None
    slices: Sequence[Slice] | None = None
    predictions: RecordedPredictions | None = None
    history: Sequence[EpochMetrics] | None = None
    expectations: Sequence[ExpectationResult] | None = None
    quarantine: Sequence[QuarantinedImage] | None = None
    corrections: Mapping[str, Correction] | None = None
    corrected: Sequence[CorrectedImage] | None = None
    images: pa.Table | None = None
    transform: Transform | None = None
    search: Search | None = None
    registration: Registration | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunProblem:
    """Why the gate was not applied: the pipeline failed, is outdated, or wrote a file that is unreadable."""

    kind: Literal["failed", "outdated", "unreadable"]
    reason: str
    stage: str | None = None
    log: str = ""


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """What the report is rendered from.

    Attributes:
        verdict: The gate's, with the base; None if there is a problem.
        registry: How two models are compared; None if the settings are invalid.
    """

    current: Snapshot
    base: Snapshot | None
    verdict: GateVerdict | None
    registry: Registry | None
    problem: RunProblem | None = None
