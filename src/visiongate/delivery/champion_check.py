"""Judge the champion again: on the current test images, on the feedback about its answers, and by its latency."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from visiongate.adapters.mlflow.registry import fetch_model, find_champion
from visiongate.adapters.mlflow.store import Store, has_store, open_store
from visiongate.errors import DataError
from visiongate.evaluation.folds import JudgedFold, Split
from visiongate.evaluation.latency import measure_latency
from visiongate.evaluation.result import EvaluationResult
from visiongate.gate.rules import Measured, apply_rules
from visiongate.images.pixels import PixelSplit
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.monitoring.harm import MeasuredHarm
from visiongate.records.files import sha256_of
from visiongate.records.interval import Interval
from visiongate.records.registration import Registration
from visiongate.records.verdict import GateVerdict, RuleResult
from visiongate.registration.versions import read_champion
from visiongate.settings.evaluation import Evaluation
from visiongate.settings.gate import Rule
from visiongate.settings.schema import Settings

# Compared with an earlier check on the same processor: how much slower the median may be. Medians of hosted machines differ by
# a fifth from day to day.
MAX_SLOWDOWN = 1.5
COMPARED_LATENCY = ("latency_p50_ms", "latency_batch_p50_ms")
# The median of so many measurements counts.
LATENCY_ROUNDS = 3
NO_LOG = "no address of a prediction log"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChampionFile:
    """The champion.

    Attributes:
        origin: Name and version, and where it comes from.
        sha256: Of its file.
        predictor: The loaded file.
        is_committed: Whether it is the model of the work tree.
        learned: The sha256 of the images that it was trained or validated on; None if it is not recorded, or if the current
            splits say it.
    """

    origin: str
    sha256: str
    predictor: Predictor
    is_committed: bool
    learned: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class MeasuredLatency:
    """Medians of a model on a processor, in milliseconds.

    Attributes:
        sha256: Of the model's file.
        values: By metric.
    """

    sha256: str
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class ChampionCheck:
    """The result of a check, which the next one reads.

    Attributes:
        model: The champion's origin.
        sha256: Of its file.
        verdict: The rules of the gate, and those about feedback and latency.
        accuracy: On the current test images.
        latency: By processor, also those of earlier checks.
    """

    model: str
    sha256: str
    verdict: GateVerdict
    accuracy: Interval
    latency: dict[str, MeasuredLatency] = field(default_factory=dict)


def open_champion(settings: Settings, file: Path, registration: Registration) -> ChampionFile:
    """Return the champion of the registry; without one, the committed model, if it was promoted.

    Args:
        settings: The sections ``tracking`` and ``registry``.
        file: The committed model.
        registration: Of the committed model.

    Raises:
        DataError: There is no champion, or its file is not that which was registered.
        TrackingError: MLflow failed.
    """
    store = open_store(settings.tracking) if has_store(settings.tracking) else None
    registered = _open_registered(store, settings.registry.name, registration) if store else None
    if registered is not None:
        return registered
    if registration.decision != "promoted":
        raise DataError(
            f"no champion: the registry has none, and the committed model was {registration.decision}; promote a version with "
            "`visiongate registry promote`"
        )
    predictor = open_predictor(file)
    if (sha256 := sha256_of(file)) != registration.model_sha256:
        raise DataError(
            f"{file}: has sha256 {sha256}, but {registration.model_sha256} was promoted; run `dvc pull`"
        )
    origin = f"{registration.name} version {registration.version}, of the commit"
    return ChampionFile(origin, sha256, predictor, is_committed=True)


def _open_registered(store: Store, name: str, committed: Registration) -> ChampionFile | None:
    version = find_champion(store, name)
    if version is None:
        return None
    file = fetch_model(store, version)
    sha256, predictor = sha256_of(file), open_predictor(file)
    is_committed = sha256 == committed.model_sha256
    learned = None if is_committed else read_champion(store, version, predictor).learned
    return ChampionFile(f"{name} version {version.number}", sha256, predictor, is_committed, learned)


def leave_out_learned(fold: JudgedFold, champion: ChampionFile) -> JudgedFold:
    """Return the fold without the test images that the champion has learned from, as after a change of the splits."""
    if champion.learned is None:
        return fold
    sha256 = fold.test.manifest.column("sha256").to_pylist()
    rows = [row for row, each in enumerate(sha256) if each not in champion.learned]
    if left_out := len(sha256) - len(rows):
        logger.warning("%d test images are left out, because the champion was trained on them", left_out)
    pixels = fold.test.pixels
    kept = Split(
        PixelSplit(pixels.images[rows], pixels.labels[rows]),
        fold.test.manifest.take(pa.array(rows, pa.int64())),
    )
    return replace(fold, test=kept)


def measure_medians(
    champion: ChampionFile, result: EvaluationResult, split: Split, settings: Evaluation
) -> MeasuredLatency:
    """Return the medians of several measurements of the latency, of which the evaluation was the first."""
    further = (
        measure_latency(champion.predictor, split.pixels.images, settings) for _ in range(LATENCY_ROUNDS - 1)
    )
    rounds = [result.latency, *further]
    values = {name: statistics.median(each[name] for each in rounds) for name in COMPARED_LATENCY}
    return MeasuredLatency(champion.sha256, values)


def judge_feedback(harm: MeasuredHarm | None) -> RuleResult:
    """Return whether labels that were asked for show that the accuracy has fallen; not evaluated with few labels.

    The verdict is that of `measure_harm`, which holds however often the champion is checked.

    Args:
        harm: Measured against the accuracy on test images; None without a log.
    """
    least = harm.least if harm else 0.0
    rule = Rule(metric="accuracy", comparison=">=", threshold=_round(least), bound="best")
    (judged,) = apply_rules({"feedback": rule}, _measured(harm.accuracy if harm else None)).rules
    if harm is None:
        return replace(judged, passed=None, note=NO_LOG)
    note = f"{harm.labels} labels that the service asked for"
    if harm.shown is None:
        return replace(judged, passed=None, note=f"{note}, too few to say")
    return replace(judged, passed=not harm.shown, note=note)


def _measured(accuracy: Interval | None) -> Measured:
    return Measured({"accuracy": accuracy.value}, {"accuracy": accuracy}) if accuracy else Measured({})


def judge_latency(now: MeasuredLatency, before: MeasuredLatency | None) -> list[RuleResult]:
    """Return whether the medians are about those of an earlier check of the same model on the same processor."""
    return [_judge_median(name, now, before) for name in COMPARED_LATENCY]


def _judge_median(name: str, now: MeasuredLatency, before: MeasuredLatency | None) -> RuleResult:
    known = before.values.get(name) if before else None
    limit = _round(MAX_SLOWDOWN * (known or 0.0))
    rule = Rule(metric=name, comparison="<=", threshold=limit)
    (judged,) = apply_rules({"slowdown": rule}, Measured(now.values)).rules
    if before is None or known is None:
        return _unknown(judged, "no earlier check on this processor")
    if before.sha256 != now.sha256:
        return _unknown(judged, "the earlier check was of another model")
    return replace(judged, note=f"{now.values[name] / known:.2f} times that of the last check")


def _round(value: float) -> float:
    """Return a value in the four digits that reports show, so that no verdict contradicts its numbers."""
    return float(f"{value:.4g}")


def _unknown(result: RuleResult, note: str) -> RuleResult:
    required = f"<= {MAX_SLOWDOWN:g} times that of the last check"
    return replace(result, required=required, margin=None, passed=None, note=note)


def combine(
    champion: ChampionFile,
    verdict: GateVerdict,
    further: Sequence[RuleResult],
    accuracy: Interval,
    latency: Mapping[str, MeasuredLatency],
) -> ChampionCheck:
    """Return the result of a check.

    Args:
        champion: The champion.
        verdict: Of the gate.
        further: The results about feedback and latency.
        accuracy: On test images.
        latency: By processor.
    """
    rules = GateVerdict.of([*verdict.rules, *further])
    return ChampionCheck(champion.origin, champion.sha256, rules, accuracy, dict(latency))
