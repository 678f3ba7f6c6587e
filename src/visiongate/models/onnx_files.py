"""Write an ONNX model with its metadata."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import onnx

from visiongate.models.examples import make_example
from visiongate.models.predictor import open_predictor
from visiongate.records.example import EXAMPLE
from visiongate.records.files import atomic_path

OPSET = 20


def write_onnx(model: onnx.ModelProto, metadata: Mapping[str, object], path: Path) -> None:
    """Check a model and write it; equal models give equal bytes.

    The file also gets an example: an image and the probabilities that this very graph predicts for it.

    Args:
        model: Takes uint8 images, N×H×W×C, and returns float32 probabilities, N×K. The metadata is added to it.
        metadata: Classes, preprocessing and temperature; each value is stored as JSON. An example of another graph is ignored.
        path: The file to write.
    """
    _add(model, {key: value for key, value in metadata.items() if key != EXAMPLE})
    onnx.checker.check_model(model, full_check=True)
    # The order in which several threads add up rounds differently from machine to machine.
    predictor = open_predictor(model.SerializeToString(), threads=1)
    _add(model, {EXAMPLE: asdict(make_example(predictor))})
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _add(model: onnx.ModelProto, metadata: Mapping[str, object]) -> None:
    model.metadata_props.extend(
        onnx.StringStringEntryProto(key=key, value=json.dumps(value)) for key, value in metadata.items()
    )
