"""The pull-request report: the verdict first, safe whatever the files contain, and never too long for a comment."""

import math
import re
from collections.abc import Iterator
from dataclasses import fields, replace

import pyarrow as pa
import pytest

# The parser that rich depends on.
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pull_requests import HOSTILE, make_inputs, make_snapshot, registry, without
from visiongate.records.corrections import Correction
from visiongate.records.history import EpochMetrics
from visiongate.records.preparation import CorrectedImage, QuarantinedImage
from visiongate.records.validation import ExpectationResult
from visiongate.records.verdict import GateVerdict, RuleResult
from visiongate.review import rows
from visiongate.review.charts import training_charts
from visiongate.review.correction_rows import correction_rows
from visiongate.review.markdown import code, difference, fence, listing, render_value, reveal, setting, table
from visiongate.review.report import MAX_CHARACTERS, OMITTED, headline, render_report
from visiongate.review.significance import describe_significance
from visiongate.review.snapshot import ReportInputs, RunProblem, Snapshot

RECORDS = [
    field.name for field in fields(Snapshot) if field.name not in {"name", "commit", "clean", "missing"}
]
SECTIONS = [
    "Gate",
    "Metrics",
    "Parameters",
    "Corrections",
    "Reproduce",
    "Registration",
    "Classes",
    "Data validation",
    "Images",
    "Confusion matrix",
    "Slices",
    "Suggested settings",
    "Training",
    "Times and training",
]


def parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def walk(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from walk(token.children or [])


def sections(text: str) -> list[str]:
    return re.findall(r"^(?:#### |<summary>)(.*?)(?:</summary>)?$", text, flags=re.MULTILINE)


def check_safe(text: str) -> None:
    """Check that text from files is in code only, that rows are complete, and that no character is invisible."""
    trusted = {"<br>", "<details>", "</details>"}
    tokens = list(walk(parse(text)))
    for token in tokens:
        assert token.type not in {"link_open", "image", "s_open", "em_open", "hr", "code_block"}
        if token.type in {"html_inline", "html_block"}:
            rest = re.sub(r"<summary>[A-Z][a-z ]+</summary>", "", token.content)
            assert set(rest.split()) <= trusted, token.content
        if token.type == "text":
            pattern = r"[@#<>$`|\\]|://|www\.|\bGH-\d|evil|octocat|alert"
            assert not re.search(pattern, token.content), token.content
        if token.type == "fence":
            assert token.info in {"mermaid", "sh", "text"}
            assert token.info != "mermaid" or "evil" not in token.content
    headings = [token.tag for token in tokens if token.type == "heading_open"]
    assert headings.count("h4") == text.count("\n#### ")
    assert all(row.endswith("|") for row in re.findall(r"^\|.*$", text, flags=re.MULTILINE))
    assert [letter for letter in text if not letter.isprintable() and letter != "\n"] == []


def count_cells(text: str) -> Iterator[set[int]]:
    """Yield the numbers of cells in the rows of each table."""
    counts: list[int] = []
    for token in parse(text):
        if token.type == "table_open":
            counts = []
        elif token.type == "tr_open":
            counts.append(0)
        elif token.type in {"th_open", "td_open"}:
            counts[-1] += 1
        elif token.type == "table_close":
            yield set(counts)


def test_the_report_starts_with_the_verdict_and_has_its_sections_in_order() -> None:
    text = render_report(make_inputs())
    assert headline(text).startswith("✅ **Gate passed**: accuracy 0.9")
    assert "+0.115 compared with `main class`" in headline(text)
    assert sections(text) == SECTIONS
    assert text == render_report(make_inputs())
    check_safe(text)


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_text_from_files_has_no_effect(number: int) -> None:
    hostile = HOSTILE[number]
    inputs = make_inputs(0.9, 0.8, classes=5, text=hostile)
    assert inputs.base is not None
    missing = {"predictions": f"the file has {hostile}", "slices": hostile}
    inputs = replace(
        inputs,
        base=replace(inputs.base, missing=missing),
        current=replace(inputs.current, commit=hostile or "x"),
    )
    problems = [
        RunProblem(kind, hostile, hostile, hostile * 3) for kind in ("failed", "outdated", "unreadable")
    ]
    failing = RuleResult(hostile, hostile, hostile, 0.1, None, None, -0.1, passed=False, note=hostile)
    variants = [inputs, *(replace(inputs, problem=problem) for problem in problems)]
    for variant in [*variants, replace(inputs, verdict=GateVerdict(passed=False, rules=(failing,)))]:
        text = render_report(variant)
        check_safe(text)
        assert len(text) < MAX_CHARACTERS
        assert all(len(counts) == 1 and max(counts) <= 6 for counts in count_cells(text))


@pytest.mark.parametrize("text", ["class", "🦆" * 200], ids=["short", "long"])
@pytest.mark.parametrize("classes", [2, 12, 1000])
def test_a_report_fits_into_a_comment(classes: int, text: str) -> None:
    inputs = make_inputs(classes=classes, text=text)
    assert inputs.verdict is not None
    rules = tuple(replace(inputs.verdict.rules[0], name=f"{text} {number}") for number in range(classes))

    report = render_report(replace(inputs, verdict=GateVerdict(passed=True, rules=rules)))

    assert len(report) <= MAX_CHARACTERS
    assert sections(report) == SECTIONS
    assert ("Rows: actual class." in report) == (classes <= 12)
    assert ("The first 20 of 1,000 rows." in report) == (classes == 1000)


def test_a_report_that_is_too_long_omits_folded_sections_from_the_end() -> None:
    whole = render_report(make_inputs())
    text = render_report(make_inputs(), len(whole) - 1)
    assert sections(text) == SECTIONS[:-1]
    assert text.endswith(f"{OMITTED}\n")
    assert sections(render_report(make_inputs(), 0)) == SECTIONS[:4]


def test_a_failed_rule_is_described_with_the_required_and_the_actual_value() -> None:
    inputs = make_inputs()
    assert inputs.verdict is not None
    rule = RuleResult(
        "worst_class", "recall", ">= 0.5 each", 0.42, 0.2, 0.6, -0.08, passed=False, note="class 7"
    )
    verdict = GateVerdict(
        passed=False, rules=(*inputs.verdict.rules, rule, *[replace(rule, name="other")] * 3)
    )

    text = render_report(replace(inputs, verdict=verdict))

    assert headline(text).startswith(
        "❌ **Gate failed**: `worst_class` requires `recall` `>= 0.5 each`, actual 0.42 (0.2 to 0.6)"
    )
    assert "; and 1 more. " in headline(text)
    first = text.partition("#### Gate")[2].splitlines()[4]
    assert first.startswith("| ❌ `worst_class` | `recall >= 0.5 each` | 0.42 (0.2 to 0.6)<br>`class 7` |")


@pytest.mark.parametrize(
    ("problem", "start"),
    [
        (RunProblem("failed", "", "train", "boom"), "❌ **The pipeline failed** in stage `train`."),
        (RunProblem("failed", ""), "❌ **The pipeline failed**."),
        (RunProblem("outdated", "changed: x", "train"), "❌ **Not evaluated**: stage `train`"),
        (RunProblem("unreadable", "broken"), "❌ **Not evaluated**: `broken`."),
    ],
)
def test_a_problem_takes_the_place_of_the_verdict(problem: RunProblem, start: str) -> None:
    text = render_report(replace(make_inputs(), problem=problem))
    assert headline(text).startswith(start)
    assert ("Log" in sections(text)) == bool(problem.log)
    assert "Gate" not in sections(text)


def test_a_log_shows_its_end_as_a_terminal_does() -> None:
    log = "\n".join([*map(str, range(100)), "10%\r50%\r\x1b[32mdone\x1b[0m", "````", "x" * 1000])
    text = render_report(replace(make_inputs(), problem=RunProblem("failed", "", None, log)))
    block = text.partition("#### Log\n\n")[2]
    assert block.startswith("`````text\n73\n")
    assert "\ndone\n" in block
    assert "x" * 301 not in block


def test_without_a_base_nothing_is_compared() -> None:
    text = render_report(make_inputs(base=None))
    assert "without a base" in text
    assert "| metric | now |" in text
    assert "Parameters" not in sections(text)
    check_safe(text)


@pytest.mark.parametrize("record", RECORDS)
def test_any_record_may_be_missing_from_either_revision(record: str) -> None:
    inputs = make_inputs()
    assert inputs.base is not None
    for changed in (
        replace(inputs, current=without(inputs.current, record)),
        replace(inputs, base=without(inputs.base, record)),
    ):
        text = render_report(changed)
        assert f"- {record} of `" in text
        check_safe(text)


def test_a_base_without_records_has_nothing_to_compare_with() -> None:
    inputs = make_inputs()
    assert inputs.base is not None
    text = render_report(replace(inputs, base=without(inputs.base, *RECORDS)))
    assert headline(text) == "✅ **Gate passed**: accuracy 0.9025 (0.4 to 1)."
    assert ", ".join(RECORDS[:3]) in text
    check_safe(text)


def test_added_and_removed_classes_and_stages_are_listed() -> None:
    now = replace(
        make_snapshot("here", 0.9, ["cat", "dog", "newt"]), stages={"train": "1", "new": "2", "same": "3"}
    )
    base = replace(
        make_snapshot("main", 0.8, ["cat", "dog", "fox"]), stages={"train": "0", "old": "2", "same": "3"}
    )
    text = render_report(ReportInputs(now, base, now.verdict, registry()))
    assert "Classes added: `newt`." in text
    assert "Classes removed: `fox`." in text
    for line in (
        "Stages added: `new`.",
        "Stages removed: `old`.",
        "Stages rerun with other code, data or parameters: `train`.",
    ):
        assert line in text
    assert "not comparable" in text


def test_equal_revisions_have_no_changes() -> None:
    inputs = make_inputs()
    text = render_report(replace(inputs, base=replace(inputs.current, name="main")))
    assert "No metric changed." in text
    assert "No parameter changed." in text
    assert "Times and training" not in sections(text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("0.99 | @all", "`0.99 \\| @all`"), (10**400, "not a finite number"), (True, "true")],
    ids=["text", "too large", "boolean"],
)
def test_a_value_of_any_type_is_shown(value: object, shown: str) -> None:
    inputs = make_inputs()
    text = render_report(replace(inputs, current=replace(inputs.current, training={"val_loss": value})))
    assert f"| {shown} |" in text
    check_safe(text)


