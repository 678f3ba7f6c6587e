"""The pull-request report: the gate's verdict first, then the changes, and details in folded sections."""

import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from visiongate.records.evaluation import describe_protocol
from visiongate.review import rows
from visiongate.review.charts import training_charts
from visiongate.review.correction_rows import correction_rows
from visiongate.review.markdown import (
    Markdown,
    code,
    difference,
    fence,
    interval,
    listing,
    render_value,
    reveal,
    sentence,
    table,
)
from visiongate.review.significance import describe_significance
from visiongate.review.snapshot import ReportInputs, Snapshot

# GitHub accepts 65,536 characters in a comment. The rest is for the mark by which CML finds its comment again.
MAX_CHARACTERS = 65_000
MAX_LOG_LINES, MAX_LOG_WIDTH = 30, 300
SHORT_COMMIT = 7
HEADLINE_METRIC = "accuracy"
# Separates the folded sections. Text from files cannot contain it, because `reveal` escapes it.
BREAK = "\x1e"
OMITTED = (
    "Some sections are omitted, because GitHub limits the length of a comment; `reports/` has the details."
)


def render_report(inputs: ReportInputs, limit: int = MAX_CHARACTERS) -> str:
    """Return the report as GitHub Markdown.

    It depends on the inputs alone. If it is longer than the limit, folded sections are omitted, the last one first.
    """
    text = _environment().get_template("report.md.jinja").render(**_context(inputs))
    head, *sections = (part.strip() for part in text.split(BREAK))
    kept = list(sections)
    while kept and len(_join(head, kept)) > limit:
        kept.pop()
    notes = [OMITTED] if len(kept) < len(sections) else []
    return _join(head, [*kept, *notes])


def _join(head: str, sections: list[str]) -> str:
    lines = "\n\n".join([head, *sections]).splitlines()
    # A blank line that follows a blank line is left over from a condition in the template.
    return "\n".join(line for index, line in enumerate(lines) if line or lines[index - 1]) + "\n"


def headline(report: str) -> str:
    """Return the first line of a report, which has the verdict."""
    return report.partition("\n")[0]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=render_value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "trusted": Markdown,
        "sentence": sentence,
        "listing": listing,
        "fence": fence,
        "log": _show_log,
    }
    environment.globals |= {
        "table": table,
        "interval": interval,
        "revision": _revision,
        "BREAK": Markdown(BREAK),
    }
    return environment


def _context(inputs: ReportInputs) -> dict[str, Any]:
    current, base = inputs.current, inputs.base
    verdict = None if inputs.problem else inputs.verdict
    return {
        "problem": inputs.problem,
        "verdict": verdict,
        "current": current,
        "base": base,
        "score": _describe_score(inputs),
        "open_rules": [rule.name for rule in verdict.rules if rule.passed is None] if verdict else [],
        "protocol": _describe_protocol(current),
        "significance": _describe_significance(inputs),
        "stage_changes": {} if inputs.problem else _stage_changes(current, base),
        "gaps": list(_gaps(current, base)),
        "commands": _commands(current, base),
        "charts": training_charts(current, base),
        **_tables(inputs),
    }


def _tables(inputs: ReportInputs) -> dict[str, Any]:
    current, base = inputs.current, inputs.base
    verdict = None if inputs.problem else inputs.verdict
    known = base is not None and current.params is not None and base.params is not None
    return {
        "gate_rows": rows.gate_rows(verdict, base) if verdict else [],
        "metric_rows": None
        if current.metrics is None
        else rows.metric_rows(current.metrics, base.metrics if base else None),
        "parameter_rows": rows.parameter_rows(current.params or {}, (base and base.params) or {})
        if known
        else None,
        "correction_rows": correction_rows(current, base),
        "class_rows": rows.class_rows(current, base),
        "class_changes": rows.class_changes(current, base),
        "confusion_matrix": rows.confusion_matrix(current),
        "confusion_rows": rows.confusion_rows(current, base),
        "slice_rows": rows.slice_rows(current, base),
        "expectation_rows": rows.expectation_rows(current, base),
        "split_rows": rows.split_rows(current, base),
        "moves": rows.image_changes(current.images, base.images if base else None),
        "quarantine_rows": rows.quarantine_rows(current, base),
        "quarantined": rows.newly_quarantined(current, base),
        "suggestion_rows": rows.suggestion_rows(current),
        "time_rows": rows.time_rows(current, base),
    }


