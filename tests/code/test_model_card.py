"""The model card: front matter for the hub, tables that no name can break, and measured limits."""

from dataclasses import replace

import pytest
import yaml

from evaluated_models import HOSTILE, IMAGES, evaluated_report
from visiongate.records.model import ModelDescription
from visiongate.records.model_card import strip_front_matter
from visiongate.records.registration import RecordedLineage, Registration
from visiongate.registration.model_card import (
    ModelCard,
    escape_cell,
    front_matter,
    list_limits,
    render_card,
)
from workspaces import tracked_settings

LINEAGE = RecordedLineage("abc", None, {"data/raw": "def", "data/prepared": None}, "012", None, [])
REGISTRATION = Registration(
    decision="registered",
    reason="not significantly better",
    name="digits-classifier",
    version="3",
    aliases=["challenger"],
    model_sha256="345",
    gate_passed=True,
    previous_champion=None,
    comparison=None,
    lineage=LINEAGE,
)
DATASET = tracked_settings().dataset.model_copy(
    update={"license": "CC BY 4.0", "citation": f"{HOSTILE}, 1998"}
)


def make_card(classes: int = 10, skill: float = 2.0) -> ModelCard:
    report = evaluated_report(classes, skill).result
    transform = {"size": 8, "mode": "L", "resize": "stretch", "classes": list(report.test.classes)}
    return ModelCard(
        registration=REGISTRATION,
        model=ModelDescription("small_cnn", {}, None, 1234567, 1.0, transform),
        dataset=DATASET,
        images={"train": 1000, "val": 200, "test": IMAGES},
        metrics=report.card.metrics,
        intervals=report.card.intervals,
        confidence=0.9,
        verdict=report.verdict,
        worst=report.diagnosis.worst,
    )


def split_card(text: str) -> tuple[dict[str, object], str]:
    start, matter, body = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(matter), body


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_card_has_front_matter_and_valid_tables(classes: int) -> None:
    matter, body = split_card(render_card(make_card(classes)))
    assert matter == front_matter(make_card(classes))
    assert "# digits-classifier, version 3\n" in body
    for row in (line for line in body.splitlines() if line.startswith("|")):
        assert row.endswith("|")
    assert "<script>" not in body
    assert ("and 80 more" in body) == (classes == 100)
    assert "1,234,567 parameters" in body
    assert "| 90% confidence interval |" in body
    assert "md5 of data/prepared | unknown |" in body


def test_front_matter_has_the_fields_of_the_hub() -> None:
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
    ("name", "expected"),
    [
        ("CC BY 4.0", {"license": "cc-by-4.0"}),
        ("CC-BY-SA 3.0", {"license": "cc-by-sa-3.0"}),
        ("MIT", {"license": "mit"}),
        ("not stated", {"license": "other", "license_name": "not stated"}),
    ],
)
def test_licenses_have_the_identifiers_of_the_hub(name: str, expected: dict[str, str]) -> None:
    matter = front_matter(replace(make_card(), dataset=DATASET.model_copy(update={"license": name})))

    assert {key: value for key, value in matter.items() if key.startswith("license")} == expected


def test_limits_are_measured() -> None:
    card = make_card()

    limits = "\n".join(list_limits(card))
    assert f"{IMAGES} images" in limits
    assert card.worst is not None
    assert f"{card.worst.accuracy:.1%}" in limits
    assert f"{card.metrics['corrupted_accuracy']:.1%}" in limits
    bare = replace(card, metrics={"accuracy": 0.9}, worst=None, images={"test": 10_000})
    assert list_limits(bare) == [list_limits(card)[-1]]


def test_metric_without_interval_threshold_and_undefined_rule() -> None:
    card = make_card(2)
    undefined = replace(card.verdict.rules[0], value=None, low=None, high=None)
    verdict = replace(card.verdict, rules=(undefined,), passed=False)
    metrics = {**card.metrics, "threshold": 0.25}

    body = render_card(replace(card, metrics=metrics, intervals={}, verdict=verdict))

    assert "at least 0.25" in body
    assert "| undefined |" in body
    assert "## Gate: failed" in body


def test_cross_validated_card_says_how_it_was_judged() -> None:
    card = make_card()
    transform = {**card.model.transform, "protocol": "cross_validation", "folds": 5}
    images = {"train": 72, "val": 24, "test": 24}
    text = render_card(replace(card, model=replace(card.model, transform=transform), images=images))
    matter, body = split_card(text)
    assert (
        "5-fold cross-validation over 120 images; the registered model is trained on all of them. Each"
        in body
    )
    assert "| images | 120 in 5 folds |" in body
    assert "none of which" not in body
    assert "The data set has only 120 images" in body
    assert "'split': 'cross_validation'" in str(matter)


def test_description_has_no_front_matter() -> None:
    text = render_card(make_card())
    assert strip_front_matter(text).startswith("# digits-classifier, version 3\n")
    assert strip_front_matter("# A page\n\n---\n") == "# A page\n\n---\n"


def test_rebuild_commands_name_the_data_set() -> None:
    card = render_card(make_card())
    assert (
        "To rebuild the model from the data set digits, with the `params.yaml` and `dvc.lock` of its run"
        in card
    )


def test_cells_are_one_line_without_markup() -> None:
    assert escape_cell("a | b\n`c` <d> $e$") == r"a \| b \`c\` \<d\> \$e\$"


def test_leaked_test_images_are_reported() -> None:
    card = make_card()
    assert "**of which 12 are also" in render_card(
        replace(card, metrics={**card.metrics, "leaked_images": 12})
    )
