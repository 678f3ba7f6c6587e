"""What a pull request is told: the verdict first, safe whatever the files hold, and never too long."""

import math
import re
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
from markdown_it import MarkdownIt  # the parser that rich brings along
from markdown_it.token import Token

from pull_requests import HOSTILE, make_judged, make_snapshot, registry, without
from visiongate.records.verdict import GateVerdict, RuleResult
from visiongate.review.report.budget import LIMIT, Section, fit
from visiongate.review.report.charts import draw_course
from visiongate.review.report.document import list_sections, render_report
from visiongate.review.report.gate_section import tell_verdict
from visiongate.review.report.significance import tell_luck
from visiongate.review.report.snapshot import Course, Judged, Snapshot, Trouble
from workspaces import ROOT

GITHUB_LIMIT = 65_536
PARTS = [field.name for field in fields(Snapshot) if field.name not in {"name", "commit", "clean", "missing"}]
TITLES = [
    "Gate",
    "Metrics",
    "Parameters",
    "Classes",
    "Confusion",
    "Worst slices",
    "Training",
    "Times and training",
    "Data validation",
    "Images",
    "Suggested settings",
    "Registration",
    "Make it again",
]


def parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def walk(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from walk(token.children or [])


def titles(text: str) -> list[str]:
    return re.findall(r"^(?:#### |<summary>)(.*?)(?:</summary>)?$", text, flags=re.MULTILINE)


def check_safe(text: str) -> None:
    """Hold that all that is not ours stands in code, that tables have their columns, and that nothing is hidden."""
    ours = {"<br>", "<details>", "</details>"}
    tokens = list(walk(parse(text)))
    for token in tokens:
        assert token.type not in {"link_open", "image", "s_open", "em_open", "hr", "code_block"}
        if token.type in {"html_inline", "html_block"}:
            left = re.sub(r"<summary>[A-Z][a-z ]+</summary>", "", token.content)
            assert set(left.split()) <= ours, token.content
        if token.type == "text":
            assert not re.search(r"[@#<>$`|\\]|://|www\.|\bGH-\d|evil|octocat|alert", token.content), (
                token.content
            )
        if token.type == "fence":
            assert token.info in {"mermaid", "sh", "text"}
            assert token.info != "mermaid" or "evil" not in token.content
    assert [token.tag for token in tokens if token.type == "heading_open"].count("h4") == text.count(
        "\n#### "
    )
    for row in re.findall(r"^\|.*$", text, flags=re.MULTILINE):
        assert row.endswith("|")
    hidden = [letter for letter in text if not letter.isprintable() and letter != "\n"]
    assert hidden == []


def tables(text: str) -> Iterator[list[int]]:
    """Count the cells of each row, table by table."""
    rows: list[int] = []
    for token in parse(text):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append(0)
        elif token.type in {"th_open", "td_open"}:
            rows[-1] += 1
        elif token.type == "table_close":
            yield rows


def test_the_report_begins_with_the_verdict_and_has_its_sections_in_order() -> None:
    text = render_report(make_judged())

    assert text.startswith("✅ **Gate passed**: accuracy 0.9")
    assert "+0.115 against `main class`; nothing to do." in text.splitlines()[0]
    assert titles(text) == TITLES
    check_safe(text)


def test_the_same_input_gives_the_same_bytes() -> None:
    assert render_report(make_judged()) == render_report(make_judged())


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_no_text_of_a_stranger_is_more_than_text(number: int) -> None:
    hostile = HOSTILE[number]
    judged = make_judged(0.9, 0.8, classes=5, text=hostile)
    assert judged.base is not None
    missing = {"answers": f"the file says {hostile}", "slices": hostile}
    judged = replace(
        judged, base=replace(judged.base, missing=missing), now=replace(judged.now, commit=hostile or "x")
    )

    for trouble in (
        None,
        *(Trouble(kind, hostile, hostile, hostile * 3) for kind in ("failed", "stale", "unread")),
    ):
        text = render_report(replace(judged, trouble=trouble))
        check_safe(text)
        assert len(text) < GITHUB_LIMIT
        for rows in tables(text):
            assert len(set(rows)) == 1
            assert rows[0] <= 6
    failing = RuleResult(hostile, hostile, hostile, 0.1, None, None, -0.1, passed=False, note=hostile)
    check_safe(render_report(replace(judged, verdict=GateVerdict(passed=False, rules=(failing,)))))


def test_a_cell_keeps_its_bars() -> None:
    judged = make_judged(text="a | b")
    expected = {len(row) for row in tables(render_report(make_judged()))}
    assert {len(row) for row in tables(render_report(judged))} == expected
    assert "`accuracy a \\| b`" in render_report(judged)


@pytest.mark.parametrize(
    "text", ["class", "名前" * 100, "x" * 200, "🦆" * 200], ids=["short", "wide", "long", "emoji"]
)
@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_a_report_fits_whatever_the_number_of_classes(classes: int, text: str) -> None:
    judged = make_judged(classes=classes, text=text)
    rules = tuple(replace(judged.now.verdict.rules[0], name=f"{text} {number}") for number in range(classes))  # type: ignore[union-attr]
    judged = replace(judged, verdict=GateVerdict(passed=True, rules=rules))

    told = render_report(judged)

    assert len(told.encode()) <= LIMIT + 1 < GITHUB_LIMIT
    assert titles(told) == TITLES
    assert ("Rows: what it is." in told) == (classes <= 12)
    if classes == 1000:
        assert re.search(r"The (20|10|5) that changed most, of 1,000\.", told)
        assert re.search(r"The (20|10|5) pairs most often confused, of", told)
        assert "of 1,000 rules; 1,000 of all pass." in told


def test_detail_goes_in_a_stated_order() -> None:
    def lines(rows: int) -> str:
        return "\n".join(["x" * 99] * rows)

    sections = [Section(name, lines, importance) for name, importance in (("a", 3), ("b", 1), ("c", 2))]

    def count(limit: int) -> list[int]:
        found = fit(sections, lambda section, text: f"{section.title}\n{text}", limit)
        return [part.count("x" * 99) for part in re.split(r"^[abc]$", found, flags=re.MULTILINE)[1:]]

    assert count(10_000) == [20, 20, 20]
    assert count(5_200) == [20, 10, 20]
    assert count(4_300) == [20, 0, 20]
    assert count(3_300) == [20, 0, 10]
    assert count(1_500) == [10, 0, 0]


def test_one_rule_that_fails_is_told_with_what_it_saw_and_asked() -> None:
    judged = make_judged()
    ruling = RuleResult(
        "worst_class", "recall", ">= 0.5 each", 0.42, 0.2, 0.6, -0.08, passed=False, note="class 7"
    )
    verdict = GateVerdict(passed=False, rules=(*judged.now.verdict.rules, ruling))  # type: ignore[union-attr]

    text = render_report(replace(judged, verdict=verdict))

    assert text.splitlines()[0] == (
        "❌ **Gate failed**: `worst_class`: `recall` is 0.42 (0.2 to 0.6), `class 7`, asked `>= 0.5 each`. Mend what it "
        "names, or change the rule in `conf/gate/` and say why."
    )
    first = next(line for line in text.splitlines() if line.startswith("| ❌"))
    assert first == "| ❌ `worst_class`<br>`recall >= 0.5 each` | 0.42 (0.2 to 0.6)<br>`class 7` | - |  |"
    assert text.index("| ❌") < text.index("| ✅")


def test_many_rules_that_fail_are_counted() -> None:
    ruling = RuleResult("a", "accuracy", ">= 1", 0.5, None, None, -0.5, passed=False)
    verdict = GateVerdict(
        passed=False, rules=tuple(replace(ruling, name=f"r{number}") for number in range(5))
    )

    assert "; and 2 more. Mend" in tell_verdict(replace(make_judged(), verdict=verdict))


def test_a_rule_that_is_not_judged_is_named() -> None:
    ruling = RuleResult(
        "against", "accuracy", "drop of at most 0.02", 0.9, None, None, None, passed=None, note="no base"
    )
    line = tell_verdict(replace(make_judged(), verdict=GateVerdict(passed=True, rules=(ruling,))))
    assert line.endswith("; not judged: `against`.")


def test_without_a_base_there_is_no_comparison() -> None:
    text = render_report(make_judged(base=None))

    assert "compared with nothing: `make report BASE=main` compares." in text
    assert "| base |" not in text
    assert "Parameters" not in titles(text)
    check_safe(text)


def test_a_base_without_anything_is_told() -> None:
    judged = make_judged()
    assert judged.base is not None
    text = render_report(replace(judged, base=without(judged.base, *PARTS)))

    assert "`main class` has none to compare with" in text.splitlines()[0]
    assert ", ".join(PARTS[:3]) in text
    assert "`not there yet`" in text
    check_safe(text)


@pytest.mark.parametrize("part", PARTS)
def test_any_part_may_be_missing_from_either(part: str) -> None:
    judged = make_judged()
    assert judged.base is not None
    for changed in (
        replace(judged, now=without(judged.now, part)),
        replace(judged, base=without(judged.base, part)),
    ):
        text = render_report(changed)
        assert f"- {part} of `" in text
        check_safe(text)


def test_a_class_that_came_and_one_that_went_are_told() -> None:
    now = make_snapshot("here", 0.9, ["cat", "dog", "newt"])
    base = make_snapshot("main", 0.8, ["cat", "dog", "fox"])
    text = render_report(Judged(now, base, now.verdict, registry()))

    assert "Classes added: `newt`. Classes removed: `fox`." in text
    assert re.search(r"\| `newt` \| 40 \| [\d.]+ \| new \| [\d.]+ \| new \|", text)
    assert (
        "| `dataset.classes` | 3 items, of these only here: `fox` | 3 items, of these only here: `newt` |"
        in text
    )
    assert "test images have another label than before" in text


def test_stages_that_came_went_and_ran_anew_are_told() -> None:
    judged = make_judged()
    assert judged.base is not None
    now = replace(judged.now, stages={"train": "1", "resample": "2", "same": "3"})
    base = replace(judged.base, stages={"train": "0", "old": "2", "same": "3"})

    text = render_report(replace(judged, now=now, base=base))

    assert (
        "Stages added: `resample`. Stages removed: `old`. Stages that ran with other code, data or parameters: `train`."
        in text
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (math.nan, "not a finite number"),
        (math.inf, "not a finite number"),
        (10**400, "not a finite number"),
        ("0.99 | @all", "`0.99 \\| @all`"),
        (None, "undefined"),
        (True, "true"),
        ((1, 2), "not a number: `(1, 2)`"),
    ],
    ids=["nan", "inf", "beyond", "text", "null", "truth", "list"],
)
def test_a_metric_that_is_no_number_is_told_as_such(value: object, told: str) -> None:
    judged = make_judged()
    now = replace(
        judged.now,
        metrics={"accuracy": value, "log_loss": value},
        times={"latency": value},
        training={"x": value},
    )

    text = render_report(replace(judged, now=now))

    assert f"| {told} |" in text
    check_safe(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e308, 1e9])
