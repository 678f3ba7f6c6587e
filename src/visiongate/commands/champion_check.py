"""``visiongate registry check``: judge the champion again, without changing a tracked file."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from visiongate import paths
from visiongate.adapters.mlflow.environment import processor_name
from visiongate.commands.gate import format_verdict
from visiongate.delivery.champion_check import (
    ChampionCheck,
    ChampionFile,
    MeasuredLatency,
    combine,
    judge_feedback,
    judge_latency,
    leave_out_learned,
    measure_medians,
    open_champion,
)
from visiongate.delivery.champion_report import render_check
from visiongate.errors import DataError
from visiongate.evaluation.folds import JudgedFold, judged_images, read_folds, read_holdout
from visiongate.evaluation.result import EvaluationResult, evaluate_model
from visiongate.gate.rejudging import compare_with_base, skip_drops
from visiongate.images.integrity import check_arrays
from visiongate.models.predictions import check_contract
from visiongate.monitoring.harm import measure_harm
from visiongate.monitoring.harm_store import read_votes_at
from visiongate.records.evaluation import read_metrics
from visiongate.records.files import write_json, write_text
from visiongate.records.json_record import read_record
from visiongate.records.registration import read_registration
from visiongate.records.transform import TRANSFORM_FILE
from visiongate.records.validation import read_validation
from visiongate.records.verdict import GateVerdict
from visiongate.settings.loading import load_settings
from visiongate.settings.schema import Settings

CPU_INFO = Path("/proc/cpuinfo")
logger = logging.getLogger(__name__)


def run(report: Path | None, record: Path | None, previous: Path | None, log: str | None) -> int:
    """Print the results; return 1 if the champion falls short.

    Args:
        report: File for the report; None for none.
        record: File for the result, which a later check reads.
        previous: Result of an earlier check, or of none yet.
        log: Address of the prediction log.

    Raises:
        VisiongateError: There is no champion, or the current test images do not fit it.
    """
    settings, earlier = load_settings(), _read_previous(previous)
    for path in (report, record):
        if path is not None:
            # Otherwise they could be taken for those of this check, if it cannot finish.
            path.unlink(missing_ok=True)
    registration = read_registration(paths.REGISTRATION)
    champion = open_champion(settings, paths.MODEL_ONNX, registration)
    folds = [leave_out_learned(fold, champion) for fold in read_judging_folds(champion)]
    failed = len(read_validation(paths.VALIDATION / "result.json").failed("critical"))
    result = evaluate_model(champion.predictor, folds, failed, settings)
    latency = measure_medians(champion, result, judged_images(folds), settings.evaluation)
    check = _judge(champion, result, latency, (earlier, log), settings)
    if record is not None:
        write_json(record, asdict(check))
    if report is not None:
        write_text(report, render_check(check))
    print(f"{check.model}\n\n{format_verdict(check.verdict)}")
    return 0 if check.verdict.passed else 1


def read_judging_folds(champion: ChampionFile) -> list[JudgedFold]:
    """Return the images that judge the champion: the test split, or with cross-validation all, with the models of the folds.

    Raises:
        DataError: The images do not fit the champion, or the models of its folds are unknown.
    """
    transform = check_arrays(paths.TRANSFORMED)
    check_contract(champion.predictor, transform, str(paths.TRANSFORMED / TRANSFORM_FILE))
    if transform.protocol == "holdout":
        return read_holdout(paths.TRANSFORMED, champion.predictor)
    if not champion.is_committed:
        raise DataError(
            f"{champion.origin}: cannot be judged by cross-validation, because the models of its folds are not those of this "
            "work tree; check out the commit of the champion"
        )
    return read_folds(paths.TRANSFORMED)


def _judge(
    champion: ChampionFile,
    result: EvaluationResult,
    latency: MeasuredLatency,
    known: tuple[Mapping[str, MeasuredLatency], str | None],
    settings: Settings,
) -> ChampionCheck:
    """Apply all rules; known are the earlier latencies by processor, and the address of the prediction log."""
    earlier, log = known
    processor, accuracy = processor_name(CPU_INFO), result.card.intervals["accuracy"]
    harm = None
    if log is not None:
        harm = measure_harm(read_votes_at(log, champion.sha256), accuracy.low, settings.monitoring.retrain)
    slowdowns = judge_latency(latency, earlier.get(processor))
    # A slow check is not what the next one is compared with.
    is_slow = any(each.passed is False for each in slowdowns)
    latencies = earlier if is_slow else {**earlier, processor: latency}
    further = [judge_feedback(harm), *slowdowns]
    return combine(
        champion, _compare_with_committed(champion, result, settings), further, accuracy, latencies
    )


def _compare_with_committed(
    champion: ChampionFile, result: EvaluationResult, settings: Settings
) -> GateVerdict:
    """Apply the rules on the largest drop against the recorded evaluation, if that was of the champion."""
    rules = settings.gate.rules
    if not champion.is_committed:
        return skip_drops(result.verdict, rules, "the committed evaluation is of another model")
    metrics = {**result.card.metrics, **result.latency}
    base = read_metrics(paths.METRICS) | read_metrics(paths.LATENCY)
    return compare_with_base(result.verdict, rules, metrics, base)


def _read_previous(path: Path | None) -> Mapping[str, MeasuredLatency]:
    """Return the latencies of an earlier check; none if it cannot be read, as after a change of the format."""
    if path is None or not path.exists():
        return {}
    try:
        return read_record(path, ChampionCheck).latency
    except DataError as error:
        logger.warning("The earlier check is ignored: %s", error)
        return {}
