"""The recipe ``experiment=photos`` against fine-tuning, and the time of its pipeline: ``make bench BENCH=transfer ARGS=…``.

    python benchmarks/transfer.py accuracy /data/cats-vs-dogs.zip
    python benchmarks/transfer.py pipeline /data/cats-vs-dogs.zip
    python benchmarks/transfer.py official /data/chest-xray-pneumonia.zip --settings dataset=chest_xray experiment=photos

``accuracy`` draws training sets of 20 and of 200 images a class; some of the other images are a fixed test set. The rival
does what fastai's ``fine_tune`` does, in plain torch, on the same backbone and the same pixels: one epoch of the head
alone, then epochs of all layers with one-cycle schedules, discriminative learning rates and the usual augmentations. Both
are timed from pixels in memory to a fitted model; the features of the probe are computed anew for each draw.

``pipeline`` times `visiongate repro` for a folder of photographs, from files to a registered model, and then in a second
copy of the repository, which finds the features in the cache. ``official`` trains and evaluates on the splits that a data
set gives.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from pipeline import ENVIRONMENT, repository, working_copy
from results import machine
from visiongate.images.parallel import map_in_order
from visiongate.images.pixels import Labels, Pixels, PixelSplit
from visiongate.images.preprocessing import to_pixels
from visiongate.ingestion.fetching import DownloadOptions
from visiongate.ingestion.opening import open_source
from visiongate.models.normalization import Normalization, statistics_for
from visiongate.models.registry import build_network
from visiongate.records.transform import Transform
from visiongate.settings.composition import compose_params
from visiongate.settings.loading import parse_settings
from visiongate.settings.schema import Settings
from visiongate.training.probes import FittedProbe, ProbeRecipe
from visiongate.user_cache import FOLDER

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "experiment=photos"
# fastai's defaults of `fine_tune`: the rate of the frozen epoch, and the divisor of the rate of the first layers.
RATE, DIVISOR = 2e-3, 100
EPOCHS = 4
TEST_BATCH = 64


@dataclass(frozen=True, slots=True)
class Trial:
    """One training: the accuracy on the held-out images, and the seconds from pixels to the fitted model."""

    accuracy: float
    seconds: float


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description="Measure the recipe for photographs.")
    parser.add_argument("part", choices=["accuracy", "pipeline", "official"])
    parser.add_argument("source", type=Path, help="a folder or archive of labeled images")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--rival-draws", type=int, default=5, help="of the draws, for fine-tuning")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 200], help="images a class")
    parser.add_argument("--test", type=int, default=1000, help="held-out images")
    parser.add_argument("--images", type=int, default=1000, help="images of the folder for the pipeline")
    parser.add_argument("--settings", nargs="*", default=[RECIPE], help="for the official splits")
    options = parser.parse_args()
    print(machine(), flush=True)
    parts = {"accuracy": measure_accuracy, "pipeline": measure_pipeline, "official": measure_official}
    parts[options.part](options)


# Accuracy


def measure_accuracy(options: argparse.Namespace) -> None:
    """Print accuracy and seconds of the recipe and of its rival, by images a class."""
    settings = compose(["dataset=folder", RECIPE, f"dataset.path='{options.source.resolve()}'"])
    photos, transform = read_photos(settings)
    order = np.random.default_rng(0).permutation(len(photos.labels))
    test, pool = select(photos, order[: options.test]), select(photos, order[options.test :])
    print(f"{len(test.labels)} test images, {len(pool.labels)} to draw from", flush=True)
    probe, rival = partial(fit_probe, settings, transform), partial(fine_tune, settings, transform)
    draws = {size: [draw(pool, size, seed) for seed in range(options.draws)] for size in options.sizes}
    ours = {size: [measure(probe, each, test) for each in chosen] for size, chosen in draws.items()}
    for size, trials in ours.items():
        report(f"{size} a class, {RECIPE}", trials)
    for size, chosen in draws.items() if options.rival_draws else ():
        theirs = [measure(rival, each, test) for each in chosen[: options.rival_draws]]
        report(f"{size} a class, fine-tuning", theirs)
        compare(ours[size], theirs)


def read_photos(settings: Settings) -> tuple[PixelSplit, Transform]:
    """Decode the images of a source, one of each set of copies, as the transformation stage does."""
    transformation = settings.transformation
    with open_source(settings.dataset, DownloadOptions(Path(), None, 0)) as opened:
        unique = {image.image: image.label for image in opened.source.read()}
        classes = opened.source.classes
    convert = partial(
        to_pixels, size=transformation.size, mode=transformation.mode, resize=transformation.resize
    )
    images = np.stack(list(map_in_order(convert, unique, len)))
    labels = np.array([classes.index(label) for label in unique.values()])
    channels = len(transformation.mode)
    statistics_of_data = [0.5] * channels, [0.25] * channels
    transform = Transform(
        transformation.size, transformation.mode, transformation.resize, *statistics_of_data, classes
    )
    return PixelSplit(images, labels), transform


def select(photos: PixelSplit, chosen: npt.NDArray[np.int64]) -> PixelSplit:
    """Return some of the images."""
    return PixelSplit(photos.images[chosen], photos.labels[chosen])


def draw(pool: PixelSplit, size: int, seed: int) -> PixelSplit:
    """Draw a number of images of each class."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(pool.labels == label) for label in np.unique(pool.labels)]
    return select(pool, np.concatenate([generator.choice(each, size, replace=False) for each in members]))


