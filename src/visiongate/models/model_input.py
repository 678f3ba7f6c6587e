"""From the bytes of an image file to the input of a model, by the preprocessing that the model's file records."""

from visiongate.errors import DataError
from visiongate.images.decoding import MAX_PIXELS, DecodeOptions, Pixels, StoredImage
from visiongate.images.preprocessing import preprocess
from visiongate.models.predictor import Contract, Predictor
from visiongate.records.conversion import BACKGROUNDS, MAX_DEPTH, MIN_DEPTH, Conversion

MODES = ("L", "RGB")
RESIZE_RULES = ("stretch", "center-crop", "letterbox")


def to_input(encoded: bytes, contract: Contract, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode and resize an image as the images were that the model was trained on.

    Args:
        encoded: The image file's bytes.
        contract: Of the model, `Predictor.contract`, after `check_input`.
        max_pixels: Largest allowed product of width and height, ``dataset.limits.max_pixels``.

    Returns:
        uint8, of the model's input shape, read-only.

    Raises:
        DataError: The image is damaged, too large or of an unsupported kind.
    """
    return read_input(encoded, contract, max_pixels)[0]


def read_input(
    encoded: bytes, contract: Contract, max_pixels: int = MAX_PIXELS
) -> tuple[Pixels, StoredImage]:
    """Return the pixels as `to_input` does, and the image's header."""
    options = decode_options(contract, max_pixels)
    return preprocess(encoded, contract.input_shape[0], contract.mode, contract.resize, options)


def decode_options(contract: Contract, max_pixels: int = MAX_PIXELS) -> DecodeOptions:
    """Return how a model's images become 8-bit pixels, and the limit of pixels."""
    return DecodeOptions(Conversion(contract.depth, contract.background, contract.window), max_pixels)


def check_input(model: Predictor) -> None:
    """Check that `to_input` knows the preprocessing that a model's file records.

    Raises:
        DataError: It does not, because another version or another program wrote the file.
    """
    contract = model.contract
    checks = {
        "mode": contract.mode in MODES,
        "resize": contract.resize in RESIZE_RULES,
        "depth": contract.depth in range(MIN_DEPTH, MAX_DEPTH + 1),
        "background": contract.background in BACKGROUNDS,
    }
    for name, is_known in checks.items():
        if not is_known:
            raise DataError(
                f"{model.name}: unknown {name} {getattr(contract, name)!r} in its transform; {_FIX}"
            )
    side = contract.input_shape[0]
    if not isinstance(side, int) or contract.input_shape != (side, side, len(contract.mode)):
        shape = "×".join(map(str, contract.input_shape))
        raise DataError(f"{model.name}: its input of {shape} does not fit mode {contract.mode}; {_FIX}")


_FIX = "export it with the `train` stage of this version"
