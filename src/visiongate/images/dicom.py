"""Open DICOM images by pydicom, the package of the extra ``dicom``.

The values of a gray image become brightness as a viewer shows them (DICOM PS3.3, C.11 and C.7.6.3.1.2): the modality LUT or
rescaling, then the window of the data set, or else the first VOI LUT or window of the file. Without any, unsigned samples of
up to 8 bits keep their range, and others are spread from the lowest to the highest value of the image. ``MONOCHROME1`` is
inverted, and padding is black.

Of a file with several frames, the first is decoded. Only the elements in `TAGS` are read, so that no message can show a
patient's name.
"""

import io
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, ImageFile
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from visiongate.images.contents import COMPRESSED_DICOM, DICOM_WITHOUT_IMAGE, HEAD, UnsupportedContentError

Values = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
# Center and width.
Window = tuple[float, float]

TAGS = [
    *(
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "NumberOfFrames",
        "Rows",
        "Columns",
    ),
    *(
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
    ),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth", "LUTDescriptor", "LUTData"),
    *(f"{color}PaletteColorLookupTableDescriptor" for color in ("Red", "Green", "Blue")),
    *(f"{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue")),
    *(f"Segmented{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue")),
    *(
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
    ),
]
_INVERTED, _GRAY, _PALETTE = "MONOCHROME1", ("MONOCHROME1", "MONOCHROME2"), "PALETTE COLOR"
# They give the same pixels whatever else is installed; others are used for what these cannot decode.
_OWN_DECODERS = ("pydicom", "pillow")
_BYTE_BITS, _BYTE_MAX = 8, 255
_STRIP_PIXELS = 2**20

# Each deviation of a file from the standard would be a warning.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.ERROR)


class DicomImageFile(ImageFile.ImageFile):
    """The first frame of a DICOM file, in mode ``L`` or ``RGB``; its pixels are decoded by `load`."""

    format = "DICOM"
    format_description = "DICOM image"

    # Center and width of the values that are shown; None for those of the file.
    window: Window | None = None

    def _open(self) -> None:
        content = self.fp.read() if self.fp else b""
        self._dataset: Dataset | None = _read(content)
        dataset = self._dataset
        self._size = int(dataset.Columns), int(dataset.Rows)
        self._mode = "L" if dataset.PhotometricInterpretation in _GRAY else "RGB"
        self.is_animated = int(dataset.get("NumberOfFrames") or 1) > 1

    def load(self) -> Any:  # noqa: ANN401 - Pillow's type of access to pixels
        """Decode the pixels.

        Raises:
            Exception: The pixels are damaged, of any class.
        """
        if self._dataset is not None:
            self.im = Image.fromarray(render(self._dataset, self.window)).im
            self._dataset = None
        return Image.Image.load(self)


def open_dicom(encoded: bytes, window: Window | None = None) -> Image.Image:
    """Open a DICOM image; its pixels are decoded later.

    Args:
        encoded: The image file's bytes.
        window: Center and width of the values that are shown; None for those of the file.

    Raises:
        UnsupportedContentError: The image is compressed by a method that needs a further decoder, or there is no image.
        Exception: The header is damaged, of any class.
    """
    image = DicomImageFile(io.BytesIO(encoded))
    image.window = window
    return image


def render(dataset: Dataset, window: Window | None) -> Pixels:
    """Return the first frame as 8-bit pixels.

    Args:
        dataset: With the elements in `TAGS`.
        window: As in `open_dicom`; it does not affect color images.

    Returns:
        H×W for a gray image, otherwise H×W×3.
    """
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    pixels = pixel_array(dataset, index=0, decoding_plugin=_choose_decoder(syntax))
    kind = dataset.PhotometricInterpretation
    if kind in _GRAY:
        return _render_gray(pixels, dataset, window)
    bits = int(dataset.BitsStored)
    if kind == _PALETTE:
        pixels, bits = (
            apply_color_lut(pixels, dataset)[..., :3],
            int(dataset.RedPaletteColorLookupTableDescriptor[2]),
        )
        bits = max(bits, _BYTE_BITS * pixels.itemsize if int(pixels.max()) >> bits else bits)
    return _to_bytes(pixels / (2**bits - 1))


def _read(content: bytes) -> Dataset:
    # Nothing limits what a deflated file expands to.
    if b"UI\x16\0" + DeflatedExplicitVRLittleEndian.encode() in content[:HEAD]:
        raise UnsupportedContentError(COMPRESSED_DICOM)
    dataset = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=list(TAGS))
    if not {"PixelData", "FloatPixelData", "DoubleFloatPixelData"}.intersection(dataset.dir()):
        if "Rows" in dataset:
            raise SyntaxError("unexpected end of the file before its pixels")
        raise UnsupportedContentError(DICOM_WITHOUT_IMAGE)
    _state_encoding(dataset)
    if not _is_decodable(dataset):
        raise UnsupportedContentError(COMPRESSED_DICOM)
    return dataset