def test_a_training_that_diverged_is_told_and_not_drawn(value: float) -> None:
    judged = make_judged()
    course = Course([1, 2, 3], {"train_loss": [1.0, value, value], "val_accuracy": [0.1, 0.2, 0.3]})

    text = draw_course(replace(judged.now, course=course), judged.base)

    assert "not drawn, for 2 values are no numbers that a chart can show" in text
    assert text.count("```mermaid") == 1


def test_long_courses_are_thinned_and_both_ends_kept() -> None:
    judged = make_judged()
    course = Course(list(range(1, 1001)), {"train_loss": [1 / epoch for epoch in range(1, 1001)]})

    text = draw_course(replace(judged.now, course=course), judged.base)

    [line] = re.findall(r"line \[(.*)\]", text)
    values = [float(value) for value in line.split(", ")]
    assert len(values) == 40
    assert (values[0], values[-1]) == (1, 0.001)
    assert "e-" not in line


def test_the_base_is_drawn_beside_where_it_has_as_many_epochs() -> None:
    judged = make_judged()
    assert judged.base is not None
    assert "⚫ validation of `main class`" in draw_course(judged.now, judged.base)
    longer = Course([1, 2, 3, 4], {"val_loss": [1.0] * 4})
    assert "⚫" not in draw_course(judged.now, replace(judged.base, course=longer))
    assert draw_course(replace(judged.now, course=Course([], {})), None) == ""
    once = draw_course(replace(judged.now, course=Course([1], {"val_loss": [0.5]})), None)
    assert once == "Cross-entropy in the last of 1 epochs: validation 0.5."


