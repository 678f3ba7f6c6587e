"""HEIC images by pillow-heif: rotation, depth, transparency and damage; and what is said without the package."""

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image, ImageOps

from visiongate.errors import SettingsError
from visiongate.images import extras
from visiongate.images.decoding import DecodeOptions, Fault
from visiongate.images.extensions import has_image_signature, is_misnamed
from visiongate.images.measurement import measure
from visiongate.images.preprocessing import thumbnail, to_pixels
from visiongate.records.conversion import Conversion

ORIENTATION = 0x0112
WITHOUT = DecodeOptions(extras=frozenset())


def picture() -> npt.NDArray[np.uint8]:
    """Return 40 × 60 pixels whose corners differ."""
    pixels = np.full((40, 60, 3), 90, np.uint8)
    pixels[:15, :20], pixels[25:, 40:] = 255, (200, 30, 30)
    return pixels


def heic(pixels: npt.NDArray[Any], mode: str = "RGB", **options: Any) -> bytes:  # noqa: ANN401 - pillow-heif's
    buffer = io.BytesIO()
    size = (pixels.shape[1], pixels.shape[0])
    pillow_heif.encode(mode, size, pixels.tobytes(), buffer, quality=-1, chroma=444, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_photograph_is_turned_once(orientation: int) -> None:
    encoded = heic(picture(), exif=exif(orientation))
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "PNG", exif=exif(orientation))
    upright = ImageOps.exif_transpose(Image.open(buffer))
    expected = to_pixels(buffer.getvalue(), 30, "RGB", "letterbox").astype(int)
    assert np.abs(to_pixels(encoded, 30, "RGB", "letterbox") - expected).max() <= 2
    found = measure(encoded)
    assert (found.format, found.mode, found.fault, found.animated) == ("HEIF", "RGB", None, False)
    assert (found.width, found.height) == upright.size
    with Image.open(io.BytesIO(thumbnail(encoded, 20))) as small:
        assert small.size == ((20, 13) if orientation < 5 else (13, 20))


def test_an_exif_orientation_without_rotation_does_not_count() -> None:
    """HEIF's own property is the one that counts; cameras repeat it as EXIF."""
    encoded = heic(picture(), exif=exif(1))
    plain = exif(1)
    assert encoded.count(plain[6:]) == 1
    turned = encoded.replace(plain[6:], exif(6)[6:])
    assert (to_pixels(turned, 40, "RGB", "stretch") == to_pixels(encoded, 40, "RGB", "stretch")).all()


def test_samples_of_ten_bits_keep_their_brightness() -> None:
    levels = np.random.default_rng(0).integers(0, 1024, (40, 60, 3)).astype(np.uint16)
    encoded = heic(levels * 64, "RGB;16")
    for depth in (10, 16):
        options = DecodeOptions(Conversion(depth=depth))
        wide = to_pixels(encoded, 60, "RGB", "letterbox", options)[10:50].astype(int)
        assert np.abs(wide - (levels >> 2)).max() <= 1
    gray = heic(levels[..., 0] * 64, "L;16")
    assert (
        np.abs(to_pixels(gray, 60, "L", "letterbox")[10:50, :, 0].astype(int) - (levels[..., 0] >> 2)).max()
        <= 1
    )


def test_transparent_areas_get_the_background() -> None:
    pixels = np.dstack([picture(), np.full((40, 60), 255, np.uint8)])
    pixels[:, :30, 3] = 0
    encoded = heic(pixels, "RGBA")
    assert measure(encoded).mode == "RGBA"
    black = DecodeOptions(Conversion(background="black"))
    assert to_pixels(encoded, 40, "RGB", "stretch")[:, :18].min() > 250
    assert to_pixels(encoded, 40, "RGB", "stretch", black)[:, :18].max() < 5


def test_the_primary_picture_represents_a_file_with_several() -> None:
    file = pillow_heif.from_pillow(Image.new("RGB", (40, 40), "red"))
    file.add_from_pillow(Image.new("RGB", (40, 40), "blue"))
    buffer = io.BytesIO()
    file.save(buffer, primary_index=1, quality=-1, chroma=444)
    assert not measure(buffer.getvalue()).animated
    assert to_pixels(buffer.getvalue(), 4, "RGB", "stretch")[0, 0, 2] > 250


def test_a_damaged_file_is_refused_and_limits_hold() -> None:
    whole = heic(np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    for length in (20, 100, len(whole) // 2, len(whole) - 9):
        assert measure(whole[:length]).fault in {Fault.TRUNCATED, Fault.UNDECODABLE}
    draw = np.random.default_rng(2)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[draw.integers(12, len(whole))] ^= 1 << draw.integers(0, 8)
        found = measure(bytes(damaged))
        assert "\n" not in (found.error or "")
    found = measure(whole, DecodeOptions(max_pixels=2399))
    assert (found.fault, found.width, found.height) == (Fault.TOO_LARGE, 60, 40)


def test_threads_give_the_same_pixels() -> None:
    draw = np.random.default_rng(3)
    images = [heic(draw.integers(0, 256, (64, 80, 3), dtype=np.uint8)) for _ in range(8)]
    alone = [to_pixels(image, 32, "RGB", "center-crop").tobytes() for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda image: to_pixels(image, 32, "RGB", "center-crop").tobytes(), images * 4)
        )
    assert together == alone * 4


def test_a_file_without_extension_or_with_a_wrong_one_is_recognized() -> None:
    encoded = heic(picture())
    assert has_image_signature(encoded)
    assert not is_misnamed("a.HEIC", "HEIF")
    assert is_misnamed("a.jpg", "HEIF")


def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = heic(picture())
    refused = measure(encoded, WITHOUT)
    assert refused.fault == Fault.UNSUPPORTED_FORMAT
    assert "pip install 'visiongate[heic]'" in (refused.error or "")
    assert "dataset.extras=[heic]" in (refused.error or "")
    monkeypatch.setitem(extras.MODULES, "heic", "no_such_module")
    assert measure(encoded) == refused
    with pytest.raises(SettingsError, match=r"pip install 'visiongate\[heic\]'"):
        extras.check_installed(["dicom", "heic"])


def test_the_packages_are_imported_by_the_first_image() -> None:
    script = (
        "import sys, visiongate.images.preprocessing; print({'pillow_heif', 'pydicom'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "set()"