def _is_decodable(dataset: Dataset) -> bool:
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if not syntax.is_encapsulated:
        return True
    plugins = set(get_decoder(syntax).available_plugins)
    # Pillow reads such JPEG files with 8 bits only.
    if syntax == JPEGExtended12Bit and dataset.BitsStored > _BYTE_BITS:
        plugins -= {"pillow"}
    return bool(plugins)


def _state_encoding(dataset: Dataset) -> None:
    """Complete the header of a file that does not state its encoding, because it has no preamble."""
    if "TransferSyntaxUID" in dataset.file_meta:
        return
    is_implicit, is_little = dataset.original_encoding
    explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit


def _choose_decoder(syntax: UID) -> str:
    """Return the name of the decoder; an empty one lets pydicom choose."""
    if not syntax.is_encapsulated or syntax == JPEGExtended12Bit:
        return ""
    available = get_decoder(syntax).available_plugins
    return next((name for name in _OWN_DECODERS if name in available), "")


def _render_gray(pixels: npt.NDArray[Any], dataset: Dataset, window: Window | None) -> Pixels:
    """Shade each level that a sample of up to 16 bits can have once, instead of each pixel, to save memory and time."""
    if pixels.dtype.kind not in "iu" or pixels.itemsize > np.dtype(np.uint16).itemsize:
        return _shade(pixels, np.ones(pixels.shape, bool), dataset, window)
    low, high = int(pixels.min()), int(pixels.max())
    present = np.zeros(high - low + 1, bool)
    for strip in _strips(pixels):
        present[strip.astype(np.intp) - low] = True
    table = _shade(np.arange(low, high + 1, dtype=np.int64).astype(pixels.dtype), present, dataset, window)
    return np.concatenate([table[strip.astype(np.intp) - low] for strip in _strips(pixels)])


def _strips(pixels: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    rows = max(1, _STRIP_PIXELS // pixels.shape[1])
    return (pixels[upper : upper + rows] for upper in range(0, len(pixels), rows))


def _shade(
    levels: npt.NDArray[Any], present: npt.NDArray[np.bool_], dataset: Dataset, window: Window | None
) -> Pixels:
    """Return the brightness of levels, of which those that are ``present`` in the image decide its range."""
    padding = _find_padding(levels, dataset)
    values = apply_modality_lut(levels, dataset)
    share = (
        _apply_window(values.astype(np.float64), *window, "LINEAR")
        if window
        else _apply_voi(values.astype(np.float64), dataset)
    )
    if share is None:
        share = _spread(values.astype(np.float64), present & ~padding, dataset)
    shown = _to_bytes(1 - share if dataset.PhotometricInterpretation == _INVERTED else share)
    shown[padding] = 0
    return shown


def _find_padding(levels: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Return which levels fill the area outside of the picture (PS3.3, C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return np.zeros(levels.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    return (levels >= low) & (levels <= high)


def _apply_voi(values: Values, dataset: Dataset) -> Values | None:
    """Apply the first VOI LUT or else the first window; return shares of white, or None without either."""
    if table := dataset.get("VOILUTSequence"):
        return _apply_table(values, table[0])
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is None or width is None:
        return None
    return _apply_window(values, center, width, str(dataset.get("VOILUTFunction") or "LINEAR").upper())


def _apply_table(values: Values, item: Dataset) -> Values:
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    data = item.LUTData
    table: Values = np.asarray(np.frombuffer(data, "<u2") if isinstance(data, bytes) else data, np.float64)
    places = np.clip(np.rint(values) - first, 0, min(len(table), entries or 2**16) - 1).astype(np.int64)
    return np.asarray(table[places] / (2**bits - 1))


def _apply_window(values: Values, center: float, width: float, function: str) -> Values | None:
    """Apply a window (PS3.3, C.11.2.1.2); return None if its width is invalid."""
    if function == "SIGMOID" and width > 0:
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700))))
    if function == "LINEAR_EXACT" and width > 0:
        return (values - center) / width + 0.5
    if function != "LINEAR" or width < 1:
        return None
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return (values - (center - 0.5)) / (width - 1) + 0.5


def _spread(values: Values, visible: npt.NDArray[np.bool_], dataset: Dataset) -> Values:
    """Return shares of white for an image that states no window, by the range of its visible values."""
    bits = int(dataset.BitsStored)
    if bits <= _BYTE_BITS and not dataset.PixelRepresentation and "RescaleSlope" not in dataset:
        return np.asarray(values / (2**bits - 1))
    shown = values[visible]
    if not shown.size or shown.min() == shown.max():
        return np.zeros(values.shape)
    return np.asarray((values - shown.min()) / (shown.max() - shown.min()))


def _first(value: Any) -> float | None:  # noqa: ANN401 - a number or a list of numbers
    """Return the first of several values as a finite number."""
    value = value[0] if isinstance(value, pydicom.multival.MultiValue) and value else value
    return float(value) if isinstance(value, int | float) and np.isfinite(float(value)) else None


def _to_bytes(share: npt.NDArray[Any]) -> Pixels:
    """Round shares of white to 8 bits."""
    return np.asarray(np.floor(np.clip(share, 0, 1) * _BYTE_MAX + 0.5), np.uint8)
