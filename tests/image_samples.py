"""Image files of all formats that need no further package, in odd color modes, with smooth colors."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image


def photo(width: int, height: int) -> Image.Image:
    """Return smooth colors with some noise; the corners differ."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    channels = [np.sin(3 * x + 5 * y), np.cos(4 * y - 2 * x), x * y - 0.5]
    grain = np.random.default_rng(1).normal(scale=6, size=(height, width, 3))
    return Image.fromarray(np.clip(np.stack(channels, -1) * 100 + 128 + grain, 0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_alpha(image: Image.Image) -> Image.Image:
    ramp = np.linspace(0, 255, image.width * image.height).reshape(image.height, image.width)
    image = image.convert("RGBA")
    image.putalpha(Image.fromarray(ramp.astype(np.uint8)))
    return image


def deep(image: Image.Image) -> npt.NDArray[np.uint16]:
    return np.asarray(image.convert("L")).astype(np.uint16) * 256 + 77


def pgm(levels: npt.NDArray[np.uint16]) -> bytes:
    return b"P5 %d %d 65535\n" % levels.shape[::-1] + levels.astype(">u2").tobytes()


def ycck(image: Image.Image) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image.convert("CMYK")), colorspace="CMYK")


def samples() -> Iterator[tuple[str, bytes]]:
    """Yield images that decode, with names. Their sides are prime."""
    image = photo(131, 97)
    palette = image.quantize(64)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"png {mode}", encode(with_alpha(image).convert(mode), "PNG")
    yield "png I;16", encode(Image.fromarray(deep(image)), "PNG")
    yield "png P, one transparent", encode(palette, "PNG", transparency=3)
    yield "png P, each its alpha", encode(palette, "PNG", transparency=bytes(range(0, 256, 4)))
    yield "png L, one transparent", encode(image.convert("L"), "PNG", transparency=128)
    yield (
        "png RGB, one transparent",
        encode(palette.convert("RGB"), "PNG", transparency=palette.convert("RGB").getpixel((9, 9))),
    )
    for mode in ("L", "RGB", "CMYK"):
        yield f"jpeg {mode}", encode(image.convert(mode), "JPEG", quality=90)
        yield f"jpeg {mode}, progressive", encode(image.convert(mode), "JPEG", progressive=True)
    for name, sampling in (("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)):
        yield f"jpeg {name}", encode(image, "JPEG", subsampling=sampling)
    yield "jpeg kept as RGB", encode(image, "JPEG", keep_rgb=True)
    yield "jpeg YCCK", ycck(image)
    yield (
        "jpeg with bytes between its segments",
        encode(image, "JPEG").replace(b"\xff\xdb", b"abc\xff\xdb", 1),
    )
    yield "jpeg with bytes after its end", encode(image, "JPEG") + b"trailing"
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"bmp {mode}", encode(with_alpha(image).convert(mode), "BMP")
    yield "gif", encode(palette, "GIF")
    yield "gif, one transparent", encode(palette, "GIF", transparency=3)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"):
        yield f"tiff {mode}", encode(with_alpha(image).convert("RGB").convert(mode), "TIFF")
    for compression in ("packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"):
        yield f"tiff {compression}", encode(image, "TIFF", compression=compression)
    yield "tiff I;16", encode(Image.fromarray(deep(image)), "TIFF")
    yield "tiff I of 16 bits", encode(Image.fromarray(deep(image).astype(np.int32)), "TIFF")
    yield "webp", encode(image, "WEBP")
    yield "webp, lossless, alpha", encode(with_alpha(image), "WEBP", lossless=True)
    yield "avif", encode(image, "AVIF")
    yield "avif, alpha", encode(with_alpha(image), "AVIF", quality=100)
    for mode in ("1", "L", "RGB"):
        yield f"ppm {mode}", encode(image.convert(mode), "PPM")
    yield "pgm of 16 bits", pgm(deep(image))
    yield "mpo", encode(image, "MPO", save_all=True, append_images=[photo(131, 97).rotate(180)])


SAMPLES = dict(samples())
