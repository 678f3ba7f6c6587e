"""Load an exported ONNX model and predict with it. Needs onnxruntime, not torch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError
from visiongate.records.transform import Transform

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Images = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]
Outputs = dict[str, npt.NDArray[np.float32]]
# Images, or features.
Inputs = TypeVar("Inputs", npt.NDArray[np.uint8], npt.NDArray[np.float32])
INPUT = "images"
# The name of the first dimension of each input and output, which may differ from call to call.
BATCH = "batch"
# Images per call of a model, and their values in all. More are not faster, and a session keeps the memory of its largest batch:
# with a large network, a hundred bytes for each value.
MAX_BATCH, MAX_BATCH_VALUES = 32, 2**20
# How long the model's threads wait actively for their next work: long enough for the gaps within a run, and nothing to an idle
# service. By default, it is some tens of milliseconds.
SPIN_MICROSECONDS = "1000"
# Each model has probabilities, N×K. Depending on its structure it also has the pooled features, N×D; each class's part in its
# logit by place, N×K×h×w, whose mean over the places is the logit without its bias; and how strange an image is, N.
PROBABILITIES, EMBEDDING, ACTIVATION_MAP, NOVELTY = "probabilities", "embedding", "activation_map", "novelty"


@dataclass(frozen=True, slots=True)
class Contract:
    """The inputs and outputs of a model. Models with equal contracts can be compared."""

    # Height, width and channels.
    input_shape: tuple[int, ...]
    # L or RGB.
    mode: str
    # The rule that brings an image to the input shape.
    resize: str
    # In the order of the outputs.
    classes: tuple[str, ...]
    # How deep and transparent images become 8-bit pixels; see `visiongate.records.transform`.
    depth: int = 16
    background: str = "white"
    window: tuple[float, float] | None = None

    @classmethod
    def of(cls, transform: Transform) -> Self:
        """Return the contract of a model of images that were preprocessed like this."""
        return cls(
            transform.input_shape,
            transform.mode,
            transform.resize,
            tuple(transform.classes),
            transform.depth,
            transform.background,
            transform.window,
        )

    def difference(self, other: "Contract") -> str | None:
        """Describe the first difference as ``FIELD OTHERS, not OURS``; None if the contracts are equal."""
        for name in self.__slots__:
            ours, others = getattr(self, name), getattr(other, name)
            if ours != others:
                return f"{name.replace('_', ' ')} {_format(others)}, not {_format(ours)}"
        return None


@dataclass(frozen=True, slots=True)
class Predictor:
    """A loaded ONNX model: uint8 images in, probabilities out.

    Evaluation, prediction and the service share it.
    """

    # A file, or the content of one.
    source: Path | bytes
    contract: Contract
    session: "InferenceSession"
    # What the train stage wrote into the file besides the graph: ``classes``, ``transform``, ``temperature`` and more.
    metadata: Mapping[str, Any]

    @property
    def temperature(self) -> float | None:
        """The temperature inside the model; None if the file does not state it."""
        temperature = self.metadata.get("temperature")
        return None if temperature is None else float(temperature)

    @property
    def outputs(self) -> frozenset[str]:
        """The names of the outputs."""
        return frozenset(output.name for output in self.session.get_outputs())

    @property
    def name(self) -> str:
        """The model's name in error messages."""
        return _name(self.source)

    @property
    def size(self) -> int:
        """The size of the file, in bytes."""
        return self.source.stat().st_size if isinstance(self.source, Path) else len(self.source)

    def predict(self, images: Images, batch_size: int | None = None) -> Probabilities:
        """Return the probabilities, float32 N×K, of uint8 images, N×H×W×C."""
        return self.run(images, [PROBABILITIES], batch_size)[PROBABILITIES]

    def run(self, images: Images, names: Sequence[str], batch_size: int | None = None) -> Outputs:
        """Return some of the outputs by name, for at least one image.

        Args:
            images: uint8, N×H×W×C.
            names: Of `outputs`.
            batch_size: Images per call of the model; None for those of `fit_batch`.
        """
        batches = divide(images, batch_size)
        parts = [self.session.run(list(names), {INPUT: np.ascontiguousarray(batch)}) for batch in batches]
        return {name: np.concatenate(values) for name, *values in zip(names, *parts, strict=True)}


def fit_batch(inputs: Inputs, most: int = MAX_BATCH) -> int:
    """Return how many of the inputs, N×…, fit into a batch of at most `MAX_BATCH_VALUES`: at most ``most``, at least one."""
    return max(1, min(most, MAX_BATCH_VALUES // int(inputs[0].size)))


def divide(inputs: Inputs, batch_size: int | None = None) -> Iterator[Inputs]:
    """Divide at least one image, or its features, N×…, into batches for a model; None for the size of `fit_batch`."""
    size = batch_size or fit_batch(inputs)
    return (inputs[start : start + size] for start in range(0, len(inputs), size))


def open_predictor(source: Path | bytes, *, shares_cores: bool = False, threads: int = 0) -> Predictor:
    """Load an exported model on the CPU.

    Args:
        source: An ONNX file, or the content of one.
        shares_cores: Whether other threads work between the batches. The model's threads then sleep between them, instead of
            waiting actively, which makes a single batch slightly slower.
        threads: Of a batch; 0 for one per core.

    Raises:
        DataError: The file is missing, is not an ONNX model, or lacks the metadata that the train stage writes.
    """
    if isinstance(source, Path) and not source.exists():
        raise DataError(f"{source}: no such file; `dvc repro train` writes it, `dvc pull` downloads it")
    try:
        session = open_session(source, shares_cores=shares_cores, threads=threads)
        metadata = _read_metadata(session)
        return Predictor(source, _read_contract(session, metadata), session, metadata)
    # onnxruntime's errors have no common base class.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{_name(source)}: not a model that the train stage exported: {reason}") from error


def open_session(source: Path | bytes, *, shares_cores: bool = False, threads: int = 0) -> "InferenceSession":
    """Load any ONNX model on the CPU, as `open_predictor`; errors are those of ONNX Runtime."""
    import onnxruntime  # noqa: PLC0415 - slow to import

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if shares_cores else "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_MICROSECONDS)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _name(source: Path | bytes) -> str:
    return str(source) if isinstance(source, Path) else "the ONNX model"


def _read_metadata(session: "InferenceSession") -> dict[str, Any]:
    """Parse the values that `visiongate.models.onnx_files.write_onnx` stores as JSON; skip those of other writers."""
    metadata = {}
    for key, value in session.get_modelmeta().custom_metadata_map.items():
        with suppress(ValueError):
            metadata[key] = json.loads(value)
    return metadata


def _read_contract(session: "InferenceSession", metadata: Mapping[str, Any]) -> Contract:
    transform: dict[str, Any] = metadata["transform"]
    [images] = session.get_inputs()
    if PROBABILITIES not in {output.name for output in session.get_outputs()}:
        raise ValueError(f"it has no output {PROBABILITIES!r}")
    # Older files do not state depth, background and window.
    conversion: dict[str, Any] = {
        name: transform[name] for name in ("depth", "background") if name in transform
    }
    if window := transform.get("window"):
        conversion["window"] = tuple(window)
    classes = tuple(transform["classes"])
    return Contract(tuple(images.shape[1:]), transform["mode"], transform["resize"], classes, **conversion)


def _format(value: float | str | tuple[float | str, ...] | None) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return ("×" if isinstance(value[0], int) else ", ").join(map(str, value))
