"""Decoding: every kind of image becomes the same kind of pixels, and a bad one a reason."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, features

from visiongate.errors import DataError
from visiongate.images.decoding import Fault
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
    """16×16: each quarter of another brightness, so that a turn shows."""
    quarters = np.array([[10, 80], [160, 240]], dtype=np.uint8)
    return Image.fromarray(np.kron(quarters, np.ones((8, 8), dtype=np.uint8)))


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(corners(), exif=exif)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize(("target", "channels"), [("L", 1), ("RGB", 3)])
def test_every_mode_becomes_the_one_asked_for(mode: str, target: str, channels: int) -> None:
    white = encode(Image.new("RGB", (5, 3), "white").convert(mode))
    pixels = to_pixels(white, 4, target, "stretch")
    assert pixels.dtype == np.uint8
    assert pixels.shape == (4, 4, channels)
    assert (pixels >= 254).all()


def test_colors_keep_their_channels() -> None:
    for mode in ("RGB", "CMYK"):
        orange = encode(Image.new("RGB", (4, 4), (200, 100, 50)).convert(mode), "TIFF")
        assert to_pixels(orange, 4, "RGB", "stretch")[0, 0].tolist() == [200, 100, 50]
        assert to_pixels(orange, 4, "L", "stretch")[0, 0].tolist() == [
            124
        ]  # ITU-R 601: .299 R + .587 G + .114 B


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    deep = np.array([[0, 255, 256, 32768], [40000, 50000, 60000, 65535]] * 2, dtype=np.uint16)
    encoded = encode(Image.fromarray(deep), kind)
    assert to_pixels(encoded, 4, "L", "stretch")[:, :, 0].tolist() == (deep // 256).tolist()
    assert measure(encoded).brightness == (deep // 256).mean()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_known_by_its_bytes(kind: str) -> None:
    image = Image.fromarray(gradient(20, 10))
    encoded = encode(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    found = measure(encoded)
    assert (found.format, found.width, found.height, found.error) == (kind, 20, 10, None)
    assert found.brightness == pytest.approx(gradient(20, 10).mean(), abs=1)
    assert found.contrast == pytest.approx(gradient(20, 10).std(), abs=1)


def test_an_animation_counts_as_its_first_image() -> None:
    frames = [Image.new("L", (4, 4), shade) for shade in (50, 200)]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert to_pixels(encoded, 4, "L", "stretch").max() == 50


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
def test_an_image_is_turned_as_its_exif_says(orientation: int, expected: list[list[int]]) -> None:
    assert to_pixels(turned(orientation), 16, "L", "stretch")[4::8, 4::8, 0].tolist() == expected


def test_damaged_exif_costs_the_turn_not_the_image() -> None:
    encoded = encode(corners(), exif=b"Exif\x00\x00no such thing")
    assert measure(encoded).error is None
    assert (to_pixels(encoded, 16, "L", "stretch")[:, :, 0] == np.asarray(corners())).all()


BAD = {
    "empty": b"",
    "text": b"this is no image",
    "truncated": encode(Image.fromarray(gradient(64, 64)), "JPEG")[:400],
    "cut in its header": encode(Image.fromarray(gradient(64, 64)))[:20],
    "damaged": encode(Image.fromarray(gradient(64, 64))).replace(b"IDAT", b"IDAD"),
}


@pytest.mark.parametrize("encoded", BAD.values(), ids=BAD)
def test_a_bad_image_gives_a_reason_in_one_line(encoded: bytes) -> None:
    with pytest.raises(DataError, match=r"^[^\n]+$") as error:
        to_pixels(encoded, 8, "L", "stretch")
    assert measure(encoded).error == str(error.value)
    assert " at 0x" not in str(error.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_pixel_limit_is_checked_on_the_header(kind: str) -> None:
    encoded = encode(Image.fromarray(gradient(30, 30)), kind)
    assert measure(encoded, 900).fault is None
    measured = measure(encoded, 899)
    assert (measured.fault, measured.format, measured.width) == (Fault.TOO_LARGE, kind, 30)
    with pytest.raises(DataError, match="899"):
        to_pixels(encoded, 4, "L", "stretch", 899)


def test_damaged_bytes_of_any_kind_never_raise_anything_else() -> None:
    draw = np.random.default_rng(0)
    whole = [encode(corners(), kind) for kind in FORMATS] + [turned(6)]
    for index in range(400):
        damaged = bytearray(whole[index % len(whole)])
        for position in draw.integers(0, min(len(damaged), 80), size=3):
            damaged[position] = draw.integers(0, 256)
        if measure(bytes(damaged)).error is None:
            assert to_pixels(bytes(damaged), 4, "L", "stretch").shape == (4, 4, 1)


def test_an_image_of_the_right_size_is_left_alone() -> None:
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


def test_an_image_is_enlarged_as_well() -> None:
    assert (to_pixels(gray([[7]]), 4, "RGB", "stretch") == 7).all()


@pytest.mark.parametrize("resize", ["stretch", "center-crop", "letterbox"])
def test_decoding_twice_gives_the_same_pixels(resize: str) -> None:
    photo = encode(Image.fromarray(gradient(333, 211)), "JPEG")
    assert (to_pixels(photo, 24, "RGB", resize) == to_pixels(photo, 24, "RGB", resize)).all()


def opened(encoded: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(encoded))
    assert image.format == "PNG"
    return image


def test_measurements_keep_the_order_over_several_batches() -> None:
    found = measure_images(b"" if n % 7 else gray([[n]]) for n in range(256))
    assert [m.brightness for m in found] == [None if n % 7 else n for n in range(256)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((8, 8), (8, 8)), ((64, 64), (64, 64)), ((128, 64), (64, 32)), ((9000, 1), (64, 1))],
)
def test_thumbnails_shrink_and_never_grow(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert opened(thumbnail(encode(Image.new("L", size)), 64)).size == expected


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "YCbCr"])
def test_thumbnails_of_every_mode_are_gray_or_color(mode: str) -> None:
    source = encode(Image.new("L", (4, 4)).convert(mode), "TIFF")
    assert opened(thumbnail(source, 64)).mode in {"L", "RGB"}


def test_sixteen_bits_keep_their_shades() -> None:
    ramp = Image.fromarray(np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16))
    pixels = np.asarray(opened(thumbnail(encode(ramp), 64)))
    assert pixels.flatten().tolist() == (np.linspace(0, 65535, 64).astype(np.uint16) >> 8).tolist()


def test_thumbnails_stand_upright_and_carry_no_profile() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = encode(Image.new("RGB", (8, 4)), "PNG", exif=exif, icc_profile=bytes(50_000))
    found = thumbnail(turned, 64)
    assert opened(found).size == (4, 8)
    assert len(found) < 200


def test_a_damaged_exif_block_does_not_hide_the_pixels() -> None:
    exif = b"Exif\x00\x00no such thing"
    assert opened(thumbnail(encode(Image.new("L", (8, 4)), "JPEG", exif=exif), 64)).size == (8, 4)


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("L", (8, 8), level) for level in (200, 0)]
    found = opened(thumbnail(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), 64))
    assert np.asarray(found).min() == 200


def test_no_image_has_no_thumbnail() -> None:
    with pytest.raises(DataError):
        thumbnail(b"text", 64)
