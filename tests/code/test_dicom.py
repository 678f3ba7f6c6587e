"""DICOM images by pydicom: rescaling, windows, color models, compression, frames and damage; no patient in any text."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

from visiongate.images.decoding import DecodeOptions, Fault
from visiongate.images.extensions import has_image_signature, is_dicom
from visiongate.images.measurement import measure
from visiongate.images.preprocessing import to_pixels
from visiongate.records.conversion import Conversion

PATIENT = "Doe^Jane"
Pixels = npt.NDArray[Any]
RAMP = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)


def dicom(
    pixels: Pixels,
    *,
    syntax: str = ExplicitVRLittleEndian,
    bits: int | None = None,
    data: bytes | None = None,
    **values: Any,  # noqa: ANN401 - elements
) -> bytes:
    """Return a DICOM file of H×W or H×W×3 pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, syntax
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["visiongate"])
    file = Dataset()
    file.file_meta, file.preamble = meta, bytes(128)
    file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    file.PatientName, file.PatientID = PATIENT, "12345"
    file.Rows, file.Columns = pixels.shape[:2]
    file.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    file.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    file.BitsAllocated = 8 * pixels.itemsize
    file.BitsStored = bits or file.BitsAllocated
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        file.PlanarConfiguration = 0
    for name, value in values.items():
        setattr(file, name, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    file.PixelData = data if data is not None else pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    file["PixelData"].VR = "OB" if data is not None or file.BitsAllocated == 8 else "OW"
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def gray(encoded: bytes, side: int = 8) -> npt.NDArray[np.int64]:
    return to_pixels(encoded, side, "L", "stretch")[..., 0].astype(np.int64)


def windowed(values: Pixels, center: float, width: float) -> npt.NDArray[np.int64]:
    """The standard's formula for LINEAR, pixel by pixel (PS3.3, C.11.2.1.2.1)."""

    def show(value: float) -> float:
        if value <= center - 0.5 - (width - 1) / 2:
            return 0
        if value > center - 0.5 + (width - 1) / 2:
            return 255
        return ((value - (center - 0.5)) / (width - 1) + 0.5) * 255

    return np.floor(np.vectorize(show, otypes=[float])(values.astype(float)) + 0.5).astype(np.int64)


def test_values_are_rescaled_before_the_window() -> None:
    hounsfield = RAMP.astype(float) - 1024
    encoded = dicom(RAMP, bits=12, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    assert (gray(encoded) == windowed(hounsfield, 40, 400)).all()
    found = measure(encoded)
    assert (found.format, found.mode, found.width, found.height) == ("DICOM", "L", 8, 8)
    assert (found.animated, found.fault) == (False, None)
    first = dicom(
        RAMP, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=[40, 600], WindowWidth=[400, 1500]
    )
    assert (gray(first) == gray(encoded)).all()


def test_the_window_of_the_data_set_precedes_that_of_the_files() -> None:
    options = DecodeOptions(Conversion(window=(40.0, 400.0)))
    rescaled = {"bits": 12, "RescaleSlope": 1, "RescaleIntercept": -1024}
    expected = windowed(RAMP.astype(float) - 1024, 40, 400)
    for window in ({}, {"WindowCenter": 900, "WindowWidth": 80}):
        encoded = dicom(RAMP, **rescaled, **window)
        assert (to_pixels(encoded, 8, "L", "stretch", options)[..., 0] == expected).all()
    colors = dicom(np.dstack([RAMP.astype(np.uint8)] * 3))
    assert (to_pixels(colors, 8, "RGB", "stretch", options) == to_pixels(colors, 8, "RGB", "stretch")).all()


def test_signed_samples_and_every_encoding() -> None:
    values = RAMP.astype(np.int16) - 1024
    expected = windowed(values, 0, 2000)
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian):
        assert (gray(dicom(values, syntax=syntax, WindowCenter=0, WindowWidth=2000)) == expected).all()


def test_other_window_functions() -> None:
    values = RAMP.astype(float)
    window = {"WindowCenter": 2000, "WindowWidth": 1000}
    exact = gray(dicom(RAMP, VOILUTFunction="LINEAR_EXACT", **window))
    assert (exact == np.floor(np.clip((values - 2000) / 1000 + 0.5, 0, 1) * 255 + 0.5)).all()
    sigmoid = gray(dicom(RAMP, VOILUTFunction="SIGMOID", **window))
    assert (sigmoid == np.floor(255 / (1 + np.exp(-4 * (values - 2000) / 1000)) + 0.5)).all()
    step = gray(dicom(RAMP, WindowCenter=2000, WindowWidth=1))
    assert (step == np.where(values > 1999.5, 255, 0)).all()


def test_without_a_usable_window_the_range_of_the_image_is_shown() -> None:
    expected = np.floor(RAMP / RAMP.max() * 255 + 0.5)
    for values in (
        {},
        {"WindowCenter": 2000, "WindowWidth": 0},
        {"WindowCenter": 9, "WindowWidth": 9, "VOILUTFunction": "X"},
    ):
        assert (gray(dicom(RAMP, bits=12, **values)) == expected).all()
    small = np.arange(100, 164, dtype=np.uint8).reshape(8, 8)
    assert (gray(dicom(small)) == small).all()
    assert (gray(dicom(np.full((8, 8), 700, np.uint16))) == 0).all()


def test_monochrome1_is_inverted_and_padding_is_black() -> None:
    shown = gray(dicom(RAMP, bits=12, WindowCenter=2000, WindowWidth=1000))
    inverted = gray(
        dicom(RAMP, bits=12, WindowCenter=2000, WindowWidth=1000, PhotometricInterpretation="MONOCHROME1")
    )
    assert np.abs(shown + inverted - 255).max() <= 1
    padded = RAMP.astype(np.int16)
    padded[0] = -2000
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        values = gray(dicom(padded, PhotometricInterpretation=kind, PixelPaddingValue=-2000))
        assert (values[0] == 0).all()
        assert values[1:].max() == 255
        assert values[1:].min() == 0


def table(data: list[int], first: int, bits: int) -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(data), first, bits], data
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "US"
    return [item]


