"""Robustness: the accuracy on test images that are corrupted in five ways, each at five severities.

After Hendrycks, D., Dietterich, T. (2019), Benchmarking neural network robustness to common corruptions and perturbations,
ICLR. The severities here fit any image size, so that the accuracies compare models of this repository only.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from visiongate.images.pixels import Labels
from visiongate.models.embedding import run_cached
from visiongate.models.predictor import NOVELTY, PROBABILITIES, Images, Predictor
from visiongate.models.reliability import is_out_of_distribution
from visiongate.records.reliability import read_reliability

SEVERITIES = (1, 2, 3, 4, 5)
# For each severity. Standard deviation of the noise, as a share of the pixel range:
NOISE = (0.04, 0.08, 0.13, 0.2, 0.3)
# Standard deviation of the blur in pixels: MIN_BLUR plus this factor times the square root of the shorter side.
BLUR, MIN_BLUR = (0.08, 0.13, 0.2, 0.28, 0.4), 0.2
# The remaining share of the contrast:
CONTRAST = (0.6, 0.4, 0.25, 0.15, 0.08)
# Pillow's JPEG quality, 1..95:
QUALITY = (50, 25, 15, 8, 4)
# As a share of the side:
SHIFT = (0.1, 0.15, 0.2, 0.25, 0.3)

Corruption = Callable[[Images, int, np.random.Generator], Images]


def corrupt(images: Images, corruption: str, severity: int, generator: np.random.Generator) -> Images:
    """Return corrupted copies of images.

    A generator in the same state draws the same noise at every severity, and the same for a batch as for its parts in sequence.

    Args:
        images: uint8, N×H×W×C, with 1 or 3 channels.
        corruption: A key of `CORRUPTIONS`.
        severity: 1..5.
        generator: Draws the noise and the directions of the shifts.
    """
    return CORRUPTIONS[corruption](images, severity, generator)


@dataclass(frozen=True, slots=True)
class Robustness:
    """What a model makes of corrupted images, by corruption, for severity 0 (the original images) to 5.

    Attributes:
        accuracies: Of the predictions.
        alarms: The share of images called out of distribution; empty if the model has no threshold of novelty.
        images: How many images were corrupted.
    """

    accuracies: dict[str, list[float]]
    alarms: dict[str, list[float]]
    images: int


def measure_robustness(
    model: Predictor, images: Images, labels: Labels, seed: int, batch_size: int
) -> Robustness:
    """Corrupt images, and measure what a model makes of them.

    Args:
        model: The model.
        images: uint8, N×H×W×C.
        labels: N.
        seed: Of noise and directions.
        batch_size: Corrupted images in memory at a time; the result does not depend on it.
    """
    original = _measure(model, [images], labels)
    measured = {name: [original] for name in CORRUPTIONS}
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            batches = _corrupt_batches(images, name, severity, seed, batch_size)
            measured[name].append(_measure(model, batches, labels))
    accuracies = {name: [accuracy for accuracy, _ in each] for name, each in measured.items()}
    alarms = {name: [share for _, share in each if share is not None] for name, each in measured.items()}
    return Robustness(accuracies, alarms if original[1] is not None else {}, len(labels))


def average_robustness(parts: Sequence[Robustness]) -> Robustness:
    """Return the mean over parts, such as folds, weighted by their images."""
    weights = [part.images for part in parts]

    def average(values: Sequence[dict[str, list[float]]]) -> dict[str, list[float]]:
        names = values[0] if all(values) else {}
        return {
            name: np.average([each[name] for each in values], axis=0, weights=weights).tolist()
            for name in names
        }

    accuracies, alarms = ([getattr(part, name) for part in parts] for name in ("accuracies", "alarms"))
    return Robustness(average(accuracies), average(alarms), sum(weights))


def mean_corruption_accuracy(accuracies: Mapping[str, Sequence[float]]) -> float:
    """Return the mean accuracy over all corruptions and severities above 0."""
    return float(np.mean([values[1:] for values in accuracies.values()]))


def sample_images(labels: Labels, max_images: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the ascending indices of at most ``max_images`` random images, with the classes in proportion.

    Args:
        labels: N.
        max_images: If there are no more images, all are returned.
        seed: Of the draw.
    """
    count = len(labels)
    if count <= max_images:
        return np.arange(count)
    # The images by class, shuffled within each class. Equal steps then take the same share of each class.
    order = np.lexsort((np.random.default_rng(seed).random(count), labels))
    positions = (2 * np.arange(max_images) + 1) * count // (2 * max_images)
    return np.sort(order[positions])