def _describe_score(inputs: ReportInputs) -> Markdown:
    """Describe the value of the registry's metric, and its difference to the base."""
    name = inputs.registry.metric if inputs.registry else HEADLINE_METRIC
    metrics, bounds = inputs.current.metrics or {}, (inputs.current.intervals or {}).get(name)
    score = f"{name} {render_value(metrics.get(name))}{interval(bounds.low, bounds.high) if bounds else ''}"
    if inputs.base is None or inputs.base.metrics is None:
        return Markdown(score)
    change = difference(metrics.get(name), inputs.base.metrics.get(name))
    worse = rows.count_worse(metrics, inputs.base.metrics, name)
    others = f" ({worse} other metrics are worse)" if worse else ""
    compared = "equal to" if change == "=" else f"{change or '-'} compared with"
    return Markdown(f"{score}, {compared} {code(inputs.base.name)}{others}")


def _describe_protocol(current: Snapshot) -> Markdown | None:
    """Describe how the model was judged."""
    images = (current.metrics or {}).get("images")
    if current.transform is None or images is None:
        return None
    return Markdown(describe_protocol(current.transform.folds or 1, int(images)))


def _describe_significance(inputs: ReportInputs) -> Markdown | None:
    if inputs.base is None or inputs.registry is None or inputs.problem:
        return None
    return describe_significance(inputs.current, inputs.base, inputs.registry)


def _revision(snapshot: Snapshot) -> Markdown:
    changes = "" if snapshot.clean else ", with uncommitted changes"
    return Markdown(f"{code(snapshot.name)} ({code(snapshot.commit[:SHORT_COMMIT])}{changes})")


def _stage_changes(current: Snapshot, base: Snapshot | None) -> dict[str, list[str]]:
    """Return the stages that were added, removed, or ran with other code, data or parameters."""
    if base is None or current.stages is None or base.stages is None:
        return {}
    now, before = current.stages, base.stages
    changes = {
        "Stages added": [name for name in now if name not in before],
        "Stages removed": [name for name in before if name not in now],
        "Stages rerun with other code, data or parameters": [
            name for name, digest in now.items() if before.get(name, digest) != digest
        ],
    }
    return {change: names for change, names in changes.items() if names}


def _gaps(current: Snapshot, base: Snapshot | None) -> Iterator[tuple[str, list[str], str]]:
    """Group the records of each revision that are missing for the same reason."""
    for snapshot in (current, base):
        reasons: dict[str, list[str]] = {}
        for name, reason in (snapshot.missing if snapshot else {}).items():
            reasons.setdefault(reason, []).append(name)
        yield from ((snapshot.name if snapshot else "", names, reason) for reason, names in reasons.items())


def _commands(current: Snapshot, base: Snapshot | None) -> str:
    """Return the shell commands that write the report again."""
    checkout = [] if current.commit == "unknown" else [f"git checkout {_quote(current.commit)}"]
    report = f"visiongate report --base {_quote(base.name)}" if base else "visiongate report"
    return "\n".join([*checkout, "visiongate repro", report])


def _quote(name: str) -> str:
    return shlex.quote(" ".join(reveal(name).split())[:MAX_LOG_WIDTH])


def _show_log(log: str) -> Markdown:
    """Return the last lines of a log, as a terminal shows them."""
    lines = [reveal(line.rpartition("\r")[2])[:MAX_LOG_WIDTH] for line in log.rstrip().split("\n")]
    return fence("\n".join(lines[-MAX_LOG_LINES:]))
