"""``visiongate registry``: list, promote, roll back, export, compare and trace registered models."""

import json
import shlex
import shutil
import sys
from pathlib import Path

from visiongate import paths
from visiongate.adapters.dvc import read_status
from visiongate.adapters.git import Repository
from visiongate.adapters.mlflow.registry import fetch_model, fetch_reference, find_selected
from visiongate.adapters.mlflow.runs import WRITTEN_BY_PIPELINE
from visiongate.adapters.mlflow.store import Store, TrackingError, open_store
from visiongate.commands import repro
from visiongate.errors import DataError
from visiongate.records.drift_reference import REFERENCE_FILE
from visiongate.records.dvc_lock import read_lock
from visiongate.records.registration import read_registration
from visiongate.records.registry_tags import CHAMPION
from visiongate.records.served_model import ServedModel, describe_version, write_served_folder
from visiongate.registration.commitment import explain_uncommitted
from visiongate.registration.evaluated_model import STAGES
from visiongate.registry import rollback
from visiongate.registry.committed import describe_committed, find_committed_reference
from visiongate.registry.listing import export_versions, format_best_runs, format_versions
from visiongate.registry.rebuild import Training, rebuild
from visiongate.registry.trace import format_trace, trace_version
from visiongate.serving.sources.registration_time import add_registration_time
from visiongate.serving.sources.work_tree import WorkTree
from visiongate.settings.loading import load_settings

WORK_TREE = WorkTree(
    paths.MODEL_ONNX, paths.METRICS, paths.REGISTRATION, paths.MODEL_CARD, paths.EVALUATION / REFERENCE_FILE
)
TRAINING = Training("train", paths.TRANSFORMED, paths.MODEL_ONNX)


def show(*, as_json: bool) -> int:
    """List the versions."""
    store, name = _open()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(
        json.dumps(export_versions(store, name), indent=2) if as_json else format_versions(store, name, width)
    )
    return 0


def roll_back(to: str | None, reason: str, *, force: bool) -> int:
    """Make an earlier champion the champion again."""
    store, name = _open()
    version = rollback.roll_back(store, name, to, reason, force=force)
    print(f"{version.name} version {version.number} is champion")
    return 0


def promote(version: str | None, reason: str, *, force: bool) -> int:
    """Promote a version by hand, or the current model if it is better than the champion; return 1 if it is not.

    Raises:
        VisiongateError: The current model is not committed or not up to date, or there is no such version.
    """
    if version is None:
        return _promote_current()
    if not force:
        raise TrackingError(
            f"version {version}: promoting a version by hand skips the gate and the comparison with the champion; add --force, "
            "or leave out the version to promote the current model if it is better"
        )
    store, name = _open()
    promoted = rollback.promote_by_hand(store, name, version, reason)
    print(f"{promoted.name} version {promoted.number} is champion")
    return 0


def export(version: str, to: Path) -> int:
    """Copy a version into a folder that the service can serve without the registry.

    As long as the registry has no champion, as in a fresh clone, the champion is the committed model.

    Raises:
        TrackingError: There is no such version, or its file is not the registered one.
        DataError: There is no champion, and the committed model is missing, or not the one that was promoted.
    """
    store, name = _open()
    found = find_selected(store, name, version)
    if found is not None:
        file, reference = fetch_model(store, found), fetch_reference(store, found)
        described = describe_version(
            found.name, found.number, found.tags, found.description, [*found.aliases]
        )
        model: ServedModel | None = add_registration_time(described, found.created)
    else:
        file = WORK_TREE.model
        model = describe_committed(WORK_TREE, name) if version == CHAMPION else None
        reference = None if model is None else find_committed_reference(WORK_TREE, model.sha256)
    if model is None:
        raise TrackingError(
            f"{version}: no such version or alias of {name}; list the versions with `visiongate registry list`"
        )
    write_served_folder(to, model, file, reference)
    print(
        f"{to}: {model.name} version {model.version}; serve it with `visiongate serve {shlex.quote(str(to))}`"
    )
    return 0


def compare(top: int, metric: str) -> int:
    """Compare the best runs."""
    store, name = _open()
    print(format_best_runs(store, name, metric, top))
    return 0


def trace(version: str | None, *, verify: bool) -> int:
    """Print what a version was made from; rebuild it on request. Return 1 if the rebuilt model differs."""
    store, name = _open()
    found = trace_version(store, version or f"models:/{name}@champion")
    print(format_trace(found, Repository(Path.cwd()).address()), flush=True)
    if not verify:
        return 0
    result = rebuild(found, TRAINING)
    print(f"\n{result}")
    return 0 if result.is_identical else 1


def _promote_current() -> int:
    directory = Path.cwd()
    repository = Repository(directory)
    if obstacle := explain_uncommitted(repository, repository.checked_out(WRITTEN_BY_PIPELINE)):
        raise TrackingError(f"the current model cannot be promoted, because {obstacle}")
    stale = read_lock(paths.LOCK).find_stale(read_status(directory))
    for stage in STAGES:
        if stage in stale:
            raise DataError(
                f"the current model is not that of the commit: {stage} is out of date ({stale[stage]}); run `make repro`, "
                "then `visiongate registry promote`"
            )
    return repro.register() or int(read_registration(paths.REGISTRATION).decision != "promoted")


def _open() -> tuple[Store, str]:
    """Open the store; return it with the name of the registered model."""
    settings = load_settings()
    return open_store(settings.tracking), settings.registry.name
