"""``visiongate retrain-check``: say whether a new model is due, and record it."""

import os
from pathlib import Path
from typing import Final

from visiongate import paths
from visiongate.commands.opened_log import open_log
from visiongate.monitoring.decisions import record_decision
from visiongate.monitoring.retrain_check import judge_retrain
from visiongate.monitoring.retrain_report import RetrainReport, RetrainVerdict
from visiongate.monitoring.retrain_store import read_retrain_evidence
from visiongate.records.collected import read_collected
from visiongate.records.corrections import read_corrections
from visiongate.records.files import write_text
from visiongate.settings.serving_environment import load_serving

STATUSES: Final[dict[RetrainVerdict, int]] = {"no need": 0, "retrain": 1, "cannot say": 2}
_WORDS: Final = {True: "due", False: "no", None: "cannot say"}


def run(json_file: Path | None) -> int:
    """Print the result, and return 0 if no model is due, 1 if one is, and 2 if the log has too little to say.

    Raises:
        VisiongateError: A setting is invalid, or the log or the table of collected images cannot be read.
    """
    deployment = load_serving(paths.PARAMS, os.environ)
    rules = deployment.monitoring
    taken = _read_taken()
    with open_log(deployment.serving.log) as database:
        evidence = read_retrain_evidence(database.engine, deployment.registered_name, taken, rules.collect)
        report = judge_retrain(evidence, rules.retrain)
        record_decision(database.engine, report, deployment.serving.log.days)
    print(_render(report))
    if json_file is not None:
        write_text(json_file, report.model_dump_json(indent=2) + "\n")
    return STATUSES[report.verdict]


def _read_taken() -> set[str]:
    """Return the images whose labels were collected or corrected; none outside a repository."""
    collected = read_collected(paths.COLLECTED) if paths.COLLECTED.exists() else {}
    corrections = read_corrections(paths.CORRECTIONS) if paths.CORRECTIONS.exists() else {}
    return {*collected, *corrections}


def _render(report: RetrainReport) -> str:
    champion = (
        f"{report.name} {report.version or str(report.sha256)[:12]}"
        if report.name
        else "No prediction was recorded: there is no champion to judge."
    )
    lines = [f"  {check.check}: {_WORDS[check.due]}: {check.reason}" for check in report.checks]
    return "\n".join([champion, *lines, f"{report.verdict}: {report.advice}"])