def measure(
    fit: Callable[[PixelSplit], Callable[[Pixels], Labels]], train: PixelSplit, test: PixelSplit
) -> Trial:
    """Fit a model and test it."""
    started = time.perf_counter()
    predict = fit(train)
    seconds = time.perf_counter() - started
    return Trial(float((predict(test.images) == test.labels).mean()), seconds)


def report(title: str, trials: list[Trial]) -> None:
    """Print medians and ranges."""
    accuracies, seconds = [each.accuracy for each in trials], [each.seconds for each in trials]
    print(
        f"{title}: {statistics.median(accuracies):.2%} ({min(accuracies):.2%} to {max(accuracies):.2%}) in "
        f"{statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f}), {len(trials)} draws",
        flush=True,
    )


def compare(ours: list[Trial], theirs: list[Trial]) -> None:
    """Print the ratio of the seconds and the difference of the accuracies, draw by draw."""
    pairs = list(zip(ours, theirs, strict=False))
    ratio = statistics.median(one.seconds / other.seconds for one, other in pairs)
    gain = statistics.median(one.accuracy - other.accuracy for one, other in pairs)
    print(f"  {ratio:.3f} of the time of fine-tuning, {100 * gain:+.2f} points of accuracy", flush=True)


def fit_probe(settings: Settings, transform: Transform, train: PixelSplit) -> Callable[[Pixels], Labels]:
    """Fit the recipe's model, with an empty cache of features."""
    recipe = ProbeRecipe(settings.model, settings.training, transform)  # type: ignore[arg-type]
    with empty_cache():
        probe: FittedProbe = recipe.fit(recipe.features(train.images), train.labels)
    # The features of the test images are kept from draw to draw; they are not timed.
    return lambda images: probe.logits(recipe.features(images)).argmax(dim=1).numpy()


@contextmanager
def empty_cache() -> Iterable[None]:  # type: ignore[misc]
    """Compute all features."""
    with mock.patch("visiongate.models.embedding.FeatureCache.read", return_value={}):
        yield


def fine_tune(settings: Settings, transform: Transform, train: PixelSplit) -> Callable[[Pixels], Labels]:
    """Fine-tune the same backbone."""
    torch.manual_seed(0)
    model, channels = settings.model, len(transform.mode)
    network = build_network(model.name, model.options, channels, transform.size, len(transform.classes))
    normalize = Normalization(statistics_for(network, transform))
    images = torch.from_numpy(train.images).permute(0, 3, 1, 2)
    labels = torch.from_numpy(train.labels)
    body = list(network.backbone.parameters())
    for parameter in body:
        parameter.requires_grad_(requires_grad=False)
    train_epochs(network, normalize, images, labels, (1, [(list(network.head.parameters()), RATE)]))
    for parameter in body:
        parameter.requires_grad_()
    half, rate = len(body) // 2, RATE / 2
    groups = [
        (body[:half], rate / DIVISOR),
        (body[half:], rate / DIVISOR**0.5),
        (list(network.head.parameters()), rate),
    ]
    train_epochs(network, normalize, images, labels, (EPOCHS, groups))
    return partial(predict, network.eval(), normalize)


