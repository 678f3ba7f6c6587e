"""Register: record the model and its verdict in MLflow; promote it if it is shown to beat the champion."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visiongate import paths
from visiongate.adapters.git import Commit, Repository
from visiongate.adapters.mlflow.model_files import Candidate
from visiongate.adapters.mlflow.registry import (
    PREVIOUS_TAG,
    ROLLED_BACK_TAG,
    THRESHOLD_TAG,
    Version,
    add_version,
    clear_tag,
    describe_version,
    fetch_model,
    find_champion,
    find_version,
    link_version,
    set_tags,
)
from visiongate.adapters.mlflow.runs import (
    MODEL_TAG,
    WRITTEN_BY_PIPELINE,
    find_or_create_run,
    log_reports,
    log_results,
)
from visiongate.adapters.mlflow.store import Store, TrackingError, open_store
from visiongate.comparison.paired_test import Comparison, compare, uses_mcnemar
from visiongate.comparison.predictions import GroundTruth, predict_images
from visiongate.images.pixels import PixelSplit, load_split
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.records.files import read_json, sha256_of, write_json, write_text
from visiongate.records.history import read_history
from visiongate.records.manifest import read_manifest
from visiongate.records.model import read_model_description
from visiongate.records.verdict import GateVerdict, read_verdict
from visiongate.registration import promotion
from visiongate.registration.aliases import ChampionMovedError, apply_decision
from visiongate.registration.card import describe_model
from visiongate.registration.gains import measure_gain
from visiongate.registration.lease import Renew, exclusive
from visiongate.registration.lineage import Lineage, read_lineage
from visiongate.registration.promotion import Decision
from visiongate.settings.schema import Settings

MADE_BY = ("ingestion", "validation", "preparation", "transformation", "train", "evaluate")
DIRTY_TAG = "visiongate.git_dirty"
ATTEMPTS = 5  # to compare with the champion, before giving up on one that keeps changing
DATA = (paths.RAW, paths.PREPARED, paths.TRANSFORMED)


@dataclass(frozen=True, slots=True)
class Judged:
    """A model, what it was tested on, how that went, and what it comes from."""

    model: Predictor
    sha256: str
    test: PixelSplit
    groups: Sequence[str | None]  # of each test image
    threshold: float | None  # from which the second of two classes is answered; None: the likelier is
    verdict: GateVerdict
    commit: Commit
    lineage: Lineage


def run(settings: Settings) -> None:
    """Register ``models/model.onnx``, decide about it, and write ``reports/registration.json``."""
    judged = _read_judged()
    store = open_store(settings.tracking)
    with exclusive(store, settings.registry.name) as renew:
        run_id = _log_to_run(store, judged)
        version = _find_or_add_version(store, settings.registry.name, judged, run_id)
        renew()
        version, decision = _settle(store, judged, version, settings, renew)
    registration = _describe(judged, version, decision)
    card = describe_model(settings, registration)
    write_text(paths.MODEL_CARD, card)
    log_reports(store, run_id, [paths.EVALUATION, paths.MODEL_CARD, paths.PARAMS])
    describe_version(store, version, card)
    write_json(paths.REGISTRATION, registration)
    print(f"{decision.verdict} as {version.name} version {version.number}: {decision.reason}")


def _settle(
    store: Store, judged: Judged, version: Version, settings: Settings, renew: Renew
) -> tuple[Version, Decision]:
    """Decide, and move the aliases; where another becomes champion meanwhile, compare anew, with that one."""
    for _ in range(ATTEMPTS):
        champion = find_champion(store, version.name)
        decision = _decide(store, judged, version, champion, settings)
        renew()
        serves = champion is not None and champion.number == version.number
        if decision.verdict != "rejected" or not serves:  # what serves keeps the rule that it serves by
            version = _tag_threshold(store, version, judged.threshold)
        with suppress(ChampionMovedError):
            return apply_decision(store, version, champion, decision, renew), decision
    raise TrackingError(
        f"registered model {version.name}: the champion changed {ATTEMPTS} times while it was compared with; "
        "no alias was moved: run again"
    )


def _read_judged() -> Judged:
    return Judged(
        model=open_predictor(paths.MODEL_ONNX),
        sha256=sha256_of(paths.MODEL_ONNX),
        test=load_split(paths.TRANSFORMED, "test"),
        groups=read_manifest(paths.TRANSFORMED, "test").column("group").to_pylist(),
        threshold=_read_threshold(paths.METRICS),
        verdict=read_verdict(paths.GATE),
        commit=Repository(Path.cwd()).checked_out(WRITTEN_BY_PIPELINE),
        lineage=read_lineage(paths.LOCK, MADE_BY, DATA, paths.MODEL_ONNX),
    )


def _read_threshold(path: Path) -> float | None:
    threshold: float | None = read_json(path).get("threshold")
    return threshold


def _log_to_run(store: Store, judged: Judged) -> str:
    """Add the test's results to the run that trained the model, and return its id."""
    name = f"train {read_model_description(paths.MODEL_DESCRIPTION).network}"
    history = [epoch.defined() for epoch in read_history(paths.HISTORY)]
    run_id = find_or_create_run(store, judged.sha256, name, judged.lineage.params, history)
    metrics = {f"test/{metric}": value for metric, value in read_json(paths.METRICS).items()}
    log_results(store, run_id, metrics, {"visiongate.gate": "passed" if judged.verdict.passed else "failed"})
    return run_id


