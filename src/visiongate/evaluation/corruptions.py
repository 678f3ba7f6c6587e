"""How much worse the model gets on worse pictures: the test images spoilt in five ways, each at five severities.

After Hendrycks, D., Dietterich, T. (2019), Benchmarking neural network robustness to common corruptions and perturbations,
ICLR. Their grades are made for one size of image; these are for any, and so the figures compare models here, not with the
published ones. Blur is near theirs at 224 pixels, and grows with the square root of the side: a small image has less to lose.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

from visiongate.images.pixels import Labels
from visiongate.models.predictor import Images, Predictor

SEVERITIES = (1, 2, 3, 4, 5)
# For each severity:
NOISE = (0.04, 0.08, 0.13, 0.2, 0.3)  # standard deviation, of the range of a pixel
BLUR = (
    0.08,
    0.13,
    0.2,
    0.28,
    0.4,
)  # standard deviation in pixels, over the square root of the shorter side, beyond
LEAST_BLUR = 0.2  # pixels, of which none is seen: the mildest grade of the smallest images must lie above it
CONTRAST = (0.6, 0.4, 0.25, 0.15, 0.08)  # what is left of it
QUALITY = (50, 25, 15, 8, 4)  # Pillow's, 1..95
SHIFT = (0.1, 0.15, 0.2, 0.25, 0.3)  # of the side

Corruption = Callable[[Images, int, np.random.Generator], Images]


@dataclass(frozen=True, slots=True)
class RobustnessRow:
    """The accuracy on images that are spoilt in one way; a point of a curve over severity."""

    corruption: str
    severity: int  # 0 for the images as they are
    accuracy: float


def corrupt(images: Images, corruption: str, severity: int, generator: np.random.Generator) -> Images:
    """Spoil a batch of images.

    A generator in the same state draws the same noise and the same directions at every severity, and for a batch the same as
    for its parts one after the other.

    Args:
        images: uint8, N×H×W×C, of 1 or 3 channels.
        corruption: A name in `CORRUPTIONS`.
        severity: 1..5.
        generator: Draws the noise, and the directions of a shift.

    Returns:
        New images of the same shape.

    Raises:
        ValueError: There is no such corruption or severity, or these are no such images.
    """
    if corruption not in CORRUPTIONS:
        raise ValueError(f"{corruption!r}: no such corruption; there are {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"{severity!r}: no such severity; there are 1 to {len(SEVERITIES)}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):  # noqa: PLR2004 - N×H×W×C
        raise ValueError(f"{images.dtype} {images.shape}: not uint8 images, N×H×W×C, of 1 or 3 channels")
    return CORRUPTIONS[corruption](images, severity, generator)


def measure_robustness(
    model: Predictor, images: Images, labels: Labels, seed: int, batch_size: int
) -> list[RobustnessRow]:
    """Measure the accuracy under every corruption, from severity 0, the images as they are, to 5.

    Args:
        model: The model to judge.
        images: uint8, N×H×W×C, as the model is given them.
        labels: N.
        seed: Of the noise and the directions.
        batch_size: Images spoilt and given to the model at a time; the result does not depend on it.

    Raises:
        ValueError: There is no image, or not a label for each, or an image is not as in `corrupt`.
    """
    if not len(images) == len(labels) > 0:
        raise ValueError(f"{len(images)} images and {len(labels)} labels: not as many, or none")
    clean = _accuracy(model, [images], labels, batch_size)
    rows = []
    for name in CORRUPTIONS:
        rows.append(RobustnessRow(name, 0, clean))
        for severity in SEVERITIES:
            batches = _corrupt_in_batches(images, name, severity, seed, batch_size)
            rows.append(RobustnessRow(name, severity, _accuracy(model, batches, labels, batch_size)))
    return rows


def mean_corruption_accuracy(rows: Sequence[RobustnessRow]) -> float:
    """Average the accuracy over all corruptions and severities; the images as they are do not count.

    Raises:
        ValueError: There is no row of a corrupted image.
    """
    accuracies = [row.accuracy for row in rows if row.severity]
    if not accuracies:
        raise ValueError("no row of a corrupted image: there is nothing to average")
    return float(np.mean(accuracies))


def tabulate_robustness(rows: Sequence[RobustnessRow]) -> tuple[list[str], list[dict[str, float]]]:
    """Lay the accuracies out, a row a severity and a column a corruption; return the columns, and the rows."""
    table: dict[int, dict[str, float]] = {}
    for row in rows:
        table.setdefault(row.severity, {"severity": row.severity})[row.corruption] = row.accuracy
    return ["severity", *CORRUPTIONS], list(table.values())


def sample_images(labels: Labels, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose at most so many images, at random but with each class in its proportion, to less than an image.

    Args:
        labels: N.
        most: Images to choose; where there are no more, all are.
        seed: Of the draw.

    Returns:
        Indices in ascending order; of a class that is due less than one image there may be none.
    """
    count = len(labels)
    if count <= most:
        return np.arange(count)
    # Class after class, shuffled within each: then every so-manieth is a share of each class.
    order = np.lexsort((np.random.default_rng(seed).random(count), labels))
    places = (2 * np.arange(most) + 1) * count // (2 * most)
    return np.sort(order[places])


