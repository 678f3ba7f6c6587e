"""The model card: what a model is, what it was made from, how good it is, and where it should not be used.

Mitchell, M. et al. (2019), Model cards for model reporting, FAT*. The front matter is that of the Hugging Face Hub
(https://huggingface.co/docs/hub/model-cards).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from visiongate.pages.rendering import TEMPLATES
from visiongate.records import metrics as catalog
from visiongate.records.evaluation import Slice
from visiongate.records.interval import Interval
from visiongate.records.model import ModelDescription
from visiongate.records.registration import RecordedLineage, Registration
from visiongate.records.verdict import GateVerdict
from visiongate.settings.dataset import Dataset

TEMPLATE = "registration/model_card.md"
# Our license names, and the identifiers of the hub: https://huggingface.co/docs/hub/repositories-licenses
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
# With fewer test images, the card warns.
MIN_TEST_IMAGES = 500
MAX_LISTED_CLASSES = 20


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The content of a model card.

    Attributes:
        registration: Name, version, decision and lineage.
        model: Network, parameters and preprocessing.
        dataset: Name, license, citation and homepage.
        images: Number of images by split.
        metrics: Of the test split.
        intervals: Of the metrics that have one.
        confidence: Of the intervals.
        verdict: Of the gate.
        worst: The slice with the lowest accuracy.
    """

    registration: Registration
    model: ModelDescription
    dataset: Dataset
    images: Mapping[str, int]
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    confidence: float
    verdict: GateVerdict
    worst: Slice | None


def render_card(card: ModelCard) -> str:
    """Return the card as Markdown, with front matter."""
    environment = Environment(  # noqa: S701 - Markdown, whose cells are escaped by `cell`
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"cell": escape_cell, "number": _format_number}
    matter = yaml.safe_dump(front_matter(card), sort_keys=False, allow_unicode=True, width=1000)
    body = environment.get_template(TEMPLATE).render(
        card=card,
        classes=card.model.transform["classes"],
        max_classes=MAX_LISTED_CLASSES,
        metrics={catalog.title(name): name for name in catalog.HEADLINES if name in card.metrics},
        limits=list_limits(card),
        protocol=describe_protocol(card.model, sum(card.images.values())),
        lineage=_describe_lineage(card.registration.lineage, card.registration.model_sha256),
    )
    return f"---\n{matter}---\n\n{body.strip()}\n"


def describe_protocol(model: ModelDescription, images: int) -> str | None:
    """Return how a model was judged by cross-validation; None if it was judged by a test split.

    Args:
        model: With the content of ``transform.json``.
        images: Number of images of the data set.
    """
    if model.transform.get("protocol") != "cross_validation":
        return None
    folds = model.transform["folds"]
    return f"{folds}-fold cross-validation over {images:,} images; the registered model is trained on all of them"


def front_matter(card: ModelCard) -> dict[str, Any]:
    """Return the metadata that the hub reads."""
    results = [
        {"type": metric.hub, "value": round(card.metrics[name], 6), "name": metric.title}
        for name, metric in catalog.METRICS.items()
        if metric.hub and name in card.metrics
    ]
    name = card.dataset.name
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"type": name, "name": name, "split": _evaluated_split(card)},
        "metrics": results,
    }
    return {
        **_license(card.dataset.license),
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "onnx", "visiongate"],
        "datasets": [name],
        "metrics": [metric["type"] for metric in results],
        "model-index": [{"name": card.registration.name, "results": [result]}],
    }


def list_limits(card: ModelCard) -> list[str]:
    """Return the measured weaknesses of the model, and what was not measured, as sentences."""
    metrics, worst, limits = card.metrics, card.worst, []
    is_split = _evaluated_split(card) == "test"
    images = card.images.get("test", 0) if is_split else sum(card.images.values())
    if images < MIN_TEST_IMAGES:
        where = "The test split" if is_split else "The data set"
        limits.append(f"{where} has only {images} images, so the confidence intervals are wide.")
    if worst is not None and worst.gap < 0:
        limits.append(
            f"Accuracy is lowest on {worst.dimension} {worst.name!r}: {worst.accuracy:.1%} on {worst.images} images "
            f"({worst.low:.1%} to {worst.high:.1%}; p = {worst.p_value:.2g}, adjusted for the number of slices)."
        )
    if "corrupted_accuracy" in metrics:
        limits.append(
            f"Accuracy is {metrics['corrupted_accuracy']:.1%} on average with noise, blur, low contrast, JPEG artifacts or "
            f"shifts, and {metrics['accuracy']:.1%} without."
        )
    if "ece" in metrics:
        limits.append(f"The confidence deviates from the accuracy by {metrics['ece']:.1%} on average.")
    limits.append(
        "The model predicts one of its classes for every image, even for an image of something else. Its accuracy on images "
        "from other sources, cameras or people is unknown."
    )
    return limits


def escape_cell(text: object) -> str:
    """Return text on one line, with the special characters of Markdown and HTML escaped."""
    return re.sub(r"([\\`*_\[\]<>|#~$&])", r"\\\1", " ".join(str(text).split()))


def _evaluated_split(card: ModelCard) -> str:
    return "test" if card.model.transform.get("protocol", "holdout") == "holdout" else "cross_validation"


def _format_number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"


def _license(name: str) -> dict[str, str]:
    identifier = LICENSES.get(" ".join(name.lower().replace("-by-", " by-").split()))
    return {"license": identifier} if identifier else {"license": "other", "license_name": name}


def _describe_lineage(lineage: RecordedLineage, sha256: str) -> dict[str, str]:
    states = {True: " with uncommitted changes", False: "", None: " (unknown whether clean)"}
    return {
        "commit": f"{lineage.git_commit}{states[lineage.git_dirty]}",
        **{f"md5 of {path}": md5 or "unknown" for path, md5 in lineage.data_md5.items()},
        "sha256 of the parameters": lineage.params_sha256 or "unknown",
        "md5 of models/model.onnx": lineage.model_md5,
        "sha256 of models/model.onnx": sha256,
    }