def test_luck_is_told_in_both_directions() -> None:
    names = ["a", "b"]
    good, poor, same = (
        make_snapshot(name, skill, names) for name, skill in (("good", 0.95), ("poor", 0.6), ("same", 0.95))
    )

    assert tell_luck(good, poor, registry()).startswith(
        "**Better by more than luck**: on the same 400 test images right on "
    )
    worse = tell_luck(poor, good, registry())
    assert worse.startswith("**Worse by more than luck**")
    assert re.search(r"right on 0 that it got wrong before, and wrong on \d+ that it got right", worse)
    assert tell_luck(good, same, registry()) == "Both answer right and wrong on the same 400 test images."
    near = make_snapshot("near", 0.9475, names)
    assert tell_luck(good, near, registry()).startswith("**It could be luck**")


def test_what_cannot_be_compared_is_told() -> None:
    names = ["a", "b"]
    now, base = make_snapshot("now", 0.9, names), make_snapshot("base", 0.8, names)
    assert now.answers is not None
    assert base.answers is not None
    other = replace(base.answers, sha256=[f"x{index}" for index in range(len(base.answers.sha256))])
    assert "judged on different test images (400 now, 400 before, 0 of them the same)" in tell_luck(
        now, replace(base, answers=other), registry()
    )
    assert "know different classes" in tell_luck(
        now, replace(base, classes=base.classes and base.classes[:1]), registry()
    )
    assert "which test images go together" in tell_luck(replace(now, images=None), base, registry())
    grouped = replace(now, images=now.images.set_column(4, "group", [["one"] * 400]))  # type: ignore[union-attr]
    assert "all test images are of one group" in tell_luck(grouped, base, registry())


