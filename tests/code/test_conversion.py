"""How 16-bit samples and transparent areas become 8-bit pixels, decided once for a data set."""

import io
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from visiongate.images.decoding import DecodeOptions
from visiongate.images.measurement import measure
from visiongate.images.preprocessing import thumbnail, to_pixels
from visiongate.images.survey import (
    Traits,
    choose_background,
    choose_conversion,
    choose_depth,
    count_traits,
    describe_conversion,
)
from visiongate.records.conversion import ChosenConversion, Conversion

# Pillow warns about damaged images.
pytestmark = pytest.mark.filterwarnings("ignore")

MAX_PIXELS = 10**6


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401 - Pillow's
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def deep(bits: int, kind: str = "PNG") -> bytes:
    """Return 8×8 gray samples of 16 bits, whose largest needs so many bits."""
    return encode(Image.fromarray(levels(bits)), kind)


def levels(bits: int) -> npt.NDArray[np.uint16]:
    return np.linspace(0, 2**bits - 1, 64).astype(np.uint16).reshape(8, 8)


def deep_color(samples: npt.NDArray[np.uint16], kind: str) -> bytes:
    """Return RGB samples of 16 bits, which Pillow cannot write: H×W×3."""
    height, width, _ = samples.shape
    if kind == "PNG":
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
        header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
        chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks.items()
        )
    # Width, height, compression, RGB, offset of the pixels, samples, rows, bytes; then the bits of each sample.
    tags = {256: width, 257: height, 259: 1, 262: 2, 273: 8, 277: 3, 278: height, 279: samples.nbytes}
    after = 8 + samples.nbytes
    entries = sorted([*((tag, 4, 1, value) for tag, value in tags.items()), (258, 3, 3, after)])
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    pixels = samples.astype("<u2").tobytes()
    return (
        struct.pack("<2sHI", b"II", 42, after + 6)
        + pixels
        + struct.pack("<3H", 16, 16, 16)
        + directory
        + bytes(4)
    )


def icon(ink: int, *, opacity: int = 255) -> bytes:
    """Return a square of one gray level on a transparent ground."""
    pixels = np.zeros((16, 16, 4), dtype=np.uint8)
    pixels[4:12, 4:12] = ink, ink, ink, opacity
    return encode(Image.fromarray(pixels, "RGBA"))


