"""``visiongate gate``: print the gate's verdict.

It reads the verdict that `evaluate` wrote. With a base, it also judges the rules on the largest drop, against the metrics that
the base has committed. The files of another run, in a folder, are judged again by the rules of this work tree.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.errors import DataError
from visiongate.gate.against_base import (
    is_judged_by,
    judge_against,
    judge_anew,
    parse_metrics,
    parse_verdict,
)
from visiongate.gate.rules import Ruling, Verdict
from visiongate.review.untrusted_artifacts import open_folder
from visiongate.settings.gate import Gate
from visiongate.settings.loading import load_settings
from visiongate.text_tables import lay_out

ANEW = "`dvc repro` writes it"
WORDS = {True: "yes", False: "NO", None: "-"}


def run(base: str | None, folder: Path | None, *, as_json: bool) -> int:
    """Print the verdict; return 0 if the gate passed, 1 if it failed.

    Raises:
        DataError: A file is missing or invalid.
        GitError: The base does not exist.
    """
    verdict = judge_run(folder, base, load_settings().gate)
    print(json.dumps(asdict(verdict), indent=2) if as_json else format_verdict(verdict))
    return 0 if verdict.passed else 1


def judge_run(folder: Path | None, base: str | None, gate: Gate) -> Verdict:
    """Return the verdict on what a folder holds, or on the work tree where none is given.

    Raises:
        DataError: A file is missing, or not what `evaluate` writes.
        GitError: The base does not exist.
    """
    if folder is None:
        return judge_workspace(base, gate)
    read = open_folder(folder)
    verdict = judge_anew(parse_verdict(_decode(read(paths.GATE)), str(folder / paths.GATE)), gate.rules)
    metrics: dict[str, float] = {}
    for path in (paths.METRICS, paths.LATENCY):
        metrics |= parse_metrics(_decode(read(path)), str(folder / path))
    return judge_against(verdict, gate.rules, metrics, _base_metrics(base)) if base else verdict


def _decode(content: bytes) -> str:
    return content.decode(errors="replace")


def judge_workspace(base: str | None, gate: Gate) -> Verdict:
    """Return the verdict that `evaluate` wrote, with the rules that need a base judged where there is one.

    Raises:
        DataError: Nothing is evaluated yet, or by other rules, or a file is not what `evaluate` writes.
        GitError: The base does not exist.
    """
    with _advising(ANEW):
        verdict = parse_verdict(_read(paths.GATE), str(paths.GATE))
    if not is_judged_by(verdict, gate.rules):
        raise DataError(
            f"{paths.GATE} was judged by other rules than {paths.PARAMS} has; `dvc repro evaluate` judges it again"
        )
    if base is None:
        return verdict
    metrics: dict[str, float] = {}
    for path in (paths.METRICS, paths.LATENCY):
        with _advising(ANEW):
            metrics |= parse_metrics(_read(path), str(path))
    return judge_against(verdict, gate.rules, metrics, _base_metrics(base))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8") from None


@contextmanager
def _advising(advice: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{error}; {advice}") from None


def _base_metrics(base: str) -> dict[str, float]:
    """Return the metrics that a revision has committed; none where it has none yet."""
    found: dict[str, float] = {}
    for path in (paths.METRICS, paths.LATENCY):
        text = Repository(Path.cwd()).read(base, path)
        if text is not None:
            with _advising("mend it there, or choose another base"):
                found |= parse_metrics(text, f"{path} of {base}")
    return found


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