def test_the_search_suggests_only_what_is_shown_to_be_better() -> None:
    judged = make_judged()
    assert judged.now.search is not None
    for changes, told in (
        ({}, "make adopt NAME=tuned"),
        ({"better": False}, "Not shown to be more than seed noise: keep the current settings."),
        ({"better": False, "beaten": False}, "No trial beats them: keep them."),
    ):
        search = replace(judged.now.search, **changes)
        text = render_report(replace(judged, now=replace(judged.now, search=search)))
        assert told in text
        assert ("make adopt" in text) == search.better


def test_it_is_made_again_in_three_commands_that_no_name_breaks() -> None:
    judged = make_judged()
    assert judged.base is not None
    text = render_report(replace(judged, base=replace(judged.base, name="a'; rm -rf $HOME #`")))
    commands = text.partition("Make it again")[2].partition("```sh\n")[2].partition("\n```")[0].splitlines()
    assert commands == [
        f"git checkout {judged.now.commit}",
        "make repro",
        "make report BASE='a'\"'\"'; rm -rf $HOME #`'",
    ]


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        (
            Trouble("failed", "", "train", "boom"),
            "❌ **The line did not run through**: stage `train`. The end of its log is below.",
        ),
        (Trouble("failed", "", None, ""), "❌ **The line did not run through**. `make repro` says why."),
        (
            Trouble("stale", "changed: x", "train"),
            "❌ **Not judged**: stage `train` has not run with what is here (`changed: x`). Run `make repro`",
        ),
        (Trouble("unread", "broken"), "❌ **Not judged**: `broken`. `make repro` writes the reports anew."),
    ],
    ids=["failed", "failed anywhere", "stale", "unread"],
)
def test_trouble_is_told_in_the_place_of_the_verdict(trouble: Trouble, line: str) -> None:
    text = render_report(replace(make_judged(), trouble=trouble))
    assert text.splitlines()[0].startswith(line)
    assert ("Log" in titles(text)) == bool(trouble.log)
    assert "Gate" not in titles(text)


def test_a_log_shows_its_end_as_a_terminal_would() -> None:
    log = "\n".join([*map(str, range(100)), "10%\r50%\r\x1b[32mdone\x1b[0m", "````", "x" * 1000])
    text = render_report(replace(make_judged(), trouble=Trouble("failed", "", None, log)))
    block = text.partition("#### Log\n\n")[2]
    assert block.startswith("`````text\n73\n")
    assert "\ndone\n" in block
    assert "x" * 301 not in block


def test_the_docs_state_the_order_in_which_detail_goes() -> None:
    page = " ".join((ROOT / "docs/report.md").read_text(encoding="utf-8").split())
    stated = page.partition("one section after the other: ")[2].partition(".")[0].split(", ")
    sections = sorted(list_sections(make_judged()), key=lambda section: section.importance)
    named = {
        "Times and training": "times",
        "Training": "curves",
        "Worst slices": "slices",
        "Data validation": "validation",
    }
    titles_in_order = [named.get(section.title, section.title.lower()) for section in sections]
    assert [title for title in titles_in_order if title in stated] == stated
    assert titles_in_order[-2:] == ["gate", "verdict"]
