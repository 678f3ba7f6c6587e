"""Register: record the model and its verdict in MLflow; promote it if it is shown to beat the champion."""

import csv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visiongate import paths
from visiongate.config import Settings
from visiongate.data.pixels import PixelSplit, load_split
from visiongate.evaluation.comparison import compare
from visiongate.evaluation.gate import Ruling, Verdict
from visiongate.evaluation.served_model import ServedModel, open_model
from visiongate.files import read_json, sha256_of, write_json
from visiongate.tracking import promotion
from visiongate.tracking.lineage import Commit, Lineage, read_commit, read_lineage
from visiongate.tracking.promotion import Decision
from visiongate.tracking.registry import (
    PREVIOUS_TAG,
    Candidate,
    Version,
    add_version,
    apply_decision,
    fetch_model,
    find_champion,
    find_version,
)
from visiongate.tracking.runs import MODEL_TAG, WRITTEN_BY_THE_LINE, find_or_create_run, log_results
from visiongate.tracking.store import Store, open_store

MADE_BY = ("ingestion", "validation", "preparation", "transformation", "train", "evaluate")
DATA = (paths.RAW, paths.PREPARED, paths.TRANSFORMED)


@dataclass(frozen=True, slots=True)
class Judged:
    """A model, what it was tested on, how that went, and what it comes from."""

    model: ServedModel
    sha256: str
    test: PixelSplit
    verdict: Verdict
    commit: Commit
    lineage: Lineage


def run(settings: Settings) -> None:
    """Register ``models/model.onnx``, decide about it, and write ``reports/registration.json``."""
    judged = _read_judged()
    store = open_store(settings.tracking)
    with store.exclusive():
        run_id = _log_to_run(store, judged)
        version = find_version(store, settings.registry.name, judged.sha256)
        version = version or _add_version(store, settings.registry.name, judged, run_id)
        champion = find_champion(store, version.name)
        decision = _decide(store, judged, version, champion, settings.registry.alpha)
        version = apply_decision(store, version, champion, decision)
    write_json(paths.REGISTRATION, _describe(judged, version, decision))
    print(f"{decision.verdict} as {version.name} version {version.number}: {decision.reason}")


def _read_judged() -> Judged:
    return Judged(
        model=open_model(paths.MODEL_ONNX),
        sha256=sha256_of(paths.MODEL_ONNX),
        test=load_split(paths.TRANSFORMED, "test"),
        verdict=_read_verdict(paths.GATE),
        commit=read_commit(Path.cwd(), WRITTEN_BY_THE_LINE),
        lineage=read_lineage(paths.LOCK, MADE_BY, DATA, paths.MODEL_ONNX),
    )


def _read_verdict(path: Path) -> Verdict:
    content = read_json(path)
    return Verdict(content["passed"], tuple(Ruling(**rule) for rule in content["rules"]))


def _log_to_run(store: Store, judged: Judged) -> str:
    """Add the test's results to the run that trained the model, and return its id."""
    name = f"train {read_json(paths.MODEL_DESCRIPTION)['network']}"
    history = _read_history(paths.HISTORY)
    run_id = find_or_create_run(store, judged.sha256, name, judged.lineage.params, history)
    metrics = {f"test/{metric}": value for metric, value in read_json(paths.METRICS).items()}
    log_results(store, run_id, metrics, {"visiongate.gate": "passed" if judged.verdict.passed else "failed"})
    return run_id


def _read_history(path: Path) -> list[dict[str, float]]:
    """Read metrics by epoch; empty cells are left out."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def _add_version(store: Store, name: str, judged: Judged, run_id: str) -> Version:
    candidate = Candidate(
        path=paths.MODEL_ONNX,
        sha256=judged.sha256,
        example=judged.test.images[:1],
        classes=len(judged.model.contract.classes),
        description=read_json(paths.MODEL_DESCRIPTION),
    )
    return add_version(store, name, candidate, run_id, {**judged.commit.tags(), **judged.lineage.tags()})


def _decide(
    store: Store, judged: Judged, version: Version, champion: Version | None, alpha: float
) -> Decision:
    """Let the gate speak first, then the champion."""
    is_champion = champion is not None and champion.number == version.number
    if not judged.verdict.passed:
        return promotion.reject(judged.verdict.failed, is_champion=is_champion)
    if champion is None:
        return promotion.accept_first()
    if is_champion:
        return promotion.accept_again()
    return _compare(store, judged, champion, alpha)


def _compare(store: Store, judged: Judged, champion: Version, alpha: float) -> Decision:
    """Test both on today's test images: the champion was judged on those of its own day."""
    if MODEL_TAG not in champion.tags:
        return promotion.accept_unlike(champion.number, "it was registered by other means")
    rival = open_model(fetch_model(store, champion))
    if difference := judged.model.contract.difference(rival.contract):
        return promotion.accept_unlike(champion.number, f"it has {difference}")
    mine, theirs = (model.predict(judged.test.images).argmax(axis=1) for model in (judged.model, rival))
    labels = judged.test.labels
    return promotion.judge(champion.number, compare(mine == labels, theirs == labels), alpha)


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
