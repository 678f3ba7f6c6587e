"""Measure the speed of training, and compare it with other code: ``make bench BENCH=training``.

Each comparison uses the same data, threads and machine for both sides:

- the training loop and a bare loop of forward, backward and step, with the same network, batches and precision;
- the steps of the digits in a stage and in the fastest of bare loops in each precision, with one thread and with all;
- steps in a stage alone and beside busy processes;
- ``--cifar ARRAYS --airbench CHECKOUT``: ``experiment=cifar10_fast``, or another recipe with ``--recipe``, and
  airbench94_muon.py of github.com/KellerJordan/cifar10-airbench;
- ``--mnist ARRAYS --examples CHECKOUT``: ``experiment=mnist_fast`` and mnist/main.py of github.com/pytorch/examples.

ARRAYS is a ``data/transformed`` of the data set, or of another one with images of the same shape. Without a CHECKOUT only our
side is measured. Times run from arrays on disk to the trained network, with validation after each epoch and the test with the
test-time augmentation of the settings.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from run import SPIN_COUNT

# As a stage is started; torch reads it when it is imported.
os.environ.update([SPIN_COUNT])

import torch
import yaml
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from visiongate.images.pixels import load_split
from visiongate.models.view_averaging import VIEWS, View
from visiongate.settings.composition import compose_params
from visiongate.settings.loading import parse_settings
from visiongate.settings.schema import Settings
from visiongate.training.augmentation import move
from visiongate.training.batches import TensorSplit, to_device, to_pixels
from visiongate.training.checkpoint import weights_sha256
from visiongate.training.hardware import Hardware, reproducible
from visiongate.training.loop import Callbacks, fit, predict_split
from visiongate.training.optimizers import make_optimizers
from visiongate.training.task import Task, prepare_task
from visiongate.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "data/transformed"
LOOP_SECONDS, LOOP_ROUNDS = 4.0, 7
MNIST_GOAL, MNIST_EPOCHS = 0.991, 14
MAX_BUSY = 2
MATRIX_SIDE, MATRIX_ROUNDS = 2048, 10


@dataclass(frozen=True, slots=True)
class Run:
    """A training.

    Attributes:
        accuracy: On the test images, with the test-time augmentation of the settings.
        plain: The same, without it.
        seconds: From arrays on disk to the trained network, and the test with augmentation.
        weights: Their hash.
    """

    accuracy: float
    plain: float
    seconds: float
    weights: str


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Measure how fast training is.")
    parser.add_argument("--loop", type=Path, default=DIGITS, help="pixel arrays for the loop's comparison")
    parser.add_argument("--cifar", type=Path, help="pixel arrays, 32×32 in color")
    parser.add_argument("--airbench", type=Path, help="a checkout")
    parser.add_argument("--recipe", default="cifar10_fast", help="for CIFAR-10")
    parser.add_argument("--mnist", type=Path, help="pixel arrays, 28×28 in gray")
    parser.add_argument("--examples", type=Path, help="a checkout")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    compare_loops(options.loop, "dataset=digits")
    compare_steps(options.loop)
    if options.cifar:
        peer = options.airbench and run_peer("airbench", options.airbench, options.cifar)
        compare("CIFAR-10", f"experiment={options.recipe}", options.cifar, options.seeds, peer)
    if options.mnist:
        goal = [str(MNIST_EPOCHS), str(MNIST_GOAL)]
        peer = options.examples and run_peer("mnist", options.examples, options.mnist, *goal)
        compare("MNIST", "experiment=mnist_fast", options.mnist, options.seeds, peer)


def compose(*overrides: str) -> Settings:
    """Compose the settings."""
    return parse_settings(yaml.safe_load(compose_params(ROOT / "conf", list(overrides))), "conf/")


def compare_loops(arrays: Path, *overrides: str) -> None:
    """Print the speed of the training loop and of a bare loop, which take turns, and the median of their ratios."""
    settings = compose(*overrides)
    with reproducible(0):
        task = prepare_task(arrays, settings.network, settings.training)
        trainer, bare = Trainer(task, settings.network, settings.training), bare_loop(task, settings)
        speeds = [
            (
                images_per_second(lambda: trainer.train_epoch(1, lambda _: None), task),
                images_per_second(bare, task),
            )
            for _ in range(LOOP_ROUNDS)
        ]
    ours, theirs = (statistics.median(speed) for speed in zip(*speeds, strict=True))
    ratio = statistics.median(one / other for one, other in speeds)
    print(
        f"loop, {settings.network.name}: {ours:,.0f} images/s, bare {theirs:,.0f}; median ratio {ratio:.2f}, goal 0.95"
    )


def compare_steps(arrays: Path) -> None:
    """Print how much longer than at best a step of the digits takes in a stage, and how much longer beside busy processes."""
    floor = run_json("training_steps.py", "floor", arrays)
    stage = run_json("training_steps.py", "busy", arrays, **dict([SPIN_COUNT]))
    print("bare loops of the digits: " + ", ".join(f"{name} {each:.2f} ms" for name, each in floor.items()))
    for index, (name, times) in enumerate(stage.items()):
        alone, cores = times["0"], torch.get_num_threads()
        ratio = "" if index else f", {alone / min(floor.values()):.2f} times the fastest bare loop, goal 1.5"
        print(f"{name}: {alone:.2f} ms a step{ratio}")
        for count in range(1, MAX_BUSY + 1):
            share = max(1.0, (times["threads"] + count) / cores)
            print(
                f"  beside {count} busy: {times[str(count)] / alone:.2f} times as long, its share {share:.2f}"
            )


def bare_loop(task: Task, settings: Settings) -> Callable[[], None]:
    """Return an epoch of a minimal loop: slice images, forward, backward, step."""
    optimizers = make_optimizers(task.network, settings.network)
    size = settings.network.batch_size

    def epoch() -> None:
        task.network.train()
        for images, labels in zip(task.train.images.split(size), task.train.labels.split(size), strict=True):
            task.network.zero_grad()
            with task.hardware.autocast():
                logits = task.network(task.normalize(to_pixels(images)))
            functional.cross_entropy(
                logits, labels, label_smoothing=settings.training.label_smoothing
            ).backward()
            for optimizer in optimizers:
                optimizer.step()

    return epoch


def images_per_second(epoch: Callable[[], object], task: Task) -> float:
    """Run epochs for `LOOP_SECONDS` and return their speed."""

    def run() -> None:
        epoch()
        # A GPU computes after the call has returned.
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    run()
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < LOOP_SECONDS:
        run()
        count += len(task.train)
    return count / elapsed


def compare(title: str, recipe: str, arrays: Path, seeds: int, peer: dict[str, float] | None) -> None:
    """Train with several seeds, and print accuracy and time next to those of the peer."""
    runs = [train(compose(recipe, f"training.seed={seed}"), arrays) for seed in range(seeds)]
    print_runs(title, recipe, runs)
    seconds = statistics.median(run.seconds for run in runs)
    ratio = seconds / bound_by_arithmetic(compose(recipe), arrays)
    print(
        f"{title}: {ratio:.2f} times as long as the operations take at the speed of a bare matrix product",
        flush=True,
    )
    if peer is None:
        print(f"{title}: not compared, because the checkout of the peer is not given")
        return
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in peer.items())
    print(f"{title}, peer: {numbers}; ratio of time {seconds / peer['seconds']:.3f}", flush=True)


def print_runs(title: str, recipe: str, runs: Sequence[Run]) -> None:
    """Print the accuracy and the time of trainings with several seeds."""
    accuracies, seconds = [run.accuracy for run in runs], [run.seconds for run in runs]
    spread = statistics.stdev(accuracies) if len(runs) > 1 else 0.0
    print(
        f"{title}, {recipe}: test accuracy {statistics.mean(accuracies):.2%} ± {spread:.2%} over {len(runs)} seeds "
        f"({', '.join(f'{value:.2%}' for value in accuracies)}), {statistics.mean(run.plain for run in runs):.2%} without "
        f"test-time augmentation, {statistics.median(seconds):.1f} s",
        flush=True,
    )


def train(settings: Settings, arrays: Path) -> Run:
    """Train once."""
    with reproducible(settings.training.seed):
        started = time.perf_counter()
        task = prepare_task(arrays, settings.network, settings.training)
        fit(task, settings.network, settings.training, Callbacks())
        test = to_device(load_split(arrays, "test"), task.hardware.device)
        views = VIEWS[settings.training.export.tta]
        logits = [predict(task, test, view) for view in views]
        augmented = sum(
            (view.weight * each for view, each in zip(views, logits, strict=True)), torch.zeros(())
        )
        accuracy = accuracy_of(augmented, test)
        seconds = time.perf_counter() - started
        return Run(accuracy, accuracy_of(logits[0], test), seconds, weights_sha256(task.network))


def bound_by_arithmetic(settings: Settings, arrays: Path) -> float:
    """Return the seconds that the operations of a training would take at the speed of a bare matrix product.

    The operations of one step are counted for each size of the images; validation is left out.
    """
    progressive, epochs = settings.training.progressive, settings.training.epochs
    small = progressive.until if progressive.size else 0.0
    shares = {progressive.size: small, None: 1 - small}
    with reproducible(0):
        task = prepare_task(arrays, settings.network, settings.training)
        batch = TensorSplit(
            *(part[: settings.network.batch_size] for part in (task.train.images, task.train.labels))
        )
        one_step = replace(task, train=batch)
        operations = 0.0
        for size, share in shares.items():
            changes = {"progressive": progressive.model_copy(update={"size": size, "until": 1.0})}
            training = settings.training.model_copy(update=changes)
            with FlopCounterMode(display=False) as counter:
                Trainer(one_step, settings.network, training).train_epoch(1, lambda _: None)
            operations += share * epochs * counter.get_total_flops() * len(task.train) / len(batch)
        return operations / matrix_speed(task.hardware)


def matrix_speed(hardware: Hardware) -> float:
    """Return the operations per second of a product of two square matrices, the best of `MATRIX_ROUNDS`."""
    matrix = torch.randn(MATRIX_SIDE, MATRIX_SIDE, device=hardware.device, dtype=hardware.dtype)
    seconds = []
    for _ in range(MATRIX_ROUNDS):
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        seconds.append(time.perf_counter() - started)
    return 2 * MATRIX_SIDE**3 / min(seconds)


def predict(task: Task, test: TensorSplit, view: View) -> Tensor:
    """Return the logits of a view of the test images, N×K."""
    count = len(test)
    shifts = torch.full((count, 2), view.shift, device=test.images.device)
    mirrored = torch.full((count,), view.is_mirrored, device=test.images.device)
    images = move(test.images, shifts, mirrored, border="reflect")
    test_task = replace(task, val=TensorSplit(images, test.labels))
    return predict_split(test_task, task.network, 500)


def accuracy_of(logits: Tensor, test: TensorSplit) -> float:
    """Return the share of the images whose largest logit is that of their class."""
    return (logits.argmax(dim=1) == test.labels).float().mean().item()


def run_peer(*arguments: str | Path) -> dict[str, float]:
    """Run a peer in its own process."""
    numbers: dict[str, float] = run_json("training_peers.py", *arguments)
    return numbers


def run_json(script: str, *arguments: str | Path, **environment: str) -> Any:  # noqa: ANN401 - what the script prints
    """Run a script of this folder in its own process, and return the JSON of its last line.

    Its threads wait as by default.
    """
    inherited = {name: value for name, value in os.environ.items() if name != SPIN_COUNT[0]}
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**inherited, **environment}
    )
    if result.returncode:
        sys.exit(f"{arguments[0]}: {result.stderr.strip().splitlines()[-1]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