def _corrupt_in_batches(
    images: Images, corruption: str, severity: int, seed: int, batch_size: int
) -> Iterator[Images]:
    generator = np.random.default_rng(seed)
    for start in range(0, len(images), batch_size):
        yield corrupt(images[start : start + batch_size], corruption, severity, generator)


def _accuracy(model: Predictor, batches: Iterable[Images], labels: Labels, batch_size: int) -> float:
    probabilities = np.concatenate([model.predict(batch, batch_size) for batch in batches])
    # A spoilt image may drive a model out of its numbers; that is no answer, whatever comes first in the row.
    sane = np.isfinite(probabilities).all(axis=1)
    return float(np.mean(sane & (probabilities.argmax(axis=1) == labels)))


def _add_noise(images: Images, severity: int, generator: np.random.Generator) -> Images:
    """Add Gaussian noise, of its own for each pixel and channel."""
    noise = generator.standard_normal(images.shape, dtype=np.float32)
    return _to_pixels(images + noise * np.float32(255 * NOISE[severity - 1]))


def _blur(images: Images, severity: int, _: np.random.Generator) -> Images:
    """Blur by a Gaussian, with the image mirrored at its edge."""
    sigma = LEAST_BLUR + BLUR[severity - 1] * min(images.shape[1:3]) ** 0.5
    return _to_pixels(gaussian_filter(images, (0, sigma, sigma, 0), output=np.float32))


def _reduce_contrast(images: Images, severity: int, _: np.random.Generator) -> Images:
    """Draw each channel of each image toward its mean."""
    mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    return _to_pixels(mean + (images - mean) * np.float32(CONTRAST[severity - 1]))


def _compress(images: Images, severity: int, _: np.random.Generator) -> Images:
    """Save as JPEG, and load."""
    return np.stack([_compress_image(image, QUALITY[severity - 1]) for image in images])


def _compress_image(image: Images, quality: int) -> Images:
    buffer = io.BytesIO()
    # Of one channel Pillow wants no axis.
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).reshape(image.shape)


def _shift(images: Images, severity: int, generator: np.random.Generator) -> Images:
    """Shift by whole pixels in a direction of its own for each image; what comes in is black."""
    count, height, width, _ = images.shape
    angle = 2 * np.pi * generator.random(count)
    share = SHIFT[severity - 1]
    # The longer part of a step of one pixel rounds to one, so that even the smallest image moves.
    down = np.rint(np.sin(angle) * max(1.0, share * height)).astype(np.int64)
    right = np.rint(np.cos(angle) * max(1.0, share * width)).astype(np.int64)
    rows, in_rows = _shift_index(down, height)
    columns, in_columns = _shift_index(right, width)
    shifted = images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    shifted[~(in_rows[:, :, None] & in_columns[:, None, :])] = 0
    return shifted


def _shift_index(
    steps: npt.NDArray[np.int64], side: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return where each row or column comes from, N×side, and whether that lies in the image."""
    index = np.arange(side) - steps[:, None]
    return np.clip(index, 0, side - 1), (index >= 0) & (index < side)


def _to_pixels(values: npt.NDArray[np.float32]) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {"noise": _add_noise, "blur": _blur, "contrast": _reduce_contrast, "jpeg": _compress, "shift": _shift}
)