def _find_or_add_version(store: Store, name: str, judged: Judged, run_id: str) -> Version:
    """Find the version of this file, whole, or add it.

    A version that was first met in a work tree with changes takes the lineage of a clean one that yields the same file.
    """
    version = find_version(store, name, judged.sha256)
    tags = {**judged.commit.tags(), **judged.lineage.tags()}
    if version is None:
        return _add_version(store, name, judged, run_id, tags)
    link_version(store, version)
    was_clean = version.tags.get(DIRTY_TAG) == "false"
    return version if was_clean or judged.commit.dirty is not False else set_tags(store, version, tags)


def _add_version(store: Store, name: str, judged: Judged, run_id: str, tags: Mapping[str, str]) -> Version:
    candidate = Candidate(
        path=paths.MODEL_ONNX,
        sha256=judged.sha256,
        example=judged.test.images[:1],
        classes=len(judged.model.contract.classes),
        description=asdict(read_model_description(paths.MODEL_DESCRIPTION)),
    )
    return add_version(store, name, candidate, run_id, tags)


def _tag_threshold(store: Store, version: Version, threshold: float | None) -> Version:
    """Keep the decision rule that the version was judged by."""
    if threshold is not None:
        return set_tags(store, version, {THRESHOLD_TAG: repr(threshold)})
    return clear_tag(store, version, THRESHOLD_TAG)


def _decide(
    store: Store, judged: Judged, version: Version, champion: Version | None, settings: Settings
) -> Decision:
    """Let the gate speak first, then the champion."""
    is_champion = champion is not None and champion.number == version.number
    if not judged.verdict.passed:
        return promotion.reject(judged.verdict.failed, is_champion=is_champion)
    if settings.gate.clean_tree and judged.commit.dirty is not False:
        return promotion.refuse_dirty(judged.commit, is_champion=is_champion)
    if is_champion:
        return promotion.accept_again()
    if ROLLED_BACK_TAG in version.tags:
        return promotion.accept_rolled_back(version.number, version.tags[ROLLED_BACK_TAG])
    return promotion.accept_first() if champion is None else _compete(store, judged, champion, settings)


def _compete(store: Store, judged: Judged, champion: Version, settings: Settings) -> Decision:
    """Test both on today's test images: the champion was judged on those of its own day."""
    if MODEL_TAG not in champion.tags:
        return promotion.accept_unlike(champion.number, "it was registered by other means")
    rival = open_predictor(fetch_model(store, champion))
    if difference := judged.model.contract.difference(rival.contract):
        return promotion.accept_unlike(champion.number, f"it has {difference}")
    exam = GroundTruth(judged.test.labels, judged.groups)
    if (
        len(set(exam.groups)) == 1
        and exam.groups[0] is not None
        and not uses_mcnemar(exam, settings.registry)
    ):
        return promotion.accept_unlike(champion.number, "all test images are of one group")
    mine = predict_images(judged.model, judged.test.images, judged.threshold)
    theirs = predict_images(rival, judged.test.images, champion.threshold)
    comparison = compare(mine, theirs, exam, settings.registry)
    decision = promotion.judge(champion.number, comparison, settings.registry.alpha)
    return _weigh_gain(judged, rival, decision, comparison, settings)


def _weigh_gain(
    judged: Judged, rival: Predictor, decision: Decision, comparison: Comparison, settings: Settings
) -> Decision:
    """Where the settings ask for it, let a model that is hardly worse win by what it saves."""
    wanted = settings.registry.non_inferiority
    if wanted is None or decision.verdict == "promoted":
        return decision
    gain = None
    if not promotion.may_be_worse(comparison, wanted):
        gain = measure_gain(wanted.gain, judged.model, rival, judged.test.images, settings.evaluation)
    return promotion.judge_gain(decision, comparison, wanted, gain)


def _describe(judged: Judged, version: Version, decision: Decision) -> dict[str, Any]:
    return {
        "decision": decision.verdict,
        "reason": decision.reason,
        "name": version.name,
        "version": version.number,
        "aliases": list(version.aliases),
        "model_sha256": judged.sha256,
        "gate_passed": judged.verdict.passed,
        "previous_champion": version.tags.get(PREVIOUS_TAG),
        "comparison": decision.comparison and asdict(decision.comparison),
        "lineage": {
            "git_commit": judged.commit.sha,
            "git_dirty": judged.commit.dirty,
            "data_md5": judged.lineage.data_md5,
            "model_md5": judged.lineage.model_md5,
            "params_sha256": judged.lineage.params_sha256,
            "differences": judged.lineage.differences,
        },
    }
