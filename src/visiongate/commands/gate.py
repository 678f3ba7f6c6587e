"""The gate's verdict, as a command: exits with 0 where it passes, with 1 where not.

    python -m visiongate.commands.gate [--base REVISION]

It reads what `evaluate` wrote. With a base, the rules on the largest drop are judged too, against the metrics that the base
has committed.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from visiongate import paths
from visiongate.config import Gate, load_settings
from visiongate.errors import DataError, VisiongateError
from visiongate.evaluation.gate import Evidence, Ruling, Verdict, judge, read_verdict, spell
from visiongate.files import read_json
from visiongate.text_tables import lay_out
from visiongate.tracking.revisions import read_at

WORDS = {True: "yes", False: "NO", None: "-"}


def main() -> int:
    """Print the table and the verdict."""
    parser = argparse.ArgumentParser(description="Print the gate's verdict; exit with 1 where it fails.")
    parser.add_argument(
        "--base", help="a git revision, whose committed metrics the model must not fall below"
    )
    options = parser.parse_args()
    try:
        verdict = judge_against(options.base, load_settings().gate)
    except VisiongateError as error:
        print(error, file=sys.stderr)
        return 2
    print(format_verdict(verdict))
    return 0 if verdict.passed else 1


def judge_against(base: str | None, gate: Gate) -> Verdict:
    """Return the verdict that `evaluate` wrote, with the rules that need a base judged where there is one.

    Raises:
        DataError: Nothing is evaluated yet, or by other rules.
        RevisionError: The base does not exist.
    """
    if not paths.GATE.exists():
        raise DataError(f"{paths.GATE}: no such file; `make repro` writes it")
    verdict = read_verdict(read_json(paths.GATE))
    asked = [(name, rule.metric, spell(rule)) for name, rule in gate.rules.items()]
    if [(ruling.name, ruling.metric, ruling.asked) for ruling in verdict.rules] != asked:
        raise DataError(
            f"{paths.GATE} was judged by other rules than {paths.PARAMS} has; `make repro` judges anew"
        )
    if base is None:
        return verdict
    metrics = {**read_json(paths.METRICS), **read_json(paths.LATENCY)}
    drops = {name: rule for name, rule in gate.rules.items() if rule.max_drop is not None}
    judged = {ruling.name: ruling for ruling in judge(drops, Evidence(metrics), _base_metrics(base)).rules}
    rules = tuple(_with_interval(judged.get(ruling.name, ruling), ruling) for ruling in verdict.rules)
    return Verdict(all(ruling.passed is not False for ruling in rules), rules)


def _with_interval(judged: Ruling, before: Ruling) -> Ruling:
    return replace(judged, low=before.low, high=before.high)


def _base_metrics(base: str) -> dict[str, float]:
    """Return the metrics that a revision has committed; none where it has none yet."""
    found: dict[str, float] = {}
    for path in (paths.METRICS, paths.LATENCY):
        text = read_at(base, path, Path.cwd())
        try:
            found |= json.loads(text or "{}")
        except (ValueError, TypeError):
            raise DataError(
                f"{path} of {base} holds no metrics by name; mend it there, or choose another base"
            ) from None
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def format_verdict(verdict: Verdict) -> str:
    """Lay the verdict out as a table, with a sentence below."""
    header = ["holds", "rule", "metric", "asked", "seen", "interval", "margin", "note"]
    table = lay_out(header, [_cells(ruling) for ruling in verdict.rules], width=None)
    open_ = sum(ruling.passed is None for ruling in verdict.rules)
    failed = ", ".join(ruling.name for ruling in verdict.failed)
    told = f"The gate fails: {failed}." if failed else "The gate passes."
    return f"{table}\n\n{told}" + (f" Not judged: {open_}." if open_ else "")


def _cells(ruling: Ruling) -> list[str]:
    interval = "" if ruling.low is None or ruling.high is None else f"{ruling.low:.4g} to {ruling.high:.4g}"
    value = "undefined" if ruling.value is None else f"{ruling.value:.4g}"
    margin = "" if ruling.margin is None else f"{ruling.margin:+.4g}"
    return [
        WORDS[ruling.passed],
        ruling.name,
        ruling.metric,
        ruling.asked,
        value,
        interval,
        margin,
        ruling.note,
    ]


if __name__ == "__main__":
    sys.exit(main())
