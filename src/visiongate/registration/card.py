"""The model card that `register` writes, out of what the stages before it left. No stage of the line."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from visiongate import paths
from visiongate.records.evaluation import read_intervals, read_slices, worst_slice
from visiongate.records.files import read_json
from visiongate.records.manifest import read_manifest
from visiongate.records.model import read_model_description
from visiongate.records.splits import SPLITS
from visiongate.records.verdict import read_verdict
from visiongate.registration.model_card import ModelCard, render_card
from visiongate.settings.schema import Settings

REBUILD = (
    "git checkout {commit}",
    "make setup && . .venv/bin/activate",
    "dvc pull",
    "dvc repro --force --single-item train",
)


def describe_model(settings: Settings, registration: Mapping[str, Any]) -> str:
    """Return the card as Markdown.

    Args:
        settings: What is said of the data set, and how small a slice may be.
        registration: The content of ``reports/registration.json``.
    """
    description, lineage = read_model_description(paths.MODEL_DESCRIPTION), registration["lineage"]
    dataset = settings.dataset
    return render_card(
        ModelCard(
            name=registration["name"],
            version=registration["version"],
            decision=f"{registration['decision']}: {registration['reason']}",
            network=description.network,
            parameters=description.parameters,
            transform=description.transform,
            dataset={
                "name": dataset.name,
                "license": dataset.license,
                "citation": dataset.citation,
                "homepage": dataset.homepage,
            },
            images=_count_images(),
            metrics=read_json(paths.METRICS),
            intervals=read_intervals(paths.EVALUATION),
            confidence=settings.evaluation.confidence,
            verdict=read_verdict(paths.GATE),
            worst=worst_slice(read_slices(paths.EVALUATION), settings.evaluation.slice_images),
            lineage=_describe_lineage(lineage, registration["model_sha256"]),
            commands=[command.format(commit=lineage["git_commit"]) for command in REBUILD],
        )
    )


def _count_images() -> dict[str, int]:
    splits = read_manifest(paths.TRANSFORMED, columns=["split"]).column("split").to_pylist()
    counts = Counter(splits)
    return {split: counts[split] for split in SPLITS}


def _describe_lineage(lineage: Mapping[str, Any], sha256: str) -> dict[str, str]:
    state = {True: ", with changes that are not in it", False: ""}.get(
        lineage["git_dirty"], ", clean or not: unknown"
    )
    return {
        "commit": f"{lineage['git_commit']}{state}",
        **{f"md5 of {path}": str(md5) for path, md5 in lineage["data_md5"].items()},
        "sha256 of the parameters": str(lineage["params_sha256"]),
        "md5 of models/model.onnx": lineage["model_md5"],
        "sha256 of models/model.onnx": sha256,
    }