def test_the_search_suggests_settings_only_if_they_are_better() -> None:
    inputs = make_inputs()
    assert inputs.current.search is not None
    for better in (True, False):
        current = replace(inputs.current, search=replace(inputs.current.search, better=better))
        assert ("visiongate adopt" in render_report(replace(inputs, current=current))) == better


def test_the_commands_that_reproduce_the_report_are_quoted() -> None:
    inputs = make_inputs()
    assert inputs.base is not None
    text = render_report(replace(inputs, base=replace(inputs.base, name="a'; rm -rf $HOME #`")))
    assert "\nvisiongate report --base 'a'\"'\"'; rm -rf $HOME #`'\n" in text


def history(*losses: float) -> list[EpochMetrics]:
    return [EpochMetrics(epoch, 0.1, loss, 0.5, loss, 0.5) for epoch, loss in enumerate(losses, start=1)]


def test_a_training_that_diverged_is_not_drawn() -> None:
    current = replace(make_inputs().current, history=history(1.0, 1e9, math.inf))
    loss, accuracy = training_charts(current, None)
    assert "```mermaid" not in loss
    assert "not a finite number" in loss
    assert "```mermaid" in accuracy


def test_a_long_training_is_thinned_and_both_ends_are_kept() -> None:
    current = replace(make_inputs().current, history=history(*(1 / epoch for epoch in range(1, 1001))))
    values = [
        float(value)
        for value in re.findall(r"line \[(.*)\]", training_charts(current, None)[0])[0].split(", ")
    ]
    assert len(values) == 40
    assert (values[0], values[-1]) == (1, 0.001)


def test_the_base_is_drawn_if_it_has_as_many_epochs() -> None:
    inputs = make_inputs()
    assert inputs.base is not None
    assert "validation of `main class`" in training_charts(inputs.current, inputs.base)[0]
    assert (
        "validation of"
        not in training_charts(inputs.current, replace(inputs.base, history=history(1, 1, 1, 1)))[0]
    )


def test_significance_has_a_direction() -> None:
    names = ["a", "b"]
    good, poor, near = (make_snapshot(str(skill), skill, names) for skill in (0.95, 0.6, 0.9475))
    assert describe_significance(good, poor, registry()).startswith("**Significantly better**")
    worse = describe_significance(poor, good, registry())
    assert worse.startswith("**Significantly worse**")
    assert re.search(r"0 errors fixed, \d+ introduced", worse)
    assert describe_significance(good, near, registry()).startswith("**Not significantly different**")
    assert describe_significance(good, good, registry()).startswith("Both models are correct on the same")


def test_significance_is_unknown_if_the_models_are_not_comparable() -> None:
    now, base = (make_snapshot(str(skill), skill, ["a", "b"]) for skill in (0.9, 0.8))
    assert now.predictions is not None
    assert now.classes is not None
    assert now.images is not None
    others = replace(now.predictions, sha256=[f"x{index}" for index in range(len(now.predictions.sha256))])
    for changed, reason in (
        (replace(now, predictions=others), "not comparable"),
        (replace(now, classes=now.classes[:1]), "classes differ"),
        (replace(now, images=None), "groups"),
        (replace(now, images=now.images.set_column(4, "group", [["one"] * 400])), "one group"),
    ):
        assert reason in describe_significance(changed, base, registry())


def test_images_are_compared_by_their_content() -> None:
    def images(**found: tuple[str, str]) -> pa.Table:
        splits, labels = zip(*found.values(), strict=True)
        return pa.table({"sha256": list(found), "split": splits, "label": labels})

    now = images(a=("test", "x"), b=("train", "x"), c=("train", "y"), new=("val", "x"))
    base = images(a=("test", "x"), b=("val", "x"), c=("train", "x"), o1=("odd", "x"), o2=("odd", "x"))
    assert rows.image_changes(now, base) == {"added": 1, "removed": 2, "moved": 1, "relabeled": 1}
    found = rows.split_rows(Snapshot("now", "x", images=now), Snapshot("base", "x", images=base))
    assert found == [["train", 1, 2, "+1"], ["val", 1, 1, "="], ["test", 1, 1, "="], ["odd", 2, 0, "-2"]]


