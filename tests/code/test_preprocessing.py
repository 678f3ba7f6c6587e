"""Preprocessing: resize rules, orientation, thumbnails, and errors of damaged images."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, features

from visiongate.errors import DataError
from visiongate.images.decoding import DecodeOptions, Fault
from visiongate.images.measurement import measure, measure_images
from visiongate.images.preprocessing import thumbnail, to_pixels

# Pillow warns about damaged images.
pytestmark = pytest.mark.filterwarnings("ignore")

ORIENTATION = 0x0112
FORMATS = ["PNG", "JPEG", "BMP", "GIF", "TIFF", *(["WEBP"] if features.check("webp") else [])]


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401 - Pillow's
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gray(pixels: list[list[int]]) -> bytes:
    return encode(Image.fromarray(np.array(pixels, dtype=np.uint8)))


def gradient(width: int, height: int) -> npt.NDArray[np.uint8]:
    return np.linspace(0, 255, width * height).reshape(height, width).astype(np.uint8)


def corners() -> Image.Image:
    """Return 16×16 pixels whose quarters differ in brightness, so that a rotation is visible."""
    quarters = np.array([[10, 80], [160, 240]], dtype=np.uint8)
    return Image.fromarray(np.kron(quarters, np.ones((8, 8), dtype=np.uint8)))


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(corners(), exif=exif)


def test_colors_keep_their_channels() -> None:
    for mode in ("RGB", "CMYK"):
        orange = encode(Image.new("RGB", (4, 4), (200, 100, 50)).convert(mode), "TIFF")
        assert to_pixels(orange, 4, "RGB", "stretch")[0, 0].tolist() == [200, 100, 50]
        # ITU-R 601: 0.299 R + 0.587 G + 0.114 B.
        assert to_pixels(orange, 4, "L", "stretch")[0, 0].tolist() == [124]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_the_high_byte(kind: str) -> None:
    deep = np.array([[0, 255, 256, 32768], [40000, 50000, 60000, 65535]] * 2, dtype=np.uint16)
    encoded = encode(Image.fromarray(deep), kind)
    assert to_pixels(encoded, 4, "L", "stretch")[:, :, 0].tolist() == (deep // 256).tolist()
    assert measure(encoded).brightness == (deep // 256).mean()


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [[10, 80], [160, 240]]),
        (2, [[80, 10], [240, 160]]),
        (3, [[240, 160], [80, 10]]),
        (4, [[160, 240], [10, 80]]),
        (5, [[10, 160], [80, 240]]),
        (6, [[160, 10], [240, 80]]),
        (7, [[240, 80], [160, 10]]),
        (8, [[80, 240], [10, 160]]),
    ],
)
def test_exif_orientation_is_applied(orientation: int, expected: list[list[int]]) -> None:
    assert to_pixels(turned(orientation), 16, "L", "stretch")[4::8, 4::8, 0].tolist() == expected


BAD = {
    "empty": b"",
    "text": b"not an image",
    "truncated": encode(Image.fromarray(gradient(64, 64)), "JPEG")[:400],
    "cut in its header": encode(Image.fromarray(gradient(64, 64)))[:20],
    "damaged": encode(Image.fromarray(gradient(64, 64))).replace(b"IDAT", b"IDAD"),
}


@pytest.mark.parametrize("encoded", BAD.values(), ids=BAD)
def test_a_damaged_image_gives_one_line(encoded: bytes) -> None:
    with pytest.raises(DataError, match=r"^[^\n]+$") as error:
        to_pixels(encoded, 8, "L", "stretch")
    assert measure(encoded).error == str(error.value)
    assert " at 0x" not in str(error.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_pixel_limit_is_checked_on_the_header(kind: str) -> None:
    encoded = encode(Image.fromarray(gradient(30, 30)), kind)
    assert measure(encoded, DecodeOptions(max_pixels=900)).fault is None
    measured = measure(encoded, DecodeOptions(max_pixels=899))
    assert (measured.fault, measured.format, measured.width) == (Fault.TOO_LARGE, kind, 30)
    with pytest.raises(DataError, match="899"):
        to_pixels(encoded, 4, "L", "stretch", DecodeOptions(max_pixels=899))


def test_an_image_of_the_target_size_is_unchanged() -> None:
    image = gradient(8, 8)
    for resize in ("stretch", "center-crop", "letterbox"):
        assert (to_pixels(gray(image.tolist()), 8, "L", resize)[:, :, 0] == image).all()


def test_stretch_ignores_the_aspect() -> None:
    wide = np.repeat(np.array([[0, 100, 200, 250]], dtype=np.uint8), 4, axis=0).repeat(4, axis=1)
    pixels = to_pixels(gray(wide.tolist()), 4, "L", "stretch")[:, :, 0]
    assert (pixels == pixels[0]).all()
    assert np.diff(pixels[0].astype(int)).min() > 0
    assert pixels[0, 0] < 20
    assert pixels[0, -1] > 230


def test_center_crop_cuts_the_longer_side() -> None:
    wide = np.array([[255] * 4 + [10] * 8 + [255] * 4] * 8)
    assert to_pixels(gray(wide.tolist()), 8, "L", "center-crop").max() == 10


def test_letterbox_pads_the_shorter_side_with_black() -> None:
    wide = np.full((4, 8), 200)
    pixels = to_pixels(gray(wide.tolist()), 8, "L", "letterbox")[:, :, 0]
    assert pixels[:, 0].tolist() == [0, 0, 200, 200, 200, 200, 0, 0]


def test_small_images_are_enlarged() -> None:
    assert (to_pixels(gray([[7]]), 4, "RGB", "stretch") == 7).all()


def opened(encoded: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(encoded))
    assert image.format == "PNG"
    return image


def test_measurements_keep_the_order() -> None:
    found = measure_images(b"" if n % 7 else gray([[n]]) for n in range(256))
    assert [m.brightness for m in found] == [None if n % 7 else n for n in range(256)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((8, 8), (8, 8)), ((64, 64), (64, 64)), ((128, 64), (64, 32)), ((9000, 1), (64, 1))],
)
def test_thumbnails_are_never_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert opened(thumbnail(encode(Image.new("L", size)), 64)).size == expected


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "YCbCr"])
def test_thumbnails_of_every_mode_are_gray_or_color(mode: str) -> None:
    source = encode(Image.new("L", (4, 4)).convert(mode), "TIFF")
    assert opened(thumbnail(source, 64)).mode in {"L", "RGB"}


def test_thumbnails_are_upright_and_have_no_profile() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = encode(Image.new("RGB", (8, 4)), "PNG", exif=exif, icc_profile=bytes(50_000))
    found = thumbnail(turned, 64)
    assert opened(found).size == (4, 8)
    assert len(found) < 200


def test_a_thumbnail_of_another_file_is_an_error() -> None:
    with pytest.raises(DataError):
        thumbnail(b"text", 64)