def test_lookup_tables_are_applied() -> None:
    curve = [round(4095 * (place / 4095) ** 2) for place in range(4096)]
    voi = gray(dicom(RAMP, bits=12, VOILUTSequence=table(curve, 0, 12)))
    expected = np.floor(np.asarray(curve)[RAMP] / 4095 * 255 + 0.5)
    assert (voi == expected).all()
    modality = dicom(
        RAMP, bits=12, ModalityLUTSequence=table(curve, 0, 16), WindowCenter=2048, WindowWidth=4096
    )
    assert (gray(modality) == windowed(np.asarray(curve)[RAMP], 2048, 4096)).all()


def test_color_models() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert (to_pixels(dicom(colors), 8, "RGB", "stretch") == colors).all()
    assert measure(dicom(colors)).mode == "RGB"
    planes = dicom(
        colors, PlanarConfiguration=1, data=np.ascontiguousarray(colors.transpose(2, 0, 1)).tobytes()
    )
    assert (to_pixels(planes, 8, "RGB", "stretch") == colors).all()
    ycc = np.asarray(Image.fromarray(colors).convert("YCbCr"))
    full = dicom(ycc, PhotometricInterpretation="YBR_FULL")
    assert np.abs(to_pixels(full, 8, "RGB", "stretch").astype(int) - colors).max() <= 3