def test_newly_quarantined_images_are_listed() -> None:
    old, new = (QuarantinedImage(f"{name}.png", "cat", None, name, "blank", "") for name in ("old", "new"))
    now, base = Snapshot("now", "x", quarantine=[old, new]), Snapshot("base", "x", quarantine=[old])
    assert rows.quarantine_rows(now, base) == [["blank", 1, 2]]
    assert rows.newly_quarantined(now, base) == [["new.png", "cat", "blank"]]


def test_failed_expectations_start_with_the_critical_ones_and_mark_the_new_ones() -> None:
    warning, critical = (
        ExpectationResult(name, severity, success=False, required="r", actual="a")
        for name, severity in (("a", "warning"), ("b", "critical"))
    )
    failed = [warning, critical]
    now, base = Snapshot("now", "x", expectations=failed), Snapshot("base", "x", expectations=failed[:1])
    assert [row[0] for row in rows.expectation_rows(now, base)] == ["❌ `b` (new)", "⚠️ `a`"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.99328859, "0.9933"),
        (1797, "1,797"),
        (125260.55, "125,261"),
        (1.079e-06, "1e-06"),
        (0.0, "0"),
        (10**20, "1e+20"),
        (None, "-"),
    ],
)
def test_numbers_have_four_digits(value: object, shown: str) -> None:
    assert render_value(value) == shown


@pytest.mark.parametrize(
    ("current", "base", "shown"),
    [
        (0.95, 0.9, "+0.05"),
        (3, 12345, "-12,342"),
        (0.90001, 0.90002, "="),
        (1e308, -1e308, ""),
        ("0.9", 0.9, ""),
        (True, 0.5, ""),
    ],
)
def test_differences_have_a_sign(current: object, base: object, shown: str) -> None:
    assert difference(current, base) == shown


def test_text_is_one_code_span() -> None:
    assert code("x" * 61) == f"`{'x' * 59}…`"
    assert code(" a\n b ") == "`a b`"
    assert code("`a`") == "`` `a` ``"
    assert listing(["a", "b", "c"], 2) == "`a`, `b` and 1 more"
    assert fence("```` x", "sh") == "`````sh\n```` x\n`````"
    assert [setting(value) for value in (None, True, 0.1, (1, "a"))] == [
        "`null`",
        "`true`",
        "`0.1`",
        "`[1, a]`",
    ]


def test_invisible_characters_are_escaped() -> None:
    assert reveal("a\u202eb\u200b\x00\u3164\x1b[1mc\x1b[0m") == "a\\u202eb\\u200b\\x00\\u3164c"
    assert reveal("e" + "\u0301" * 9) == "e\u0301\u0301"


def test_a_table_keeps_its_bars_and_drops_empty_columns() -> None:
    text = table(["name", "base", "now"], [["a | b", None, 1], ["c \\| d", "", 2]], 2)
    assert text.splitlines() == ["| name | now |", "| --- | --: |", "| `a \\| b` | 1 |", "| `c \\¦ d` | 2 |"]


def test_corrections_are_listed_by_kind_and_person() -> None:
    hashes = [f"{number:064d}" for number in range(5)]

    def snapshot(*corrections: Correction) -> Snapshot:
        corrected = [CorrectedImage("", sha256, "cat", None, "", "", "", "") for sha256 in hashes]
        return Snapshot("", "", corrections={each.sha256: each for each in corrections}, corrected=corrected)

    base = snapshot(Correction(hashes[0], "dog", "Ada", "", ""), Correction(hashes[1], "dog", "Ada", "", ""))
    current = snapshot(
        Correction(hashes[1], "dog", "Bob", "", "again, which changes nothing"),
        Correction(hashes[2], "dog", "Bob|", "", ""),
        Correction(hashes[3], "dog", "Ada", "", ""),
        Correction(hashes[4], None, "", "", ""),
        Correction("f" * 64, "cat", "Ada", "", "of an image that the data do not have"),
    )
    assert correction_rows(current, base) == [
        ["relabeled", "cat", "dog", 2, "`Ada`, `Bob|`"],
        ["excluded", "cat", None, 1, ""],
        ["relabeled", None, "cat", 1, "`Ada`"],
        ["undone: relabeled", "cat", "dog", 1, "`Ada`"],
    ]
    report = render_report(replace(make_inputs(), current=current, base=base))
    assert "| `relabeled` | `cat` | `dog` | 2 | `Ada`, `Bob\\|` |" in report
    assert correction_rows(current, None) == correction_rows(current, current) == []
