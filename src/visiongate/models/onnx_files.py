"""The contract of every served model: one checked ONNX file, uint8 pixels in, probabilities out, which explains itself."""

import json
from collections.abc import Mapping
from pathlib import Path

import onnx

from visiongate.records.files import atomic_path

INPUT, OUTPUT = "images", "probabilities"
OPSET = 20


def write_onnx(model: onnx.ModelProto, metadata: Mapping[str, object], path: Path) -> None:
    """Check a model and write it, its bytes a function of its content.

    Args:
        model: From `INPUT`, uint8 N×H×W×C, to `OUTPUT`, float32 N×K. The metadata is added to it.
        metadata: Stored as JSON, by key: the classes and the preprocessing.
        path: Where to write.
    """
    model.metadata_props.extend(
        onnx.StringStringEntryProto(key=key, value=json.dumps(value)) for key, value in metadata.items()
    )
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
