"""``transform.json``: the preprocessing of an image, and the classes of a prediction."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from visiongate.records.files import write_json
from visiongate.records.json_record import parse_record, read_record

TRANSFORM_FILE = "transform.json"


@dataclass(frozen=True, slots=True)
class Transform:
    """The content of ``transform.json``.

    Attributes:
        size: Height and width of the network's input, in pixels.
        mode: ``L`` or ``RGB``.
        resize: Resize rule: ``stretch``, ``center-crop`` or ``letterbox``.
        mean: Mean of each channel over the training images, pixels scaled to 0..1.
        std: Standard deviation of each channel, in the same scale.
        classes: Class names in the order of the model's outputs.
        protocol: How the images judge a model: by a test split, or by cross-validation.
        folds: Number of folds; None without cross-validation.
        depth: Bits of the range of 16-bit samples, as in `records.conversion`.
        background: Color behind transparent areas, as in `records.conversion`.
        window: Center and width of the values of DICOM images, as in `records.conversion`.
    """

    size: int
    mode: str
    resize: str
    mean: list[float]
    std: list[float]
    classes: list[str]
    protocol: Literal["holdout", "cross_validation"] = "holdout"
    folds: int | None = None
    depth: int = 16
    background: str = "white"
    window: tuple[float, float] | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.size, self.size, len(self.mode)


def write_transform(directory: Path, transform: Transform) -> None:
    """Write ``transform.json`` beside the pixel arrays."""
    write_json(directory / TRANSFORM_FILE, asdict(transform))


def read_transform(directory: Path) -> Transform:
    """Read ``transform.json`` beside the pixel arrays.

    Raises:
        DataError: The file is missing or invalid.
    """
    return read_record(directory / TRANSFORM_FILE, Transform)


def parse_transform(content: bytes, source: str = TRANSFORM_FILE) -> Transform:
    """Parse the content of a ``transform.json``, such as that of another revision.

    Raises:
        DataError: The content is invalid.
    """
    return parse_record(content, Transform, source)
