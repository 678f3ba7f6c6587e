"""Write an ONNX model with its metadata."""

import json
from collections.abc import Mapping
from pathlib import Path

import onnx

from visiongate.records.files import atomic_path

OPSET = 20
# The name of the first dimension of each input and output, which may differ from call to call.
BATCH = "batch"


def write_onnx(model: onnx.ModelProto, metadata: Mapping[str, object], path: Path) -> None:
    """Check a model and write it; equal models give equal bytes.

    Args:
        model: Takes uint8 images, N×H×W×C, and returns float32 probabilities, N×K. The metadata is added to it.
        metadata: Classes, preprocessing and temperature; each value is stored as JSON.
        path: The file to write.
    """
    model.metadata_props.extend(
        onnx.StringStringEntryProto(key=key, value=json.dumps(value)) for key, value in metadata.items()
    )
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
