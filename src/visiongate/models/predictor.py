"""The exported model as whoever serves it sees it: one ONNX file, uint8 pixels in, probabilities out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Images = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]
INPUT, OUTPUT = "images", "probabilities"


@dataclass(frozen=True, slots=True)
class Contract:
    """What a model must be given, and what its outputs mean; models are comparable when these are equal."""

    input_shape: tuple[int, ...]  # height, width and channels
    mode: str  # L or RGB
    resize: str  # by which rule images come to that size
    classes: tuple[str, ...]  # in the order of the outputs

    def difference(self, other: "Contract") -> str | None:
        """Say in what another differs, ``theirs, not ours``; None if in nothing."""
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"{name.replace('_', ' ')} {_spell(theirs)}, not {_spell(mine)}"
        return None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """An ONNX file, ready to predict."""

    path: Path
    contract: Contract
    session: "InferenceSession"
    temperature: float | None  # that its logits are divided by, where the file tells

    def predict(self, images: Images, batch_size: int = 256) -> Probabilities:
        """Turn uint8 images, N×H×W×C, into probabilities, float32 N×K."""
        batches = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
        outputs = [self.session.run([OUTPUT], {INPUT: np.ascontiguousarray(batch)})[0] for batch in batches]
        return np.concatenate(outputs)


def open_model(path: Path) -> ServedModel:
    """Load an exported model on the CPU.

    Raises:
        DataError: The file is missing, is no ONNX model, or does not carry its classes and preprocessing.
    """
    from onnxruntime import InferenceSession  # noqa: PLC0415 - only where a model is run

    if not path.exists():
        raise DataError(f"{path}: no such file; the train stage writes it")
    try:
        session = InferenceSession(path, providers=["CPUExecutionProvider"])
        return ServedModel(path, _read_contract(session), session, _read_temperature(session))
    except Exception as error:  # onnxruntime's errors have no common base
        raise DataError(f"{path}: not a model exported here: {' '.join(str(error).split())[:200]}") from error


def _read_contract(session: "InferenceSession") -> Contract:
    metadata = session.get_modelmeta().custom_metadata_map
    transform: dict[str, Any] = json.loads(metadata["transform"])
    [images], [_] = session.get_inputs(), session.get_outputs()
    return Contract(
        tuple(images.shape[1:]), transform["mode"], transform["resize"], tuple(transform["classes"])
    )


def _read_temperature(session: "InferenceSession") -> float | None:
    told = session.get_modelmeta().custom_metadata_map.get("temperature")
    return None if told is None else float(json.loads(told))


def _spell(value: str | tuple[int | str, ...]) -> str:
    if isinstance(value, str):
        return value
    return ("×" if isinstance(value[0], int) else ", ").join(map(str, value))
