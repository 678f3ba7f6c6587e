"""Decoding: each format, color mode and orientation against a slow reference, and hundreds of damaged files."""

import hashlib
import io
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from image_samples import SAMPLES, encode, photo, with_alpha
from visiongate.errors import DataError
from visiongate.images import jpeg
from visiongate.images.decoding import FORMATS, DecodeOptions, Fault
from visiongate.images.measurement import measure
from visiongate.images.preprocessing import thumbnail, to_pixels

# Pillow warns about damaged images.
pytestmark = pytest.mark.filterwarnings("ignore")

ORIENTATION = 0x0112
RESIZES = ["stretch", "center-crop", "letterbox"]
# Limit for one image on a busy machine.
MAX_SECONDS = 2.0


def reference(encoded: bytes, mode: str) -> Image.Image:
    """Decode with Pillow alone, apply the orientation, keep the high byte of 16 bits, and blend with white."""
    image = Image.open(io.BytesIO(encoded))
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) // 256).astype(np.uint8)).convert(mode)
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA")).astype(float)
        alpha = pixels[:, :, 3:] / 255
        image = Image.fromarray((pixels[:, :, :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8))
    return image.convert("RGB").convert(mode)


def resized(image: Image.Image, size: int, resize: str) -> npt.NDArray[np.float64]:
    target, method = (size, size), Image.Resampling.BILINEAR
    rules = {
        "stretch": lambda: image.resize(target, method),
        "center-crop": lambda: ImageOps.fit(image, target, method),
        "letterbox": lambda: ImageOps.pad(image, target, method),
    }
    return np.asarray(rules[resize]()).reshape(size, size, -1).astype(float)


@pytest.mark.parametrize("name", SAMPLES)
def test_pixels_match_the_reference(name: str) -> None:
    limit = 2.2 if name.endswith(" 1") else 1.6
    for mode in ("L", "RGB"):
        expected = reference(SAMPLES[name], mode)
        for resize in RESIZES:
            for size in (16, 50, 150):
                pixels = to_pixels(SAMPLES[name], size, mode, resize)
                assert pixels.shape == (size, size, len(mode))
                difference = np.abs(pixels - resized(expected, size, resize))
                assert difference.mean() < limit, (mode, resize, size)


@pytest.mark.parametrize("name", [name for name in SAMPLES if "jpeg" not in name and "mpo" not in name])
def test_unscaled_pixels_equal_the_reference(name: str) -> None:
    encoded = SAMPLES[name]
    width, height = Image.open(io.BytesIO(encoded)).size
    boxed = to_pixels(encoded, width, "RGB", "letterbox")
    top = round((width - height) * 0.5)
    assert np.abs(boxed[top : top + height].astype(int) - np.asarray(reference(encoded, "RGB"))).max() <= 1


@pytest.mark.parametrize("name", SAMPLES)
def test_measurements_match_the_reference(name: str) -> None:
    found = measure(SAMPLES[name])
    assert (found.fault, found.error, found.animated) == (None, None, False)
    image = Image.open(io.BytesIO(SAMPLES[name]))
    assert (found.format, found.width, found.height, found.mode) == (image.format, 131, 97, image.mode)
    gray = reference(SAMPLES[name], "L")
    assert found.brightness == pytest.approx(np.asarray(gray).mean(), abs=1)
    assert found.contrast == pytest.approx(np.asarray(gray).std(), abs=2)
    assert found.sketch is not None
    sketch = np.frombuffer(found.sketch, np.uint8).reshape(32, 32)
    expected = np.asarray(gray.resize((32, 32), Image.Resampling.LANCZOS))
    assert np.abs(sketch.astype(int) - expected).mean() < 2
    assert Image.open(io.BytesIO(thumbnail(SAMPLES[name], 64))).size == (64, 47)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_with_each_resize_rule(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    encoded = encode(photo(300, 170), kind, exif=exif)
    upright = reference(encoded, "RGB")
    for resize in RESIZES:
        for size in (20, 77):
            difference = np.abs(to_pixels(encoded, size, "RGB", resize) - resized(upright, size, resize))
            assert difference.mean() < 1.6, (resize, size)
    sketch = np.frombuffer(measure(encoded).sketch or b"", np.uint8).reshape(32, 32)
    expected = np.asarray(upright.convert("L").resize((32, 32), Image.Resampling.LANCZOS))
    assert np.abs(sketch.astype(int) - expected).mean() < 2
    with Image.open(io.BytesIO(thumbnail(encoded, 50))) as small:
        assert small.size == ((50, 28) if orientation < 5 else (28, 50))


@pytest.mark.parametrize(
    ("width", "height"), [(2000, 1500), (1500, 2000), (900, 31), (31, 900), (1, 1), (2000, 9)]
)
@pytest.mark.parametrize("resize", RESIZES)
def test_scaled_decoding_matches_the_reference(width: int, height: int, resize: str) -> None:
    encoded = encode(photo(width, height), "JPEG", quality=90)
    expected = reference(encoded, "RGB")
    for size in (8, 63, 224):
        if resize == "letterbox" and min(width, height) * size < max(width, height):
            # The reference would have no pixel left.
            continue
        difference = np.abs(to_pixels(encoded, size, "RGB", resize) - resized(expected, size, resize))
        assert difference.mean() < 1.5, size


@pytest.mark.parametrize(
    ("size", "least", "eighths"),
    [
        *(((800, 600), (75, 75), 1), ((800, 600), (76, 76), 2), ((800, 600), (375, 375), 5)),
        *(((800, 600), (376, 376), 8), ((30, 4000), (8, 8), 3), ((800, 600), (224, 168), 3)),
        *(((7, 7), (7, 7), 8), ((10, 10), (900, 900), 8)),
    ],
)
def test_the_smallest_sufficient_scale_is_chosen(
    size: tuple[int, int], least: tuple[int, int], eighths: int
) -> None:
    assert jpeg.choose_scale(size, least) == eighths


def test_a_letterboxed_side_has_at_least_one_pixel() -> None:
    assert to_pixels(encode(Image.new("L", (900, 1), 200), "PNG"), 8, "L", "letterbox").max() == 200


def png_of(color: int, bits: int, rows: bytes, transparent: bytes) -> bytes:
    """Return a PNG of 2 × 1 pixels. Pillow cannot write 16-bit colors."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 2, 1, bits, color, 0, 0, 0), b"tRNS": transparent}
    chunks |= {b"IDAT": zlib.compress(b"\0" + rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


def test_a_transparent_color_of_sixteen_bits_becomes_white() -> None:
    gray = png_of(0, 16, struct.pack(">2H", 0x1234, 0x5678), struct.pack(">H", 0x1234))
    assert np.asarray(to_pixels(gray, 4, "L", "stretch"))[0, [0, 3], 0].tolist() == [255, 0x56]
    colors = struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0x1000, 0x2000, 0x3000)
    color = png_of(2, 16, colors, struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))
    pixels = to_pixels(color, 4, "RGB", "stretch")
    assert pixels[0, [0, 3]].tolist() == [[255, 255, 255], [0x10, 0x20, 0x30]]


def test_a_large_transparent_image_is_blended_with_white() -> None:
    image = with_alpha(photo(1500, 1400))
    encoded = encode(image, "PNG", compress_level=1)
    expected = reference(encoded, "RGB")
    assert np.abs(to_pixels(encoded, 1024, "RGB", "stretch") - resized(expected, 1024, "stretch")).max() <= 2


DAMAGED = [
    *(
        "png RGB",
        "png P",
        "jpeg RGB",
        "jpeg RGB, progressive",
        "jpeg CMYK",
        "bmp RGB",
        "bmp P",
        "gif",
        "tiff RGB",
    ),
    *(
        "tiff tiff_lzw",
        "tiff jpeg",
        "tiff packbits",
        "webp",
        "webp, lossless, alpha",
        "avif",
        "ppm RGB",
        "mpo",
    ),
]


def check_consistency(encoded: bytes) -> Fault | None:
    """Measure and decode an image in limited time, compare the results, and return the fault."""
    started = time.perf_counter()
    found = measure(encoded)
    assert (found.fault is None) == (found.error is None) == (found.sketch is not None)
    if found.fault is None:
        assert found.brightness is not None
        assert found.contrast is not None
        assert to_pixels(encoded, 8, "RGB", "center-crop").shape == (8, 8, 3)
        assert thumbnail(encoded, 8)
    else:
        assert found.error is not None
        assert "\n" not in found.error
        assert " 0x" not in found.error
        with pytest.raises(DataError) as refusal:
            to_pixels(encoded, 8, "RGB", "letterbox")
        assert str(refusal.value) == found.error
    assert time.perf_counter() - started < MAX_SECONDS
    return found.fault


@pytest.mark.parametrize("name", DAMAGED)
def test_a_truncated_file_is_refused_or_complete(name: str) -> None:
    whole = SAMPLES[name]
    pixels = to_pixels(whole, 97, "RGB", "stretch")
    for length in np.unique(np.linspace(20, len(whole) - 1, 25).astype(int)).tolist():
        cut = whole[:length]
        fault = check_consistency(cut)
        if fault is None:
            assert (to_pixels(cut, 97, "RGB", "stretch") == pixels).all(), length
        else:
            assert fault in {Fault.TRUNCATED, Fault.UNDECODABLE}, (length, measure(cut).error)


@pytest.mark.parametrize("name", ["jpeg RGB", "jpeg L", "jpeg RGB, progressive", "jpeg 4:4:4"])
def test_a_truncated_jpeg_with_an_end_marker_is_refused(name: str) -> None:
    whole = SAMPLES[name]
    for share in (0.5, 0.8, 0.95):
        assert check_consistency(whole[: int(len(whole) * share)] + b"\xff\xd9") is Fault.TRUNCATED


@pytest.mark.parametrize("name", DAMAGED)
def test_altered_bytes_give_consistent_results(name: str) -> None:
    draw = np.random.default_rng(2)
    whole = SAMPLES[name]
    for count in range(25):
        damaged = bytearray(whole)
        reach = len(whole) if count % 2 else min(len(whole), 200)
        for position in draw.integers(0, reach, size=1 + count % 4):
            damaged[position] = draw.integers(0, 256)
        check_consistency(bytes(damaged))


def test_noise_after_a_signature_is_refused() -> None:
    draw = np.random.default_rng(3)
    for name in DAMAGED:
        for length in (0, 30, 3000):
            encoded = SAMPLES[name][:12] + draw.bytes(length)
            if not name.startswith("ppm"):
                assert check_consistency(encoded) in {Fault.UNDECODABLE, Fault.TRUNCATED, Fault.TOO_LARGE}


def test_formats_that_run_programs_or_refer_to_files_are_refused() -> None:
    texts = {
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "pdf": encode(photo(9, 9), "PDF"),
        "ico": encode(photo(32, 32), "ICO"),
        "tga": encode(photo(9, 9), "TGA"),
        "html": b"<html><img src='http://127.0.0.1/x.png'></html>",
        "wmf": b"\xd7\xcd\xc6\x9a\x00\x00" + bytes(200),
    }
    for encoded in texts.values():
        assert check_consistency(encoded) is Fault.UNSUPPORTED_FORMAT
    assert len(FORMATS) == 8


REFUSED_MODES = {
    "LAB": Image.new("LAB", (9, 9)),
    "F": Image.fromarray(np.ones((9, 9), np.float32)),
    "I": Image.fromarray(np.full((9, 9), 2**16, np.int32)),
}


@pytest.mark.parametrize("mode", [*REFUSED_MODES, "negative"])
def test_unsupported_modes_are_refused(mode: str) -> None:
    image = REFUSED_MODES.get(mode, Image.fromarray(np.full((9, 9), -1, np.int32)))
    encoded = encode(image, "TIFF")
    assert check_consistency(encoded) is Fault.UNSUPPORTED_MODE
    found = measure(encoded)
    assert (found.format, found.width, found.mode) == ("TIFF", 9, image.mode)


ANIMATED = ["GIF", "PNG", "WEBP", "AVIF"]


@pytest.mark.parametrize("kind", ANIMATED)
def test_an_animation_is_reported_and_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (40, 40), shade) for shade in ("#323232", "#c8c8c8", "#646464")]
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(kind, {})
    encoded = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert measure(encoded).animated
    assert check_consistency(encoded) is None
    assert to_pixels(encoded, 8, "L", "stretch").max() == pytest.approx(50, abs=1)


def test_only_two_frames_of_an_animation_are_read() -> None:
    shades = [Image.new("L", (300, 300), shade) for shade in (50, 100, 150)]
    encoded = encode(shades[0], "GIF", save_all=True, append_images=shades[1:] * 150, duration=10)
    started = time.perf_counter()
    assert measure(encoded).animated
    assert time.perf_counter() - started < 0.1


def test_a_jpeg_of_hundreds_of_scans_is_refused() -> None:
    whole = SAMPLES["jpeg RGB, progressive"]
    last = whole.rindex(b"\xff\xda")
    bomb = whole[:-2] + whole[last:-2] * 500 + b"\xff\xd9"
    assert check_consistency(bomb) is Fault.UNDECODABLE
    assert "scans" in (measure(bomb).error or "")
    assert (measure(bomb).width, measure(bomb).format) == (131, "JPEG")
    many = encode(photo(64, 64).convert("CMYK"), "JPEG", progressive=True)
    last = many.rindex(b"\xff\xda")
    assert check_consistency(many[:-2] + many[last:-2] * 500 + b"\xff\xd9") is Fault.UNDECODABLE


def test_the_pixel_limit_needs_the_header_alone() -> None:
    for name in ("png RGB", "jpeg RGB", "jpeg CMYK", "bmp RGB", "gif", "tiff RGB", "webp", "ppm RGB"):
        started = time.perf_counter()
        found = measure(SAMPLES[name], DecodeOptions(max_pixels=131 * 97 - 1))
        assert (found.fault, found.width, found.height) == (Fault.TOO_LARGE, 131, 97)
        assert time.perf_counter() - started < MAX_SECONDS


def test_a_decompression_bomb_is_refused() -> None:
    header = SAMPLES["png RGB"]
    huge = header[:16] + (30_000).to_bytes(4, "big") * 2 + header[24:29]
    huge += zlib.crc32(huge[12:29]).to_bytes(4, "big") + header[33:]
    assert measure(huge).fault is Fault.TOO_LARGE


@pytest.mark.parametrize("place", [b"IDAT", b"IEND"])
def test_a_huge_text_or_profile_is_ignored(place: bytes) -> None:
    plain = encode(photo(9, 9), "PNG")
    start = plain.index(place) - 4
    for name, prefix in ((b"zTXt", b"bomb\0\0"), (b"iCCP", b"profile\0\0")):
        data = prefix + zlib.compress(bytes(5_000_000))
        chunk = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        bomb = plain[:start] + chunk + plain[start:]
        assert check_consistency(bomb) is None
        assert measure(bomb) == measure(plain)


def test_a_damaged_exif_block_is_ignored() -> None:
    draw = np.random.default_rng(4)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    block = exif.tobytes()
    for kind in ("JPEG", "PNG", "WEBP"):
        for _ in range(30):
            damaged = bytearray(block)
            for position in draw.integers(6, len(damaged), size=3):
                damaged[position] = draw.integers(0, 256)
            encoded = encode(photo(40, 20), kind, exif=bytes(damaged[: draw.integers(6, len(damaged) + 1)]))
            assert check_consistency(encoded) is None


def test_an_orientation_in_xmp_is_applied() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    encoded = encode(photo(120, 60), "JPEG", xmp=xmp)
    expected = resized(reference(encoded, "RGB"), 30, "letterbox")
    assert np.abs(to_pixels(encoded, 30, "RGB", "letterbox") - expected).mean() < 1.6
    assert expected[:, 0].max() == 0


DIGEST = """
import hashlib, sys
sys.path[:0] = {paths}
from test_decoding_formats import digest
print(digest())
"""


def digest() -> str:
    """Hash the pixels and measurements of all samples."""
    found = hashlib.sha256()
    for encoded in SAMPLES.values():
        for resize in RESIZES:
            found.update(to_pixels(encoded, 33, "RGB", resize).tobytes())
        found.update(repr(measure(encoded)).encode())
    return found.hexdigest()


def test_pixels_are_reproducible() -> None:
    script = DIGEST.format(paths=[path for path in sys.path if path])
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == digest()
