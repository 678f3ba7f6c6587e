"""``reports/gate.json``: the gate's verdict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from visiongate.errors import DataError
from visiongate.records.files import write_json
from visiongate.records.json_record import parse_record, read_record


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The result of one rule.

    Attributes:
        name: Of the rule.
        metric: That the rule is about.
        required: The condition, as text.
        value: Of the metric; None if it is undefined for this data.
        low: Lower bound of its interval, if it has one.
        high: Upper bound.
        margin: By how much the rule passes, in the metric's unit; negative if it fails.
        passed: None if the rule was not evaluated.
        note: The class, or the reason why the rule was not evaluated.
    """

    name: str
    metric: str
    required: str
    value: float | None
    low: float | None
    high: float | None
    margin: float | None
    passed: bool | None
    note: str = ""

    def __str__(self) -> str:
        """Return one line, such as ``accuracy: 0.95, required >= 0.97``."""
        interval = f" ({self.interval_text})" if self.interval_text else ""
        note = f"; {self.note}" if self.note else ""
        return f"{self.name}: {self.metric} {self.value_text}{interval}, required {self.required}{note}"

    @property
    def value_text(self) -> str:
        """The value in four digits."""
        return "undefined" if self.value is None else f"{self.value:.4g}"

    @property
    def interval_text(self) -> str:
        """The interval; empty if there is none."""
        return "" if self.low is None or self.high is None else f"{self.low:.4g} to {self.high:.4g}"

    @property
    def margin_text(self) -> str:
        """The margin with its sign; empty if there is none."""
        return "" if self.margin is None else f"{self.margin:+.4g}"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The results of all rules. The gate passes if no rule fails."""

    passed: bool
    rules: tuple[RuleResult, ...]

    @classmethod
    def of(cls, rules: Sequence[RuleResult]) -> "GateVerdict":
        """Return the verdict that follows from the results."""
        return cls(all(result.passed is not False for result in rules), tuple(rules))

    @property
    def worst_first(self) -> tuple[RuleResult, ...]:
        """All rules: first those that failed, then those that were not evaluated."""
        order = {False: 0, None: 1, True: 2}
        return tuple(sorted(self.rules, key=lambda result: order[result.passed]))

    @property
    def failed(self) -> tuple[RuleResult, ...]:
        """The rules that failed."""
        return tuple(result for result in self.rules if result.passed is False)


def write_verdict(path: Path, verdict: GateVerdict) -> None:
    """Write a verdict."""
    write_json(path, asdict(verdict))


def read_verdict(path: Path) -> GateVerdict:
    """Read a verdict.

    Raises:
        DataError: The file is missing or invalid.
    """
    return _check(read_record(path, GateVerdict), str(path))


def parse_verdict(content: bytes, source: str) -> GateVerdict:
    """Parse the content of ``gate.json``, which anyone may have written.

    Args:
        content: UTF-8 JSON.
        source: The file's name, for the error message.

    Raises:
        DataError: The content is invalid, or `passed` contradicts the rules.
    """
    return _check(parse_record(content, GateVerdict, source), source)


def _check(verdict: GateVerdict, source: str) -> GateVerdict:
    if verdict != GateVerdict.of(verdict.rules):
        raise DataError(f"{source}: `passed` contradicts the results of the rules")
    return verdict