def test_a_palette_of_sixteen_bits() -> None:
    places = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
    palettes = np.random.default_rng(2).integers(0, 2**16, (3, 256)).astype("<u2")
    values: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color, palette in zip(("Red", "Green", "Blue"), palettes, strict=True):
        values[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        values[f"{color}PaletteColorLookupTableData"] = palette.tobytes()
    found = to_pixels(dicom(places, **values), 8, "RGB", "stretch").astype(int)
    assert np.abs(found - (palettes[:, places].transpose(1, 2, 0) >> 8)).max() <= 1


def encoded_by(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return encapsulate([buffer.getvalue()])


def test_compressed_images() -> None:
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    jpeg = dicom(
        smooth, syntax=JPEGBaseline8Bit, data=encoded_by(Image.fromarray(smooth), "JPEG", quality=95)
    )
    assert np.abs(gray(jpeg, 16) - smooth).max() <= 4
    lossless = encoded_by(Image.fromarray(smooth), "JPEG2000", irreversible=False, no_jp2=True)
    assert (gray(dicom(smooth, syntax=JPEG2000Lossless, data=lossless), 16) == smooth).all()
    colors = np.dstack([smooth, smooth[::-1], smooth[:, ::-1]])
    ycc = encoded_by(Image.fromarray(colors), "JPEG", quality=98, subsampling=0)
    found = dicom(colors, syntax=JPEGBaseline8Bit, data=ycc, PhotometricInterpretation="YBR_FULL")
    assert np.abs(to_pixels(found, 16, "RGB", "stretch").astype(int) - colors).max() <= 8


def test_run_lengths() -> None:
    file = pydicom.dcmread(io.BytesIO(dicom(RAMP, WindowCenter=2000, WindowWidth=4000)))
    file.compress(RLELossless)
    buffer = io.BytesIO()
    file.save_as(buffer)
    assert (gray(buffer.getvalue()) == windowed(RAMP, 2000, 4000)).all()


def test_a_compression_without_decoder_is_named() -> None:
    for syntax in (JPEGLosslessSV1, DeflatedExplicitVRLittleEndian):
        found = measure(dicom(RAMP, syntax=syntax, data=encapsulate([bytes(64)])))
        assert found.fault == Fault.UNSUPPORTED_FORMAT
        assert "pip install pylibjpeg" in (found.error or "")
    twelve_bits = dicom(RAMP, syntax=JPEGExtended12Bit, bits=12, data=encapsulate([bytes(64)]))
    assert measure(twelve_bits) == found


def test_several_frames_are_reported_and_the_first_is_decoded() -> None:
    frames = np.stack([RAMP, RAMP[::-1]])
    encoded = dicom(RAMP, NumberOfFrames=2, data=frames.tobytes(), WindowCenter=2000, WindowWidth=4000)
    assert measure(encoded).animated
    assert (gray(encoded) == windowed(RAMP, 2000, 4000)).all()


def test_a_file_without_preamble_is_recognized() -> None:
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        whole = dicom(RAMP, syntax=syntax, WindowCenter=2000, WindowWidth=4000)
        file = pydicom.dcmread(io.BytesIO(whole))
        bare = Dataset()
        bare.update(file)
        buffer = io.BytesIO()
        bare.save_as(buffer, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
        assert is_dicom(buffer.getvalue())
        assert (gray(buffer.getvalue()) == gray(whole)).all()
        assert has_image_signature(whole)
    assert not is_dicom(b"\x08\0\x05\0")
    assert not is_dicom(b"\x08\0words")


def test_damage_is_refused_and_no_text_has_the_patient() -> None:
    whole = dicom(RAMP, bits=12, WindowCenter=2000, WindowWidth=4000)
    draw = np.random.default_rng(3)
    damaged = [whole[:length] for length in (140, 200, 400, len(whole) - 9)]
    for _ in range(60):
        changed = bytearray(whole)
        for position in draw.integers(128, len(whole) - RAMP.nbytes, size=3):
            changed[position] = draw.integers(0, 256)
        damaged.append(bytes(changed))
    for encoded in damaged:
        found = measure(encoded)
        text = found.error or ""
        assert "\n" not in text
        assert "Doe" not in text
        assert "12345" not in text
    assert [measure(whole[:-length]).fault for length in (9, len(RAMP.tobytes()) + 9)] == [
        Fault.TRUNCATED
    ] * 2


def test_limits_and_files_without_an_image() -> None:
    found = measure(dicom(RAMP), DecodeOptions(max_pixels=63))
    assert (found.fault, found.width, found.height) == (Fault.TOO_LARGE, 8, 8)
    huge = dicom(RAMP, Rows=60000, Columns=60000)
    assert measure(huge).fault == Fault.TOO_LARGE
    report = pydicom.dcmread(io.BytesIO(dicom(RAMP)))
    del report.PixelData, report.Rows
    buffer = io.BytesIO()
    report.save_as(buffer)
    found = measure(buffer.getvalue())
    assert (found.fault, found.error) == (
        Fault.UNSUPPORTED_FORMAT,
        "DICOM file without an image; remove such files",
    )


def test_without_the_extra_the_message_says_how_to_get_it() -> None:
    found = measure(dicom(RAMP), DecodeOptions(extras=frozenset({"heic"})))
    assert found.fault == Fault.UNSUPPORTED_FORMAT
    assert "pip install 'visiongate[dicom]'" in (found.error or "")
