"""The model card: what a model is, what it was made from, how good it is, and where it should not be used.

Mitchell, M. et al. (2019), Model cards for model reporting, FAT*; the front matter is that of Hugging Face's hub
(https://huggingface.co/docs/hub/model-cards).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from visiongate.pages.rendering import TEMPLATES
from visiongate.records.evaluation import Slice
from visiongate.records.files import write_text
from visiongate.records.interval import Interval
from visiongate.records.verdict import GateVerdict

# Ours to the hub's: https://huggingface.co/docs/hub/repositories-licenses
LICENSES = {
    "cc by 4.0": "cc-by-4.0",
    "cc by-sa 3.0": "cc-by-sa-3.0",
    "cc by-sa 4.0": "cc-by-sa-4.0",
    "cc by-nc 4.0": "cc-by-nc-4.0",
    "cc0": "cc0-1.0",
    "cc0 1.0": "cc0-1.0",
    "mit": "mit",
    "apache 2.0": "apache-2.0",
}
HEADLINES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1_macro": "F1, mean of the classes",
    "recall_min": "Recall of the worst class",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "roc_auc": "ROC-AUC",
    "average_precision": "Average precision",
    "mcc": "Matthews correlation",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "Expected calibration error",
}
HUB_METRICS = {"accuracy": "accuracy", "f1_macro": "f1", "roc_auc": "roc_auc", "mcc": "matthews_correlation"}
FEW_IMAGES = 500  # below which the limits say so
MOST_CLASSES = 20  # that are listed by name


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a card tells."""

    name: str  # of the registered model
    version: str
    decision: str  # promoted, registered or rejected, and why
    network: str
    parameters: int | None
    transform: Mapping[str, Any]  # as in ``transform.json``
    dataset: Mapping[str, str]  # name, license, citation and homepage
    images: Mapping[str, int]  # by split
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    confidence: float  # of the intervals
    verdict: GateVerdict
    worst: Slice | None
    lineage: Mapping[str, str]  # in words, by what it is
    commands: Sequence[str]  # that make the model again

    @property
    def classes(self) -> Sequence[str]:
        """Their names, in the order of the outputs."""
        names: Sequence[str] = self.transform["classes"]
        return names


def write_card(card: ModelCard, path: Path) -> None:
    """Write the card as Markdown."""
    write_text(path, render_card(card))


def render_card(card: ModelCard) -> str:
    """Return the card as Markdown, front matter first."""
    environment = Environment(  # noqa: S701 - Markdown, whose cells are escaped by `cell`
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"cell": escape_cell, "number": format_number}
    matter = yaml.safe_dump(front_matter(card), sort_keys=False, allow_unicode=True, width=1000)
    body = environment.get_template("registration/model_card.md").render(
        card=card, headlines=HEADLINES, limits=find_limits(card), shown=card.classes[:MOST_CLASSES]
    )
    return f"---\n{matter}---\n\n{body.strip()}\n"


def front_matter(card: ModelCard) -> dict[str, Any]:
    """Return what the hub reads."""
    license_id = LICENSES.get(" ".join(card.dataset["license"].lower().replace("-by-", " by-").split()))
    named = (
        {"license": license_id}
        if license_id
        else {"license": "other", "license_name": card.dataset["license"]}
    )
    results = [
        {"type": hub, "value": round(card.metrics[name], 6), "name": HEADLINES[name]}
        for name, hub in HUB_METRICS.items()
        if name in card.metrics
    ]
    data = {"type": card.dataset["name"], "name": card.dataset["name"], "split": "test"}
    task = {"type": "image-classification", "name": "Image classification"}
    return {
        **named,
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "onnx", "visiongate"],
        "datasets": [card.dataset["name"]],
        "metrics": [result["type"] for result in results],
        "model-index": [
            {"name": card.name, "results": [{"task": task, "dataset": data, "metrics": results}]}
        ],
    }


def find_limits(card: ModelCard) -> list[str]:
    """Say what was measured that speaks against the model, and what was not measured."""
    metrics, limits = card.metrics, []
    if card.images.get("test", 0) < FEW_IMAGES:
        limits.append(
            f"It was judged on {card.images.get('test', 0)} images: look at the intervals, not at the points."
        )
    if card.worst is not None and card.worst.gap < 0:
        limits.append(
            f"It does worst on {card.worst.dimension} {card.worst.name!r}: accuracy {card.worst.accuracy:.1%} on "
            f"{card.worst.images} images ({card.worst.low:.1%} to {card.worst.high:.1%}; p = {card.worst.p_value:.2g} after "
            "correction for the number of slices)."
        )
    if "corrupted_accuracy" in metrics:
        limits.append(
            f"With noise, blur, less contrast, JPEG artifacts or shifts its accuracy is {metrics['corrupted_accuracy']:.1%} on "
            f"average, and {metrics['accuracy']:.1%} without."
        )
    if "ece" in metrics:
        limits.append(
            f"Its confidence is off by {metrics['ece']:.1%} on average, on images like those of the test split."
        )
    limits.append(
        "It answers every image with one of its classes, also one that shows none of them. How it fares on images from other "
        "sources, cameras or people is not known."
    )
    return limits


def escape_cell(text: object) -> str:
    """Keep text on its line and in its cell, and from being read as Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#~$&])", r"\\\1", " ".join(str(text).split()))


def format_number(value: float | None) -> str:
    """Format a metric to four digits."""
    return "undefined" if value is None else f"{value:.4g}"
