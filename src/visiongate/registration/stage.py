"""The stage `register`: record the model in MLflow, and promote it if it is better than the champion."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.adapters.mlflow.registry import PREVIOUS_TAG, Version, describe_version, find_champion
from visiongate.adapters.mlflow.runs import WRITTEN_BY_PIPELINE, log_reports
from visiongate.adapters.mlflow.store import Store, open_store
from visiongate.images.pixels import load_split
from visiongate.models.predictor import open_predictor
from visiongate.records.evaluation import read_intervals, read_metrics, read_slices, worst_slice
from visiongate.records.files import sha256_of, write_text
from visiongate.records.history import read_history
from visiongate.records.manifest import read_manifest
from visiongate.records.model import read_model_description
from visiongate.records.registration import RecordedLineage, Registration, write_registration
from visiongate.records.verdict import read_verdict
from visiongate.registration.aliases import apply_decision
from visiongate.registration.decision import EvaluatedModel, decide
from visiongate.registration.lineage import read_lineage
from visiongate.registration.model_card import ModelCard, render_card
from visiongate.registration.promotion import Decision
from visiongate.registration.versions import find_or_add_version, log_test_results, set_threshold
from visiongate.settings.schema import Settings

# The stages that a model comes from, in order.
STAGES = ("ingestion", "validation", "preparation", "transformation", "train", "evaluate")
DATA = (paths.RAW, paths.PREPARED, paths.TRANSFORMED)


def run(settings: Settings) -> None:
    """Register ``models/model.onnx``, decide about it, and write ``registration.json`` and the model card."""
    model, metrics = _read_model(), read_metrics(paths.METRICS)
    store = open_store(settings.tracking)
    with store.exclusive():
        run_id = log_test_results(store, model, read_history(paths.HISTORY), metrics)
        version = find_or_add_version(store, settings.registry.name, model, run_id)
        version, decision = _decide_and_apply(store, model, version, settings)
    registration = _record(model, version, decision)
    card = render_card(_create_card(settings, model, registration, metrics))
    write_text(paths.MODEL_CARD, card)
    reports = (paths.EVALUATION, paths.MODEL_CARD, paths.PARAMS, paths.TRAINING_ENVIRONMENT)
    log_reports(store, run_id, reports)
    describe_version(store, version, card)
    write_registration(paths.REGISTRATION, registration)
    print(f"{version.name} version {version.number} {decision.action}: {decision.reason}")


def _read_model() -> EvaluatedModel:
    return EvaluatedModel(
        file=paths.MODEL_ONNX,
        sha256=sha256_of(paths.MODEL_ONNX),
        predictor=open_predictor(paths.MODEL_ONNX),
        description=read_model_description(paths.MODEL_DESCRIPTION),
        test=load_split(paths.TRANSFORMED, "test"),
        groups=read_manifest(paths.TRANSFORMED, "test").column("group").to_pylist(),
        threshold=read_metrics(paths.METRICS).get("threshold"),
        verdict=read_verdict(paths.GATE),
        commit=Repository(Path.cwd()).checked_out(WRITTEN_BY_PIPELINE),
        lineage=read_lineage(paths.LOCK, STAGES, DATA, paths.MODEL_ONNX),
    )


def _decide_and_apply(
    store: Store, model: EvaluatedModel, version: Version, settings: Settings
) -> tuple[Version, Decision]:
    champion = find_champion(store, version.name)
    decision = decide(store, model, version, champion, settings)
    is_champion = champion is not None and champion.number == version.number
    # A rejected champion keeps the threshold that it is served with.
    if decision.action != "rejected" or not is_champion:
        version = set_threshold(store, version, model.threshold)
    return apply_decision(store, version, champion, decision), decision


def _record(model: EvaluatedModel, version: Version, decision: Decision) -> Registration:
    lineage = model.lineage
    return Registration(
        decision=decision.action,
        reason=decision.reason,
        name=version.name,
        version=version.number,
        aliases=list(version.aliases),
        model_sha256=model.sha256,
        gate_passed=model.verdict.passed,
        previous_champion=version.tags.get(PREVIOUS_TAG),
        comparison=None if decision.comparison is None else asdict(decision.comparison),
        lineage=RecordedLineage(
            git_commit=model.commit.sha,
            git_dirty=model.commit.dirty,
            data_md5=lineage.data_md5,
            model_md5=lineage.model_md5,
            params_sha256=lineage.params_sha256,
            differences=list(lineage.differences),
        ),
    )


def _create_card(
    settings: Settings, model: EvaluatedModel, registration: Registration, metrics: Mapping[str, float]
) -> ModelCard:
    splits = read_manifest(paths.TRANSFORMED, columns=["split"]).column("split").to_pylist()
    return ModelCard(
        registration=registration,
        model=model.description,
        dataset=settings.dataset,
        images=Counter(splits),
        metrics=metrics,
        intervals=read_intervals(paths.EVALUATION),
        confidence=settings.evaluation.confidence,
        verdict=model.verdict,
        worst=worst_slice(read_slices(paths.EVALUATION), settings.evaluation.slice_images),
    )