def _corrupt_batches(
    images: Images, corruption: str, severity: int, seed: int, batch_size: int
) -> Iterator[Images]:
    generator = np.random.default_rng(seed)
    for start in range(0, len(images), batch_size):
        yield corrupt(images[start : start + batch_size], corruption, severity, generator)


def _measure(model: Predictor, batches: Iterable[Images], labels: Labels) -> tuple[float, float | None]:
    """Return the accuracy, and the share of images called out of distribution, if the model has a threshold."""
    reliability = read_reliability(model.metadata, model.name)
    has_threshold = reliability is not None and reliability.novelty_threshold is not None
    names = [PROBABILITIES, NOVELTY] if has_threshold else [PROBABILITIES]
    parts = [run_cached(model, batch, names) for batch in batches]
    probabilities, *novelty = (np.concatenate([part[name] for part in parts]) for name in names)
    # Unusual images can overflow a model; such a prediction is wrong.
    finite = np.isfinite(probabilities).all(axis=1)
    accuracy = float(np.mean(finite & (probabilities.argmax(axis=1) == labels)))
    if reliability is None or not novelty:
        return accuracy, None
    return accuracy, float(is_out_of_distribution(novelty[0], reliability).mean())


def _add_noise(images: Images, severity: int, generator: np.random.Generator) -> Images:
    """Add Gaussian noise to each pixel and channel."""
    noise = generator.standard_normal(images.shape, dtype=np.float32)
    return _to_pixels(images + noise * np.float32(255 * NOISE[severity - 1]))


def _blur(images: Images, severity: int, _: np.random.Generator) -> Images:
    """Blur with a Gaussian kernel."""
    sigma = MIN_BLUR + BLUR[severity - 1] * min(images.shape[1:3]) ** 0.5
    return _to_pixels(ndimage.gaussian_filter(images, (0, sigma, sigma, 0), output=np.float32))


def _reduce_contrast(images: Images, severity: int, _: np.random.Generator) -> Images:
    """Pull each channel of each image toward its mean."""
    mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    return _to_pixels(mean + (images - mean) * np.float32(CONTRAST[severity - 1]))


def _compress(images: Images, severity: int, _: np.random.Generator) -> Images:
    """Compress as JPEG."""
    return np.stack([_compress_image(image, QUALITY[severity - 1]) for image in images])


def _compress_image(image: Images, quality: int) -> Images:
    buffer = io.BytesIO()
    # Pillow has no channel axis for one channel.
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).reshape(image.shape)


def _shift(images: Images, severity: int, generator: np.random.Generator) -> Images:
    """Shift each image by whole pixels in a random direction, and fill with black."""
    count, height, width, _ = images.shape
    angle = 2 * np.pi * generator.random(count)
    share = SHIFT[severity - 1]
    # At least one pixel, so that the smallest images move too.
    down = np.rint(np.sin(angle) * max(1.0, share * height))
    right = np.rint(np.cos(angle) * max(1.0, share * width))
    steps = zip(images, down, right, strict=True)
    return np.stack([ndimage.shift(image, (y, x, 0), order=0, prefilter=False) for image, y, x in steps])


def _to_pixels(values: npt.NDArray[np.float32]) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {"noise": _add_noise, "blur": _blur, "contrast": _reduce_contrast, "jpeg": _compress, "shift": _shift}
)
