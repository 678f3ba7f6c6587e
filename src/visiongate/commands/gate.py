"""``visiongate gate``: print the gate's verdict.

It reads the verdict that `evaluate` wrote. With a base, it also judges the rules on the largest drop, against the metrics that
the base has committed. The files of another run, in a folder, are judged again by the rules of this work tree.
"""

import json
from dataclasses import asdict
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.errors import DataError
from visiongate.gate.rejudging import apply_own_rules, compare_with_base, has_same_rules
from visiongate.records.evaluation import parse_metrics
from visiongate.records.verdict import GateVerdict, RuleResult, parse_verdict, read_verdict
from visiongate.review.untrusted_artifacts import open_folder
from visiongate.settings.gate import Gate
from visiongate.settings.loading import load_settings
from visiongate.text_tables import lay_out

METRIC_FILES = (paths.METRICS, paths.LATENCY)
HEADER = ("pass", "rule", "metric", "required", "actual", "interval", "margin", "note")
PASS_WORDS = {True: "yes", False: "NO", None: "-"}


def run(base: str | None, folder: Path | None, *, as_json: bool) -> int:
    """Print the verdict; return 0 if the gate passed, 1 if it failed.

    Raises:
        DataError: A file is missing or invalid.
        GitError: The base does not exist.
    """
    verdict = judge_run(folder, base, load_settings().gate)
    print(json.dumps(asdict(verdict), indent=2) if as_json else format_verdict(verdict))
    return 0 if verdict.passed else 1


def judge_run(folder: Path | None, base: str | None, gate: Gate) -> GateVerdict:
    """Return the verdict on the run in a folder, or on the work tree without a folder.

    Raises:
        DataError: A file is missing or invalid.
        GitError: The base does not exist.
    """
    if folder is None:
        return judge_workspace(base, gate)
    read = open_folder(folder)
    verdict = apply_own_rules(parse_verdict(read(paths.GATE), str(folder / paths.GATE)), gate.rules)
    metrics: dict[str, float] = {}
    for path in METRIC_FILES:
        metrics |= parse_metrics(read(path), str(folder / path))
    return compare_with_base(verdict, gate.rules, metrics, _read_base(base)) if base else verdict


def judge_workspace(base: str | None, gate: Gate) -> GateVerdict:
    """Return the verdict that `evaluate` wrote, with the rules judged that need a base if one is given.

    Raises:
        DataError: Nothing is evaluated yet, the rules have changed since, or a file is invalid.
        GitError: The base does not exist.
    """
    verdict = read_verdict(paths.GATE)
    if not has_same_rules(verdict, gate.rules):
        raise DataError(f"{paths.GATE} has other rules than {paths.PARAMS}; run `dvc repro evaluate`")
    if base is None:
        return verdict
    metrics: dict[str, float] = {}
    for path in METRIC_FILES:
        if not path.exists():
            raise DataError(f"{path}: no such file; run `dvc repro evaluate`")
        metrics |= parse_metrics(path.read_bytes(), str(path))
    return compare_with_base(verdict, gate.rules, metrics, _read_base(base))


def _read_base(base: str) -> dict[str, float]:
    """Return the metrics that a revision has committed; empty if it has none yet."""
    metrics: dict[str, float] = {}
    for path in METRIC_FILES:
        text = Repository(Path.cwd()).read(base, path)
        if text is not None:
            metrics |= parse_metrics(text.encode(), f"{path} of {base}")
    return metrics


def format_verdict(verdict: GateVerdict) -> str:
    """Return the verdict as a table and a sentence."""
    table = lay_out(HEADER, [_cells(result) for result in verdict.rules], width=None)
    not_judged = sum(result.passed is None for result in verdict.rules)
    names = ", ".join(result.name for result in verdict.failed)
    summary = f"The gate failed: {names}." if names else "The gate passed."
    return f"{table}\n\n{summary}" + (f" Not judged: {not_judged}." if not_judged else "")


def _cells(result: RuleResult) -> list[str]:
    value = "undefined" if result.value is None else f"{result.value:.4g}"
    interval = "" if result.low is None or result.high is None else f"{result.low:.4g} to {result.high:.4g}"
    margin = "" if result.margin is None else f"{result.margin:+.4g}"
    cells = [result.name, result.metric, result.required, value, interval, margin, result.note]
    return [PASS_WORDS[result.passed], *cells]
