"""What a file is that is not an image, from its bytes."""

import io
import zipfile

import pytest
from PIL import Image

from visiongate.images.contents import BY_LINE, identify
from visiongate.images.decoding import DecodeOptions, Fault
from visiongate.images.measurement import measure

# Pillow warns about damaged images.
pytestmark = pytest.mark.filterwarnings("ignore")


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("a.png", b"x")
    return buffer.getvalue()


def saved(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32)).save(buffer, kind)
    return buffer.getvalue()


WITHOUT_EXTRAS = DecodeOptions(extras=frozenset())
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FILES = {
    "empty file": b"",
    "file of zeros": bytes(5000),
    "HTML page": b"\n<!DOCTYPE html>\n<html><body>404</body></html>",
    "Git LFS pointer": POINTER,
    "PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
    "JSON file": b'{"error": "not found"}',
    "XML file": b"<?xml version='1.0'?><annotation/>",
    "SVG drawing": b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "DICOM image": bytes(128) + b"DICM\x02\x00",
    "HEIC image": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "video": b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00",
    "JPEG 2000 image": saved("JPEG2000"),
    "Windows icon": saved("ICO"),
    "archive": archive(),
    "macOS resource file": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X",
    "NumPy array": b"\x93NUMPY\x01\x00",
    "text file": "Grüße\n".encode() * 300,
    "file of an unknown format": bytes(range(256)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_image_is_named_with_a_remedy(name: str) -> None:
    found = measure(FILES[name], WITHOUT_EXTRAS)
    assert found.fault == Fault.UNSUPPORTED_FORMAT
    assert found.error is not None
    assert found.error.startswith(f"{name}; ")
    assert BY_LINE[found.error].name == name
    assert "\n" not in found.error


def test_commands_mend_what_can_be_mended() -> None:
    assert "git lfs pull" in (measure(POINTER).error or "")
    assert "magick mogrify -format jpg" in (measure(FILES["HEIC image"], WITHOUT_EXTRAS).error or "")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF", "TIFF"])
def test_a_damaged_header_of_an_image_is_damage(kind: str) -> None:
    cut = saved(kind)[:14]
    assert identify(cut) is None
    assert measure(cut).fault in {Fault.UNDECODABLE, Fault.TRUNCATED}
