"""The stage `register`: record the model in MLflow, and promote it if it is better than the champion."""

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.adapters.mlflow.registry import PREVIOUS_TAG, Version, describe_version
from visiongate.adapters.mlflow.runs import WRITTEN_BY_PIPELINE, log_reports
from visiongate.adapters.mlflow.store import Store, main_workspace, open_store
from visiongate.records.evaluation import read_intervals, read_slices, worst_slice
from visiongate.records.files import write_text
from visiongate.records.manifest import read_manifest
from visiongate.records.model_card import strip_front_matter
from visiongate.records.registration import RecordedLineage, Registration, write_registration
from visiongate.registration.aliases import apply_decision, find_or_restore_champion
from visiongate.registration.commitment import explain_uncommitted
from visiongate.registration.committed import find_committed, register_committed
from visiongate.registration.decision import decide
from visiongate.registration.evaluated_model import EvaluatedModel, read_evaluated_model
from visiongate.registration.model_card import ModelCard, describe_protocol, render_card
from visiongate.registration.promotion import Decision, hold
from visiongate.registration.versions import find_or_add_version, log_data, log_evaluation, record_evaluation
from visiongate.settings.schema import Settings


def run(settings: Settings) -> None:
    """Register ``models/model.onnx``, decide about it, and write ``registration.json`` and the model card."""
    repository = Repository(Path.cwd())
    model = read_evaluated_model(Path(), repository.checked_out(WRITTEN_BY_PIPELINE))
    obstacle = explain_uncommitted(repository, model.commit)
    store, name = open_store(settings.tracking), settings.registry.name
    with store.exclusive():
        champion = _find_or_start(store, name, model, is_committed=obstacle is None)
        run_id = log_evaluation(store, model, Path())
        log_data(store, model, settings.dataset, run_id)
        version = find_or_add_version(store, name, model, run_id)
        decision = _add_protocol(model, decide(store, model, version, champion, settings))
        version, decision = _apply(store, model, (version, champion), decision, obstacle)
    registration = _record(model, version, decision)
    card = render_card(_create_card(settings, model, registration))
    write_text(paths.MODEL_CARD, card)
    log_reports(store, run_id, [paths.MODEL_CARD])
    describe_version(store, version, strip_front_matter(card))
    write_registration(paths.REGISTRATION, registration)
    print(f"{version.name} version {version.number} {decision.action}: {decision.reason}")


def _find_or_start(store: Store, name: str, model: EvaluatedModel, *, is_committed: bool) -> Version | None:
    """Return the champion. If there is none, the committed model becomes it, unless it is the model to register."""
    champion = find_or_restore_champion(store, name)
    if champion is not None:
        return champion
    project = main_workspace()
    committed = find_committed(Repository(project), name)
    if committed is None or (is_committed and committed.registration.model_sha256 == model.sha256):
        return None
    return register_committed(store, committed, project)


def _add_protocol(model: EvaluatedModel, decision: Decision) -> Decision:
    protocol = describe_protocol(model.description, len(model.images.predictions.sha256))
    return decision if protocol is None else replace(decision, reason=f"{decision.reason}; {protocol}")


def _apply(
    store: Store,
    model: EvaluatedModel,
    versions: tuple[Version, Version | None],
    decision: Decision,
    obstacle: str | None,
) -> tuple[Version, Decision]:
    """Write a decision about the first of two versions to the registry; the second is the champion."""
    version, champion = versions
    is_champion = champion is not None and champion.number == version.number
    if obstacle is not None and not is_champion:
        decision = hold(decision, obstacle)
    # A rejected champion keeps the threshold that it is served with, and the reference that fits it.
    if decision.action != "rejected" or not is_champion:
        version = record_evaluation(store, version, model)
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


def _create_card(settings: Settings, model: EvaluatedModel, registration: Registration) -> ModelCard:
    manifest = read_manifest(paths.TRANSFORMED, columns=["split", "fold"])
    if model.images.is_cross_validated:
        # Collected images are in no fold.
        manifest = manifest.drop_null()
    return ModelCard(
        registration=registration,
        model=model.description,
        dataset=settings.dataset,
        images=Counter(manifest.column("split").to_pylist()),
        metrics=model.metrics,
        intervals=read_intervals(paths.EVALUATION),
        confidence=settings.evaluation.confidence,
        verdict=model.verdict,
        worst=worst_slice(read_slices(paths.EVALUATION), settings.evaluation.slice_images),
    )
