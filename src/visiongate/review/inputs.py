"""Collect the inputs of the report, in any state of the pipeline."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from visiongate import paths
from visiongate.adapters.dvc import read_status
from visiongate.adapters.git import UNKNOWN, Repository
from visiongate.errors import VisiongateError
from visiongate.records.dvc_lock import parse_lock
from visiongate.records.parsing import parse_yaml
from visiongate.review.parsing import describe_other_data
from visiongate.review.snapshot import ReportInputs, RunProblem, Snapshot
from visiongate.review.snapshots import (
    OUTS_IN_GIT,
    find_uncompared,
    forget_results,
    open_base,
    read_here,
    take_snapshot,
)
from visiongate.review.untrusted_artifacts import UNTRUSTED_PARTS, open_folder
from visiongate.review.verdicts import read_gate_verdict
from visiongate.settings.loading import load_settings

WORK_TREE, OTHER_RUN = "work tree", "run of a fork"
# The gate does not depend on these stages.
INDEPENDENT_STAGES = {"study", "optimize", "recommend", "register"}


def collect_inputs(base: str | None, log: str, *, failed: bool) -> ReportInputs:
    """Collect the inputs for the work tree.

    Args:
        base: The revision to compare with, if any.
        log: The log of the run, if it failed.
        failed: Whether the run failed.

    Raises:
        VisiongateError: The base does not exist.
    """
    stale, problem = _find_problem(log, failed=failed)
    before = _read_base(base, find_uncompared(stale))
    status = Repository(Path.cwd()).checked_out((paths.LOCK, paths.REPORT.parent))
    current = take_snapshot(WORK_TREE, status.sha, read_here, stale)
    if before is not None and (other := describe_other_data(current.params or {}, before.params or {})):
        before = forget_results(before, other)
    return _apply_gate(replace(current, clean=status.dirty is False), before, None, problem)


def collect_untrusted_inputs(folder: Path, base: str | None, *, failed: bool) -> ReportInputs:
    """Collect the inputs for the files of another run, with the gate of this work tree.

    Raises:
        VisiongateError: The base or the folder does not exist.
    """
    current = take_snapshot(OTHER_RUN, UNKNOWN, open_folder(folder), skipped=UNTRUSTED_PARTS)
    before = _read_base(base, find_uncompared(()) | UNTRUSTED_PARTS)
    return _apply_gate(current, before, folder, RunProblem("failed", "") if failed else None)


def _read_base(base: str | None, skipped: set[str]) -> Snapshot | None:
    if base is None:
        return None
    commit = Repository(Path.cwd()).commit(base)
    with open_base(commit, skipped) as read:
        return take_snapshot(base, commit, read, skipped=skipped)


def _find_problem(log: str, *, failed: bool) -> tuple[Mapping[str, str], RunProblem | None]:
    """Return the stages that are outdated, with the changes, and the problem that keeps the gate from being applied."""
    try:
        # DVC would not terminate on YAML whose aliases expand without end.
        parse_yaml(read_here(paths.PARAMS))
        stale = parse_lock(read_here(paths.LOCK)).find_stale(read_status(Path.cwd()), OUTS_IN_GIT)
    except VisiongateError as error:
        unknown = dict.fromkeys(("evaluate", "train"), "unknown")
        return unknown, RunProblem("failed" if failed else "unreadable", str(error), log=log)
    waiting = [name for name in stale if name not in INDEPENDENT_STAGES or (failed and name == "register")]
    if failed or (waiting and log):
        stage = waiting[0] if waiting else None
        # DVC removes the outputs of a stage before it runs, so that existing ones are those of the failed run.
        return {name: why for name, why in stale.items() if name != stage}, RunProblem(
            "failed", "", stage, log
        )
    if waiting:
        return stale, RunProblem("outdated", f"changed: {stale[waiting[0]]}", waiting[0])
    return stale, None


def _apply_gate(
    current: Snapshot, base: Snapshot | None, folder: Path | None, problem: RunProblem | None
) -> ReportInputs:
    """Add the gate's verdict, unless there is a problem."""
    # The settings are not loaded if `params.yaml` could not be parsed safely.
    if "params" in current.missing and folder is None:
        return ReportInputs(
            current, base, None, None, problem or RunProblem("unreadable", current.missing["params"])
        )
    registry = verdict = None
    try:
        settings = load_settings()
        registry = settings.registry
        if problem is None:
            verdict = read_gate_verdict(folder, base.commit if base else None, settings.gate)
    except VisiongateError as error:
        problem = problem or RunProblem("unreadable", str(error))
    return ReportInputs(current, base, verdict, registry, problem)
