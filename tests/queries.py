"""What the queries of rules and dashboards read: metrics, labels and values of PromQL, and fields of LogQL."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# A metric: the labels of each of its series.
Series = Mapping[str, list[dict[str, str]]]
# Of Prometheus itself: labels of each scraped series, and series that it adds.
TARGET_LABELS = {"job", "namespace", "instance"}
OWN_SERIES: Series = {
    "up": [{}],
    "ALERTS": [{"alertname": "VisiongateDown", "alertstate": "firing", "severity": "page"}],
}
WORDS = {
    "and",
    "or",
    "unless",
    "on",
    "ignoring",
    "by",
    "without",
    "group_left",
    "group_right",
    "offset",
    "bool",
}
LABEL_LISTS = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^()]*)\)")
METRIC = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?![\w:]|\s*\()(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\bby\s*\(([^()]*)\)\s*\(")
# As Grafana fills in.
VARIABLES = {
    "$__rate_interval": "5m",
    "$__range": "6h",
    "$__auto": "1m",
    "$namespace": ".*",
    "$instance": ".*",
    "$logs": 'service_name="visiongate"',
    "$request_id": "822bd722",
}


@dataclass(frozen=True)
class Matcher:
    """A condition of a selector."""

    label: str
    operator: str
    value: str

    def find_unmatched(self, values: set[str]) -> list[str]:
        """Return the alternatives of the value that none of some values matches."""
        if "~" not in self.operator:
            return [] if self.value in values else [self.value]
        alternatives = self.value.split("|")
        return [
            each for each in alternatives if not any(re.fullmatch(_literal(each), value) for value in values)
        ]


@dataclass(frozen=True)
class Query:
    """A query in PromQL, whose texts are replaced by numbered ones."""

    text: str
    texts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Query":
        """Return a query; its texts may have any character."""
        texts: list[str] = []

        def keep(match: re.Match[str]) -> str:
            texts.append(match[1])
            return f'"{len(texts) - 1}"'

        return cls(re.sub(r'"((?:[^"\\]|\\.)*)"', keep, text), tuple(texts))

    def selectors(self, text: str | None = None) -> Iterator[tuple[str, list[Matcher]]]:
        """Yield the metrics, with the conditions on their labels, of the query or of a part of it."""
        for name, conditions in METRIC.findall(LABEL_LISTS.sub("", text or self.text)):
            if name not in WORDS:
                found = re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"(\d+)"', conditions)
                yield (
                    name,
                    [Matcher(label, operator, self.texts[int(index)]) for label, operator, index in found],
                )

    def groupings(self) -> Iterator[tuple[set[str], str]]:
        """Yield the labels of each aggregation, with what is aggregated."""
        for match in GROUPED.finditer(self.text):
            depth, end = 1, match.end()
            while depth:
                depth += {"(": 1, ")": -1}.get(self.text[end], 0)
                end += 1
            yield _split(match[1]), self.text[match.end() : end - 1]

    def labels(self) -> set[str]:
        """Return all labels that the query groups or matches by."""
        return {label for found in LABEL_LISTS.findall(self.text) for label in _split(found)}


def fill_in(query: str) -> str:
    """Replace the variables of Grafana."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def record(rules: Iterable[Mapping[str, Any]], series: Series) -> Series:
    """Return the exported series, and those that rules record from them."""
    known = {**OWN_SERIES, **series}
    for rule in rules:
        if "record" in rule:
            query = Query.parse(rule["expr"])
            read = [each for name, _ in query.selectors() for each in known.get(name, [])]
            kept = query.labels() or {label for each in read for label in each}
            entries = [
                {label: value for label, value in each.items() if label in kept} for each in read or [{}]
            ]
            added = [{**entry, **rule.get("labels", {})} for entry in entries]
            known[rule["record"]] = [*known.get(rule["record"], []), *added]
    return known


def find_faults(expression: str, known: Series) -> list[str]:
    """Return what a query names and no series has: metrics, labels, and values of labels."""
    query = Query.parse(expression)
    faults = [fault for name, matchers in query.selectors() for fault in _find_unknown(name, matchers, known)]
    for labels, inner in query.groupings():
        for name, _ in query.selectors(inner):
            faults += [f"{name} has no label {each}" for each in sorted(labels - _labels(name, known))]
    everywhere = {label for name, _ in query.selectors() for label in _labels(name, known)}
    return faults + [f"no label {each}" for each in sorted(query.labels() - everywhere - TARGET_LABELS)]


def _find_unknown(name: str, matchers: Iterable[Matcher], known: Series) -> Iterator[str]:
    if name not in known:
        yield f"no metric {name}"
        return
    for matcher in matchers:
        if matcher.label in TARGET_LABELS:
            continue
        values = {each[matcher.label] for each in known[name] if matcher.label in each}
        if not values:
            yield f"{name} has no label {matcher.label}"
        elif unmatched := matcher.find_unmatched(values):
            yield f"{name} has no {matcher.label} {', '.join(unmatched)}"


def find_log_fields(query: str) -> set[str]:
    """Return the fields of log lines that a query in LogQL reads."""
    selector, _, pipeline = query.partition("}")
    assert "{" in selector, query
    templates = re.findall(r"\{\{\s*\.(\w+)\s*\}\}", pipeline)
    plain = re.sub(r'"(?:[^"\\]|\\.)*"', '""', pipeline)
    compared = re.findall(r"(\w+)\s*(?:=~|!~|!=|=|>=|<=|>|<)", plain)
    grouped = [
        label
        for found in re.findall(r"\bby\s*\(([^()]*)\)", plain + query.partition("{")[0])
        for label in _split(found)
    ]
    return {*templates, *compared, *grouped, *re.findall(r"\bunwrap (\w+)", plain)} - {"__error__"}


def _labels(name: str, known: Series) -> set[str]:
    return TARGET_LABELS.union(*known.get(name, []))


def _literal(pattern: str) -> str:
    """Return a pattern in which braces stand for themselves, as RE2 reads those of a template."""
    return re.sub(r"(?<!\\)([{}])", r"\\\1", pattern)


def _split(labels: str) -> set[str]:
    return {label.strip() for label in labels.split(",") if label.strip()}
