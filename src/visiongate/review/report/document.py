"""The report as a whole: the verdict first, then what explains it, what is long folded away."""

from collections.abc import Callable, Iterator
from functools import partial

from visiongate.review.report import (
    advice_sections,
    class_sections,
    data_sections,
    gate_section,
    value_sections,
)
from visiongate.review.report.budget import LIMIT, Section, fit
from visiongate.review.report.charts import draw_course
from visiongate.review.report.markdown import MOST_SENTENCE, code, fold
from visiongate.review.report.significance import tell_luck
from visiongate.review.report.snapshot import Judged, Snapshot

OPEN = frozenset({"Verdict", "Gate", "Log", "Metrics", "Parameters", "Not in this report"})
SHORT_COMMIT = 7
MOST_GAPS = 12  # parts of which it is said why they are missing


def render_report(judged: Judged, limit: int = LIMIT) -> str:
    """Write the report as GitHub's Markdown: a function of what it is given and of nothing else.

    Args:
        judged: Both revisions, and the verdict.
        limit: The most bytes in UTF-8.
    """
    return fit(list_sections(judged), _show, limit) + "\n"


def list_sections(judged: Judged) -> list[Section]:
    """List the sections in the order shown; the least important lose their detail first, the first never."""
    told: list[tuple[str, int, Callable[[int], str]]] = [
        ("Verdict", 99, lambda _: _introduce(judged)),
        ("Gate", 98, partial(gate_section.tabulate_gate, judged)),
        ("Log", 97, lambda _: advice_sections.show_log(judged.trouble.log if judged.trouble else "")),
        ("Metrics", 90, partial(value_sections.tabulate_metrics, judged)),
        ("Parameters", 80, partial(value_sections.tabulate_params, judged)),
        ("Classes", 70, partial(class_sections.tabulate_classes, judged)),
        ("Confusion", 50, partial(class_sections.tabulate_confusion, judged)),
        ("Worst slices", 40, partial(class_sections.tabulate_slices, judged)),
        ("Training", 20, lambda _: draw_course(judged.now, judged.base)),
        ("Times and training", 10, partial(value_sections.tabulate_times, judged)),
        ("Data validation", 65, partial(data_sections.tell_validation, judged)),
        ("Images", 60, partial(data_sections.tabulate_images, judged)),
        ("Suggested settings", 30, partial(advice_sections.tell_search, judged)),
        ("Registration", 75, lambda _: advice_sections.tell_registration(judged)),
        ("Not in this report", 85, lambda _: _tell_gaps(judged)),
        ("Make it again", 95, lambda _: advice_sections.tell_how(judged)),
    ]
    return [Section(title, write, importance) for title, importance, write in told]


def _show(section: Section, text: str) -> str:
    if section.title == "Verdict":
        return text
    return f"#### {section.title}\n\n{text}" if section.title in OPEN else fold(section.title, text)


def _introduce(judged: Judged) -> str:
    """Write the verdict's line, then which revisions these are and whether they differ by more than luck."""
    parts = [gate_section.tell_verdict(judged)]
    base = judged.base
    if base is not None:
        compared = f"{_name(judged.now)} against {_name(base)}."
        luck = tell_luck(judged.now, base, judged.registry) if judged.registry and not judged.trouble else ""
        parts.append(" ".join(part for part in (compared, luck) if part))
        parts.append("" if judged.trouble else value_sections.tell_stages(judged.now, base))
    else:
        parts.append(f"{_name(judged.now)}, compared with nothing: `make report BASE=main` compares.")
    return "\n\n".join(part for part in parts if part)


def _name(snapshot: Snapshot) -> str:
    changes = "" if snapshot.clean else ", with changes that are not committed"
    return f"{code(snapshot.name)} ({code(snapshot.commit[:SHORT_COMMIT])}{changes})"


def _tell_gaps(judged: Judged) -> str:
    """Say what is missing and why, a line each."""
    lines = list(_list_gaps(judged))
    more = [f"- and {len(lines) - MOST_GAPS:,} more"] if len(lines) > MOST_GAPS else []
    return "\n".join([*lines[:MOST_GAPS], *more])


def _list_gaps(judged: Judged) -> Iterator[str]:
    """Gather the parts that are missing for the same reason."""
    for snapshot in (judged.now, judged.base):
        reasons: dict[str, list[str]] = {}
        for part, reason in (snapshot.missing if snapshot else {}).items():
            reasons.setdefault(reason, []).append(part)
        for reason, parts in reasons.items():
            yield f"- {', '.join(parts)} of {code(snapshot.name if snapshot else '')}: {code(reason, MOST_SENTENCE)}"