def train_epochs(
    network: nn.Module,
    normalize: Normalization,
    images: Tensor,
    labels: Tensor,
    plan: tuple[int, list[tuple[list[nn.Parameter], float]]],
) -> None:
    """Train groups of parameters, each with its own highest rate, for some epochs of a one-cycle schedule."""
    epochs, groups = plan
    # fastai's 64 images would be one step per epoch of 40 images.
    batch = min(64, max(8, len(images) // 8))
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "lr": rate} for parameters, rate in groups], weight_decay=0.01
    )
    steps = epochs * (len(images) // batch)
    rates = [rate for _, rate in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images))[: len(images) // batch * batch].split(batch):
            inputs = normalize(augment(images[chosen].float() / 255))
            loss = functional.cross_entropy(network(inputs), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def augment(images: Tensor) -> Tensor:
    """Flip, rotate by up to 10 degrees, zoom in by up to 10% and change the light by up to 20%."""
    count = len(images)
    angle = (torch.rand(count) * 2 - 1) * torch.pi / 18
    zoom = 1 - 0.1 * torch.rand(count)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)  # noqa: PLR2004
    zero = torch.zeros(count)
    first = torch.stack([mirror * zoom * angle.cos(), -zoom * angle.sin(), zero], 1)
    second = torch.stack([mirror * zoom * angle.sin(), zoom * angle.cos(), zero], 1)
    grid = functional.affine_grid(torch.stack([first, second], 1), list(images.shape), align_corners=False)
    light = (0.8 + 0.4 * torch.rand(count)).view(-1, 1, 1, 1)
    moved = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return (moved * light).clamp(0, 1)


def predict(network: nn.Module, normalize: Normalization, images: Pixels) -> Labels:
    """Return the most probable classes."""
    batches = torch.from_numpy(images).permute(0, 3, 1, 2).split(TEST_BATCH)
    with torch.inference_mode():
        return torch.cat([network(normalize(batch.float() / 255)).argmax(dim=1) for batch in batches]).numpy()


# Pipeline


def measure_pipeline(options: argparse.Namespace) -> None:
    """Print the seconds from a folder to a registered model, and again with the features in the cache."""
    with tempfile.TemporaryDirectory(prefix="visiongate-photos-") as name:
        folder, environment = Path(name) / "photos", {**ENVIRONMENT, FOLDER: str(Path(name) / "cache")}
        write_folder(options.source, folder, options.images)
        for title in ("features computed", "features from the cache"):
            with working_copy() as copy:
                seconds = run_pipeline(copy, folder, environment)
                metrics = json.loads((copy / "reports/metrics.json").read_text())
                registered = json.loads((copy / "reports/registration.json").read_text())
            print(
                f"{title}: {seconds:.0f} s to version {registered['version']}, accuracy {metrics['accuracy']:.2%}",
                flush=True,
            )


def write_folder(source: Path, folder: Path, images: int) -> None:
    """Write some of a source's images, spread evenly over it, as one folder per class."""
    settings = compose(["dataset=folder", f"dataset.path='{source.resolve()}'"])
    with open_source(settings.dataset, DownloadOptions(Path(), None, 0)) as opened:
        step = opened.source.images / images
        for index, image in enumerate(opened.source.read()):
            if int((index + 1) / step) > int(index / step):
                path = folder / image.label / Path(image.path).name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(image.image)


def run_pipeline(copy: Path, folder: Path, environment: dict[str, str]) -> float:
    """Make the folder the data set of a copy of the repository, commit, and return the seconds of `visiongate repro`."""
    command = partial(subprocess.run, cwd=copy, env={**environment, "PYTHONPATH": "src"}, check=True)
    quiet = partial(command, stdout=subprocess.DEVNULL)
    quiet([sys.executable, "-m", "visiongate", "use", str(folder), "--yes"])
    quiet(["git", "add", "--all"])
    identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org"]
    quiet(["git", *identity, "commit", "--quiet", "--message", "Use photographs"])
    started = time.perf_counter()
    quiet([sys.executable, "-m", "visiongate", "repro", "--offline"])
    return time.perf_counter() - started


# Official splits


def measure_official(options: argparse.Namespace) -> None:
    """Print the accuracy on the given test split, with its interval."""
    with repository() as folder:
        settings = [f"dataset.path='{options.source.resolve()}'", *options.settings]
        (folder / "params.yaml").write_text(compose_params(ROOT / "conf", settings), encoding="utf-8")
        started = time.perf_counter()
        for stage in ("ingestion", "validation", "preparation", "transformation", "train", "evaluate"):
            command = [sys.executable, str(ROOT / "src/run.py"), stage]
            subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        accuracy = json.loads((folder / "reports/evaluation/intervals.json").read_text())["accuracy"]
        metrics = json.loads((folder / "reports/metrics.json").read_text())
    print(
        f"{metrics['images']} test images: {metrics['accuracy']:.2%} ({accuracy['low']:.2%} to {accuracy['high']:.2%}) in "
        f"{seconds:.0f} s from the archive"
    )


def compose(overrides: list[str]) -> Settings:
    """Compose the repository's settings."""
    return parse_settings(yaml.safe_load(compose_params(ROOT / "conf", overrides)), "params.yaml")


if __name__ == "__main__":
    main()
