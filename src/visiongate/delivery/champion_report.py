"""The report about a champion that was judged again, as GitHub Markdown."""

from visiongate.delivery.champion_check import ChampionCheck
from visiongate.records.verdict import RuleResult
from visiongate.review.markdown import Markdown, code, interval, render_value, sentence, table

MARKS = {True: Markdown("✅"), False: Markdown("❌"), None: Markdown("-")}
HEADER = ("", "rule", "metric", "required", "actual", "note")
SHORT_HASH = 12


def headline(check: ChampionCheck) -> str:
    """Return the verdict in one line of plain text, as for a title."""
    failed = dict.fromkeys(result.name for result in check.verdict.failed)
    return f"The champion falls short: {', '.join(failed)}" if failed else "The champion passes all rules"


def render_check(check: ChampionCheck) -> str:
    """Return the report: the verdict, then all rules, those that failed first."""
    actual = check.accuracy
    accuracy = f"{render_value(actual.value)}{interval(actual.low, actual.high)}"
    model = f"{sentence(check.model)}, sha256 {code(check.sha256[:SHORT_HASH])}"
    return "\n\n".join(
        [
            f"{MARKS[check.verdict.passed]} {sentence(headline(check))}",
            f"Model: {model}. Accuracy on the current test images: {accuracy}.",
            f"{table(HEADER, [_row(result) for result in check.verdict.worst_first])}\n",
        ]
    )


def _row(result: RuleResult) -> tuple[object, ...]:
    actual = f"{result.value_text} ({result.interval_text})" if result.interval_text else result.value_text
    note = sentence(result.note) if result.note else Markdown("")
    return (MARKS[result.passed], result.name, result.metric, result.required, actual, note)
