"""Static int8 quantization of the convolutions of an exported graph, by ONNX Runtime."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnx import ModelProto

from visiongate.errors import SettingsError
from visiongate.models.predictor import INPUT, Images

# What follows a convolution without leaving int8. Preprocessing, embedding, head and calibration stay in fp32.
QUANTIZED = ["Conv", "Relu", "Clip", "Add", "MaxPool"]
# Images per calibration step, which holds every intermediate result.
BATCH = 8


def quantize(model: ModelProto, images: Images) -> ModelProto:
    """Return a graph whose convolutions compute in int8.

    Weights have a scale per channel, and seven bits, because sums of eight-bit weights overflow on x86 CPUs without VNNI
    instructions, where the model would answer differently. The ranges of the activations are the smallest and the largest
    values on the images. Equal images give equal bytes. Jacob, B. et al. (2018), Quantization and training of neural networks
    for efficient integer-arithmetic-only inference, CVPR.

    Args:
        model: In fp32.
        images: uint8, N×H×W×C: a sample of the training images.

    Raises:
        SettingsError: The graph has no convolution.
    """
    if not any(node.op_type == "Conv" for node in model.graph.node):
        raise SettingsError(
            "params.yaml: training.export.precision = int8 quantizes convolutions, and this model has none; set fp32"
        )
    # Imported here, because it takes a second.
    from onnxruntime.quantization import QuantType, quantize_static  # noqa: PLC0415

    with TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Batches(images),
            op_types_to_quantize=QUANTIZED,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        quantized = onnx.load(path)
    del quantized.metadata_props[:]
    return quantized


class _Batches:
    """The images, a batch at a time, in the form that ONNX Runtime's calibration reads."""

    def __init__(self, images: Images) -> None:
        self._batches = iter([images[start : start + BATCH] for start in range(0, len(images), BATCH)])

    def get_next(self) -> dict[str, Images] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the advice to optimize the graph first, which the exporter has done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
