"""Open HEIC images by pillow-heif, the package of the extra ``heic``."""

import io

from PIL import Image
from pillow_heif import HeifImageFile, options

# Images are decoded in one thread per core already.
options.DECODE_THREADS = 1


def open_heic(encoded: bytes) -> Image.Image:
    """Open the primary image of a HEIC file; its pixels are decoded later.

    libheif turns the image upright by the properties ``irot`` and ``imir``. HEIF's rule is that these count and the EXIF
    orientation does not (ISO/IEC 23008-12, A.2.2), so that pillow-heif sets the EXIF orientation to 1.

    Returns:
        An image of mode ``L``, ``RGB``, ``RGBA`` or, for gray samples of more than 8 bits, ``I;16``, scaled to 16 bits.

    Raises:
        SyntaxError: The header is damaged.
    """
    return HeifImageFile(io.BytesIO(encoded))  # type: ignore[no-untyped-call]
