"""The training images of a model, among which similar ones are searched."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest

from localizable_models import CLASSES, SIDE, draw_scenes, record_transform, write_probe
from visiongate.errors import DataError
from visiongate.explanation.training_images import read_training_images
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.records.manifest import MANIFEST_SCHEMA, write_manifest
from visiongate.records.splits import SPLITS, fold_split
from visiongate.records.transform import Transform, write_transform

SCENES = 12
DATA = Path("data/transformed")


def write_arrays(protocol: Literal["holdout", "cross_validation"]) -> Transform:
    DATA.mkdir(parents=True)
    folds = {fold_split(fold): fold for fold in range(3)}
    manifests = []
    for number, split in enumerate(SPLITS):
        scenes = draw_scenes(SCENES, seed=number)
        np.save(DATA / f"{split}.npy", scenes.images)
        np.save(DATA / f"{split}_labels.npy", scenes.labels)
        columns = {
            "split": [split] * SCENES,
            "row": list(range(SCENES)),
            "label": scenes.labels.tolist(),
            "path": [f"{split}/{row}.png" for row in range(SCENES)],
            "sha256": [f"{split} {row}" for row in range(SCENES)],
            "group": [None] * SCENES,
            "fold": [folds[split] if protocol == "cross_validation" else None] * SCENES,
            "width": [SIDE] * SCENES,
            "height": [SIDE] * SCENES,
            "format": ["PNG"] * SCENES,
            "mode": ["RGB"] * SCENES,
            "bytes": [100] * SCENES,
        }
        manifests.append(pa.table(columns).cast(MANIFEST_SCHEMA))
    write_manifest(DATA, pa.concat_tables(manifests))
    count = 3 if protocol == "cross_validation" else None
    transform = Transform(SIDE, "RGB", "stretch", [0.42] * 3, [0.12] * 3, list(CLASSES), protocol, count)
    write_transform(DATA, transform)
    return transform


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    monkeypatch.chdir(tmp_path)
    write_probe(Path("model.onnx"))
    return open_predictor(Path("model.onnx"))


def test_training_images_of_a_test_split_are_those_of_the_training_split(model: Predictor) -> None:
    write_arrays("holdout")

    found = read_training_images(DATA, model)

    scenes = draw_scenes(SCENES)
    assert found.paths == [f"train/{row}.png" for row in range(SCENES)]
    assert found.labels == [CLASSES[label] for label in scenes.labels]
    np.testing.assert_allclose(found.embeddings, model.run(scenes.images, ["embedding"])["embedding"])


@pytest.mark.usefixtures("model")
def test_a_cross_validated_model_was_trained_on_all_images() -> None:
    record_transform(Path("model.onnx"), write_arrays("cross_validation"))

    found = read_training_images(DATA, open_predictor(Path("model.onnx")))

    assert len(found.embeddings) == len(found.labels) == 3 * SCENES
    assert {path.partition("/")[0] for path in found.paths} == set(SPLITS)


def test_missing_images_can_be_pulled(model: Predictor) -> None:
    with pytest.raises(DataError, match=r"data/transformed/transform\.json: no such file.*dvc pull"):
        read_training_images(DATA, model)


def test_images_of_another_training_are_refused(model: Predictor) -> None:
    transform = write_arrays("holdout")
    write_transform(DATA, replace(transform, mean=[0.5, 0.42, 0.42]))

    with pytest.raises(
        DataError, match=r"model\.onnx: it was trained on other images .* whose mean differs.*dvc pull"
    ):
        read_training_images(DATA, model)
