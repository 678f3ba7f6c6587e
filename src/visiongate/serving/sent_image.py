"""The image file that a client sent, and what describes it."""

import hashlib
from dataclasses import dataclass

from visiongate.images.decoding import StoredImage
from visiongate.images.exposure import measure_exposure
from visiongate.images.pixels import Pixels
from visiongate.monitoring.entries import ImageFacts


@dataclass(slots=True)
class SentImage:
    """An image file.

    Attributes:
        encoded: Its bytes.
        facts: What the prediction log records; None until the image is decoded, and without a log.
    """

    encoded: bytes
    facts: ImageFacts | None = None

    def describe(self, pixels: Pixels, stored: StoredImage) -> None:
        """Note the `facts`, in the thread that has decoded the image.

        Args:
            pixels: The model's input.
            stored: The header of the file.
        """
        brightness, contrast = measure_exposure(pixels)
        self.facts = ImageFacts(
            sha256=hashlib.sha256(self.encoded).hexdigest(),
            bytes=len(self.encoded),
            width=stored.width or 0,
            height=stored.height or 0,
            format=stored.format or "",
            mode=stored.mode or "",
            brightness=brightness,
            contrast=contrast,
        )
