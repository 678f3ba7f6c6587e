"""``visiongate report``: write the pull-request report.

The report is written in any state of the pipeline; it names the files that could not be read, fetched or judged.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from visiongate import paths
from visiongate.adapters.dvc import DvcError, read_status
from visiongate.adapters.git import UNKNOWN, Repository
from visiongate.commands.gate import judge_run, judge_workspace
from visiongate.commands.repro import read_last_failure
from visiongate.errors import DataError, VisiongateError
from visiongate.records.dvc_lock import parse_lock
from visiongate.records.files import write_text
from visiongate.review.report.document import render_report
from visiongate.review.report.gate_section import tell_verdict
from visiongate.review.report.parsing import parse_params
from visiongate.review.report.snapshot import Judged, Snapshot, Trouble
from visiongate.review.snapshots import (
    OUTS_IN_GIT,
    Read,
    find_uncompared,
    open_base,
    read_here,
    take_snapshot,
)
from visiongate.review.untrusted_artifacts import UNREAD, open_folder
from visiongate.settings.loading import load_settings

HERE = "this work tree"
THERE = "a fork's run, its figures taken as they are"
NOT_JUDGED = {"optimize", "register"}  # the verdict does not wait for them
SECRET_NAME = re.compile("key|secret|token|password", re.IGNORECASE)  # of a variable
SHORTEST_SECRET = 8  # characters; a shorter value may be any word
SECRET = re.compile(
    r"(?P<scheme>://)[^\s/@]*:[^\s/@]*(?=@)|\bgh[a-z]_\w{16,}|\bgithub_pat_\w+|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
)
MOST_LOG = 200_000  # bytes of its end


def run(base: str | None, log: Path | None, folder: Path | None, *, failed: bool) -> int:
    """Write the report and print where it is.

    Without a log, the log of the last `visiongate repro` is used if that run failed.

    Raises:
        VisiongateError: The base, the log or the folder does not exist.
    """
    if log is None and folder is None:
        log, failed_last = read_last_failure(paths.LOCK)
        failed = failed or failed_last
    if folder is None:
        judged = compare(base, _read_log(log) if log else "", failed=failed)
    else:
        judged = compare_run(folder, base, failed=failed)
    text = render_report(judged)
    write_text(paths.REPORT, text)
    _summarize(text)
    print(f"{paths.REPORT}: {tell_verdict(judged)}")
    return 0


def _summarize(text: str) -> None:
    """Add the report to the summary of the job, in a workflow on GitHub."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text)


def _read_log(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return mask(content[-MOST_LOG:].decode(errors="replace"), os.environ)


def mask(text: str, environment: Mapping[str, str]) -> str:
    """Put stars in the place of secrets: what variables of such names hold, passwords in addresses, GitHub's and AWS's tokens.

    A comment and an artifact are not masked by GitHub, as a job's log is.
    """
    known = [
        value
        for name, value in environment.items()
        if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET
    ]
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return SECRET.sub(lambda found: f"{found['scheme'] or ''}***", text)


def compare(base: str | None, log: str, *, failed: bool) -> Judged:
    """Gather what the report is made of.

    Args:
        base: The revision to compare with; None compares with nothing.
        log: Of the run.
        failed: The run broke off.

    Raises:
        VisiongateError: There is no such base.
    """
    stale, trouble = _find_trouble(log, failed=failed)
    if base is None:
        now = _take_here(read_here, stale)
        return _judge(now, None, trouble)
    commit = Repository(Path.cwd()).commit(base)
    with open_base(commit, stale) as (read_now, read_base):
        before = take_snapshot(base, commit, read_base, {}, find_uncompared(stale))
        return _judge(_take_here(read_now, stale), before, trouble)


def compare_run(folder: Path, base: str | None, *, failed: bool) -> Judged:
    """Gather the same for a run of somebody else's: its figures, held against the gate that is here.

    Args:
        folder: What it left.
        base: The revision to compare with, of this repository; None compares with nothing.
        failed: The run broke off.

    Raises:
        VisiongateError: There is no such base, or no such folder.
    """
    read, settings = open_folder(folder), load_settings()
    now, before = take_snapshot(THERE, UNKNOWN, read, {}, UNREAD), None
    if base is not None:
        commit = Repository(Path.cwd()).commit(base)
        with open_base(commit, ()) as (_, read_base):
            before = take_snapshot(base, commit, read_base, {}, find_uncompared(()) | UNREAD)
    if failed:
        return Judged(now, before, None, settings.registry, Trouble("failed", ""))
    try:
        verdict = judge_run(folder, base, settings.gate)
    except DataError as error:
        return Judged(now, before, None, settings.registry, Trouble("unread", str(error)))
    return Judged(now, before, verdict, settings.registry)


def _find_trouble(log: str, *, failed: bool) -> tuple[dict[str, str], Trouble | None]:
    """Find the stages that have not run with what is here, and what that means for the verdict."""
    try:
        parse_params(read_here(paths.PARAMS))  # before DVC does, whom a file without end would keep for ever
        stale = parse_lock(read_here(paths.LOCK)).find_stale(read_status(Path.cwd()), OUTS_IN_GIT)
    except (DataError, DvcError) as error:
        unknown = dict.fromkeys(("evaluate", "train"), "unknown")
        return unknown, Trouble("failed" if failed else "unread", str(error), log=log)
    waiting = [name for name in stale if name not in NOT_JUDGED or (failed and name == "register")]
    if failed or (waiting and log):
        stage = waiting[0] if waiting else None
        # A stage's old outputs go before it runs: what is there was written by the run that broke off.
        return {name: why for name, why in stale.items() if name != stage}, Trouble("failed", "", stage, log)
    if waiting:
        return stale, Trouble("stale", f"changed: {stale[waiting[0]]}", waiting[0])
    return stale, None


def _take_here(read: Read, stale: Mapping[str, str]) -> Snapshot:
    found = Repository(Path.cwd()).checked_out((paths.LOCK, paths.REPORT.parent))
    return replace(take_snapshot(HERE, found.sha, read, stale), clean=found.dirty is False)


def _judge(now: Snapshot, base: Snapshot | None, trouble: Trouble | None) -> Judged:
    """Hold the work tree against the gate, as `make gate` does."""
    if "params" in now.missing:
        return Judged(now, base, None, None, trouble or Trouble("unread", now.missing["params"]))
    try:
        settings = load_settings()
        verdict = None if trouble else judge_workspace(base.commit if base else None, settings.gate)
    except VisiongateError as error:
        return Judged(now, base, None, None, trouble or Trouble("unread", str(error)))
    return Judged(now, base, verdict, settings.registry, trouble)