def choose(images: Sequence[bytes], depth: Any = "auto", background: str = "auto") -> ChosenConversion:  # noqa: ANN401
    return choose_conversion(lambda: count_traits(images, DecodeOptions()), depth, background)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_the_depth_is_that_of_the_brightest_image(kind: str, bits: int) -> None:
    chosen = choose([deep(bits, kind), deep(8, kind), encode(Image.new("L", (8, 8), 255))])
    assert chosen == ChosenConversion(Conversion(bits, "white"), deep=2)
    options = DecodeOptions(chosen.conversion)
    pixels = to_pixels(deep(bits, kind), 8, "L", "stretch", options)[:, :, 0]
    assert (pixels == levels(bits) >> (bits - 8)).all()
    assert (measure(deep(bits, kind), options).contrast or 0) > 70
    with Image.open(io.BytesIO(thumbnail(deep(bits, kind), 8, options))) as small:
        assert small.getextrema() == (0, 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_deep_colors_keep_the_bits_that_matter(kind: str) -> None:
    samples = np.random.default_rng(0).integers(0, 2**12, (8, 8, 3)).astype(np.uint16)
    encoded = deep_color(samples, kind)
    chosen = choose([encoded])
    assert (chosen.conversion.depth, chosen.deep) == (12, 1)
    pixels = to_pixels(encoded, 8, "RGB", "stretch", DecodeOptions(chosen.conversion))
    assert (pixels == samples >> 4).all()
    assert (to_pixels(encoded, 8, "RGB", "stretch") == samples >> 8).all()


def test_a_set_depth_is_taken_and_higher_levels_are_clipped() -> None:
    chosen = choose([deep(16)], depth=12)
    assert chosen == ChosenConversion(Conversion(12, "white"), deep=1, brighter=1)
    pixels = to_pixels(deep(16), 8, "L", "stretch", DecodeOptions(chosen.conversion))[:, :, 0]
    assert (pixels == np.minimum(levels(16), 4095) >> 4).all()


def test_one_odd_image_of_many_does_not_decide() -> None:
    assert choose_depth([12] * 99 + [16]) == 12
    assert choose_depth([12] * 98 + [16]) == 16
    assert choose_depth([]) == 16
    odd = (True, False, False)
    assert choose_background([(False, True, False)] * 99 + [odd]) == "white"
    assert choose_background([(False, False, False)] * 98 + [odd]) == "black"


@pytest.mark.parametrize(
    ("inks", "background"),
    [([0, 40], "white"), ([255, 250], "black"), ([0, 255], "gray"), ([120, 130], "white"), ([], "white")],
)
def test_the_background_is_one_on_which_all_are_visible(inks: list[int], background: str) -> None:
    images = [icon(ink) for ink in inks]
    chosen = choose([*images, encode(Image.new("RGBA", (8, 8), "white"))])
    assert chosen == ChosenConversion(Conversion(16, background), transparent=len(inks))
    for image in images:
        assert (measure(image, DecodeOptions(chosen.conversion)).contrast or 0) > 40


@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0), ("gray", 128)])
def test_transparent_areas_get_the_background(background: str, level: int) -> None:
    options = DecodeOptions(Conversion(background=background))
    single = encode(Image.fromarray(np.array([[7, 9] * 4] * 8, dtype=np.uint8)), transparency=9)
    assert to_pixels(single, 8, "RGB", "stretch", options)[0, :2].tolist() == [[7] * 3, [level] * 3]
    levels16 = encode(
        Image.fromarray(np.array([[7, 9] * 4] * 8, dtype=np.uint16) * 256), transparency=9 * 256
    )
    assert to_pixels(levels16, 8, "L", "stretch", options)[0, :2, 0].tolist() == [7, level]
    assert to_pixels(icon(60), 16, "L", "stretch", options)[[0, 8], 8, 0].tolist() == [level, 60]
    half = to_pixels(icon(60, opacity=128), 16, "L", "stretch", options)[8, 8, 0]
    assert half == pytest.approx(60 * 128 / 255 + level * 127 / 255, abs=1)


def test_fixed_settings_read_no_image() -> None:
    def find() -> Counter[Traits]:
        raise AssertionError("read")

    assert choose_conversion(find, 12, "gray") == ChosenConversion(Conversion(12, "gray"))


def test_damaged_and_excessive_images_do_not_decide() -> None:
    large = encode(Image.fromarray(np.full((2000, 2000), 999, dtype=np.uint16)))
    negative = encode(Image.fromarray(np.full((9, 9), -1, np.int32)), "TIFF")
    assert choose([large, negative, deep(12)[:60], b"", deep(10)]).conversion.depth == 10


def test_the_choice_is_described() -> None:
    assert describe_conversion(choose([encode(Image.new("L", (8, 8)))])) == []
    depth, background = describe_conversion(choose([deep(12), icon(255)]))
    assert "dataset.depth: 12 bits" in depth
    assert "dataset.background: black" in background


def pages(*images: Image.Image) -> bytes:
    return encode(images[0], "TIFF", save_all=True, append_images=images[1:])


def test_a_tiff_gives_the_first_of_its_largest_pages() -> None:
    small, picture, other = (Image.new("L", (side, side), side) for side in (16, 64, 64))
    other.paste(200, (0, 0, 64, 64))
    for stored in (pages(small, picture, other), pages(picture, small, other), pages(picture, other)):
        found = measure(stored)
        assert (found.fault, found.animated, found.width, found.brightness) == (None, False, 64, 64)
        assert (to_pixels(stored, 8, "L", "stretch") == 64).all()


def test_a_damaged_further_page_of_a_tiff_is_ignored() -> None:
    stored = bytearray(pages(Image.new("L", (64, 64), 9), Image.new("L", (16, 16))))
    start = int.from_bytes(stored[4:8], "little")
    entries = int.from_bytes(stored[start : start + 2], "little")
    stored[start + 2 + 12 * entries : start + 6 + 12 * entries] = (len(stored) + 999).to_bytes(4, "little")
    assert measure(bytes(stored)).brightness == 9
