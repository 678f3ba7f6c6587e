"""``visiongate gate``: print the gate's verdict.

It reads the verdict that `evaluate` wrote. With a base, it also applies the rules on the largest drop, compared with the
committed metrics of the base. For the files of another run, in a folder, it applies the rules of this work tree.
"""

import json
import logging
from dataclasses import asdict
from pathlib import Path

from visiongate import paths
from visiongate.records.dvc_lock import read_lock
from visiongate.records.files import md5_of
from visiongate.records.verdict import GateVerdict, RuleResult
from visiongate.review.verdicts import read_gate_verdict
from visiongate.settings.loading import load_settings
from visiongate.text_tables import format_table

HEADER = ("pass", "rule", "metric", "required", "actual", "interval", "margin", "note")
logger = logging.getLogger(__name__)
PASS_WORDS = {True: "yes", False: "NO", None: "-"}


def run(base: str | None, folder: Path | None, *, as_json: bool) -> int:
    """Print the verdict; return 0 if the gate passed, 1 if it failed.

    Raises:
        DataError: A file is missing or invalid.
        GitError: The base does not exist.
    """
    verdict = read_gate_verdict(folder, base, load_settings().gate)
    if folder is None:
        _warn_if_edited()
    print(json.dumps(asdict(verdict), indent=2) if as_json else format_verdict(verdict))
    return 0 if verdict.passed else 1


def _warn_if_edited() -> None:
    written = read_lock(paths.LOCK).outs.get(paths.GATE.as_posix())
    if written is not None and written != md5_of(paths.GATE):
        logger.warning(
            "%s is not the file that `evaluate` wrote; `dvc repro evaluate` writes it again", paths.GATE
        )


def format_verdict(verdict: GateVerdict) -> str:
    """Return the verdict as a table and a sentence."""
    table = format_table(HEADER, [_cells(result) for result in verdict.worst_first], width=None)
    not_judged = sum(result.passed is None for result in verdict.rules)
    names = ", ".join(result.name for result in verdict.failed)
    summary = f"The gate failed: {names}." if names else "The gate passed."
    return f"{table}\n\n{summary}" + (f" Not evaluated: {not_judged}." if not_judged else "")


def _cells(result: RuleResult) -> list[str]:
    numbers = (result.value_text, result.interval_text, result.margin_text)
    return [PASS_WORDS[result.passed], result.name, result.metric, result.required, *numbers, result.note]
