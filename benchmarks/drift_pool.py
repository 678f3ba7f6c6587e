"""Real images and what a real model says of them, from which streams of predictions are drawn.

The embedded digits are few. Each is shifted and rotated a little, many times, so that a stream never shows an image twice.
"""

import gzip
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from sklearn.datasets import load_digits

from visiongate.evaluation.corruptions import corrupt
from visiongate.images.exposure import measure_exposure
from visiongate.models.sketch import sketch
from visiongate.monitoring.drift.sample import Sample
from visiongate.records.drift_reference import DriftReference

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int16]
SHA256 = "0" * 64
TRAINED_SHARE, COPIES = 1 / 3, 50
# Degrees, and pixels as a share of the side.
ROTATION, SHIFT = 10.0, 0.04
TRAINED_MNIST, EPOCHS, BATCH = 10_000, 12, 64
PREDICTED = 2000


@dataclass(frozen=True, slots=True)
class Pool:
    """Held-out images, N×H×W×C, their labels, and the model that predicts them."""

    images: Images
    labels: Labels
    model: torch.nn.Sequential
    classes: tuple[str, ...]
    temperature: float

    def predict(self, images: Images) -> Sample:
        """Return what the service would record for images."""
        outputs = [self._run(images[start : start + PREDICTED]) for start in range(0, len(images), PREDICTED)]
        probabilities, embedding = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
        exposures = np.array([measure_exposure(image) for image in images], np.float32)
        count, (height, width) = len(images), images.shape[1:3]
        rounded, predicted = probabilities.astype(np.float16), probabilities.argmax(axis=1).astype(np.int16)
        return Sample(
            times=np.zeros(count, np.int64),
            predicted=predicted,
            confidence=rounded[np.arange(count), predicted],
            probabilities=rounded,
            embedding=sketch(embedding),
            out_of_distribution=np.full(count, -1, np.int8),
            brightness=exposures[:, 0],
            contrast=exposures[:, 1],
            width=np.full(count, width, np.int32),
            height=np.full(count, height, np.int32),
            format=np.full(count, "PNG"),
            mode=np.full(count, "L"),
            image=np.full(count, ""),
        )

    def corrupted(self, name: str, severity: int, count: int) -> Sample:
        """Return what the service would record for the first images, corrupted as `evaluate` does."""
        generator = np.random.default_rng(0)
        return self.predict(corrupt(self.images[:count], name, severity, generator))

    @torch.inference_mode()
    def _run(self, images: Images) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        embedding = self.model[:-1](to_tensor(images))
        probabilities = (self.model[-1](embedding) / self.temperature).softmax(dim=1)
        return probabilities.numpy(), embedding.numpy()


def make_reference(sample: Sample, labels: Labels, classes: tuple[str, ...]) -> DriftReference:
    """Return held-out images as `evaluate` writes them."""
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, sample.predicted), 1)
    zeros = np.zeros(len(sample), np.int8)
    return DriftReference(
        classes=classes,
        protocol="holdout",
        model_sha256=SHA256,
        images=len(sample),
        labels=labels,
        predicted=sample.predicted,
        probabilities=sample.probabilities,
        embedding=sample.embedding,
        out_of_distribution=None,
        brightness=sample.brightness,
        contrast=sample.contrast,
        width=sample.width,
        height=sample.height,
        file_bytes=np.ones(len(sample), np.int32),
        formats=("PNG",),
        format=zeros,
        modes=("L",),
        mode=zeros,
        class_counts=confusion.sum(axis=1),
        confusion=confusion,
    )


def make_pool(data: Path | None, without: str | None = None) -> Pool:
    """Train a small network, and return it with the images that it has not seen.

    Args:
        data: A folder with MNIST or another data set in its format; None for the embedded digits.
        without: A class that the network does not learn, and whose images are at the end of the pool.
    """
    images, labels = _read_digits() if data is None else _read_idx(data)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order], labels[order]
    trained = int(len(labels) * TRAINED_SHARE) if data is None else TRAINED_MNIST
    classes = tuple(map(str, range(int(labels.max()) + 1)))
    held_out, truth = images[trained:], labels[trained:]
    learned, taught = images[:trained], labels[:trained]
    if data is None:
        held_out, truth = _vary(held_out, truth, COPIES, seed=1)
        learned, taught = _vary(learned, taught, COPIES // 5, seed=2)
    if without is not None:
        kept = [place for place, name in enumerate(classes) if name != without]
        known, new = np.isin(truth, kept), truth == classes.index(without)
        held_out = np.concatenate([held_out[known], held_out[new]])
        truth = np.concatenate([np.searchsorted(kept, truth[known]), np.full(new.sum(), -1)])
        learned, taught = learned[np.isin(taught, kept)], np.searchsorted(kept, taught[np.isin(taught, kept)])
        classes = tuple(classes[place] for place in kept)
    model, temperature = _train(learned, taught, len(classes))
    return Pool(held_out, truth.astype(np.int16), model, classes, temperature)


def to_tensor(images: Images) -> torch.Tensor:
    """Return images as the network's input."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255 - 0.5)


def _train(
    images: Images, labels: npt.NDArray[np.integer], classes: int
) -> tuple[torch.nn.Sequential, float]:
    """Train a network with two convolutions, and fit the temperature of its outputs on images left out."""
    torch.manual_seed(0)
    reduced = images.shape[1] // 4
    model = torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Flatten(), torch.nn.Linear(32 * reduced**2, 64), torch.nn.ReLU()),
        torch.nn.Linear(64, classes),
    )
    inputs, targets = to_tensor(images), torch.from_numpy(labels.astype(np.int64))
    used = len(labels) * 9 // 10
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(used).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    with torch.inference_mode():
        logits, truth = model(inputs[used:]), targets[used:]
        losses = {
            float(temperature): float(torch.nn.functional.cross_entropy(logits / temperature, truth))
            for temperature in torch.logspace(-0.5, 0.5, 41)
        }
    return model, min(losses, key=losses.__getitem__)


def _vary(images: Images, labels: Labels, copies: int, seed: int) -> tuple[Images, Labels]:
    generator = np.random.default_rng(seed)
    rows = generator.permutation(np.repeat(np.arange(len(labels)), copies))
    return np.stack(list(_move(images[rows], generator))), labels[rows]


def _move(images: Images, generator: np.random.Generator) -> Iterator[Images]:
    for image in images:
        turned = ndimage.rotate(
            image[..., 0].astype(np.float32), generator.uniform(-ROTATION, ROTATION), reshape=False, order=1
        )
        offset = generator.normal(0, SHIFT * image.shape[0], 2)
        moved = ndimage.shift(turned, offset, order=1) + generator.normal(0, 4, turned.shape)
        yield moved.round().clip(0, 255).astype(np.uint8)[..., None]


def _read_digits() -> tuple[Images, Labels]:
    digits = load_digits()
    return (digits.images * (255 / 16)).round().astype(np.uint8)[..., None], digits.target.astype(np.int16)


def _read_idx(folder: Path) -> tuple[Images, Labels]:
    images, labels = [], []
    for part in ("train", "t10k"):
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
            images.append(np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1))
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
            labels.append(np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int16))
    return np.concatenate(images), np.concatenate(labels)
