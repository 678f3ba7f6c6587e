"""The model card: front matter that a hub reads, tables that no name can break, and limits that were measured."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from evaluated_models import HOSTILE, IMAGES, evaluated_report
from visiongate.registration.model_card import (
    ModelCard,
    escape_cell,
    find_limits,
    format_number,
    front_matter,
    render_card,
    write_card,
)

DATASET = {
    "name": "digits",
    "license": "CC BY 4.0",
    "citation": f"{HOSTILE}, 1998",
    "homepage": "https://example.org",
}


def make_card(classes: int = 10, skill: float = 2.0) -> ModelCard:
    report = evaluated_report(classes, skill).result
    transform = {"size": 8, "mode": "L", "resize": "stretch", "classes": list(report.test.classes)}
    return ModelCard(
        name="digits-classifier",
        version="3",
        decision="registered: not shown to be better",
        network="small_cnn",
        parameters=1234567,
        transform=transform,
        dataset=DATASET,
        images={"train": 1000, "val": 200, "test": IMAGES},
        metrics=report.card.metrics,
        intervals=report.card.intervals,
        confidence=0.9,
        verdict=report.verdict,
        worst=report.diagnosis.worst,
        lineage={"commit": "abc", "md5 of data/raw": "def"},
        commands=["git checkout abc", "dvc pull"],
    )


def split_card(text: str) -> tuple[dict[str, object], str]:
    start, matter, body = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(matter), body


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_a_card_has_front_matter_and_tables_that_hold(classes: int, tmp_path: Path) -> None:
    write_card(make_card(classes), tmp_path / "card.md")

    matter, body = split_card((tmp_path / "card.md").read_text(encoding="utf-8"))
    assert matter == front_matter(make_card(classes))
    assert "# digits-classifier, version 3\n" in body
    for row in (line for line in body.splitlines() if line.startswith("|")):
        assert row.endswith("|")
    assert "<script>" not in body
    assert ("and 80 more" in body) == (classes == 100)
    assert "1,234,567 parameters" in body
    assert "| 90% interval |" in body
    assert "that training and validation have not seen" in body


def test_the_front_matter_is_what_the_hub_asks_for() -> None:
    matter = front_matter(make_card())

    assert (matter["license"], matter["library_name"]) == ("cc-by-4.0", "onnx")
    assert matter["pipeline_tag"] == "image-classification"
    [result] = matter["model-index"][0]["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"type": "digits", "name": "digits", "split": "test"}
    assert {metric["type"] for metric in result["metrics"]} == set(matter["metrics"])
    accuracy = next(metric for metric in result["metrics"] if metric["type"] == "accuracy")
    assert accuracy["value"] == pytest.approx(make_card().metrics["accuracy"], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("CC BY 4.0", {"license": "cc-by-4.0"}),
        ("CC-BY-SA 3.0", {"license": "cc-by-sa-3.0"}),
        ("MIT", {"license": "mit"}),
        ("not stated", {"license": "other", "license_name": "not stated"}),
    ],
)
def test_licenses_have_the_hubs_names(name: str, told: dict[str, str]) -> None:
    matter = front_matter(replace(make_card(), dataset={**DATASET, "license": name}))

    assert {key: value for key, value in matter.items() if key.startswith("license")} == told


def test_the_limits_are_those_that_were_measured() -> None:
    card = make_card()

    told = "\n".join(find_limits(card))
    assert f"judged on {IMAGES} images" in told
    assert card.worst is not None
    assert f"{card.worst.accuracy:.1%}" in told
    assert f"{card.metrics['corrupted_accuracy']:.1%}" in told
    bare = replace(card, metrics={"accuracy": 0.9}, worst=None, images={"test": 10_000})
    assert find_limits(bare) == [find_limits(card)[-1]]


def test_a_metric_without_interval_a_threshold_and_an_undefined_rule_are_told() -> None:
    card = make_card(2)
    undefined = replace(card.verdict.rules[0], value=None, low=None, high=None)
    verdict = replace(card.verdict, rules=(undefined,), passed=False)
    metrics = {**card.metrics, "threshold": 0.25}

    body = render_card(replace(card, metrics=metrics, intervals={}, verdict=verdict, parameters=None))

    assert "is answered from a probability of 0.25 on" in body
    assert "| undefined |" in body
    assert "## Gate: failed" in body
    assert "parameters." not in body


def test_cells_keep_their_line_and_are_no_markdown() -> None:
    assert escape_cell("a | b\n`c` <d> $e$") == r"a \| b \`c\` \<d\> \$e\$"
    assert (format_number(0.123456), format_number(None)) == ("0.1235", "undefined")


def test_leaked_test_images_are_told() -> None:
    card = make_card()

    body = render_card(replace(card, metrics={**card.metrics, "leaked_images": 12}))

    assert "**of which training or validation has seen 12**" in body
    assert "have not seen" not in body
