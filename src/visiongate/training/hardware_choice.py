"""Choose the precision and the number of threads on a CPU by timing steps of the network that is to be trained.

Threads wait for each other at each operation. With a small network, several are slower than one; if another process uses a
core, they are slower by an order of magnitude. Native bf16 is usually faster than fp32, but not for every network.
"""

import copy
import json
import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from visiongate.settings.model import Model
from visiongate.settings.training import Training
from visiongate.training.batches import MIN_BATCH
from visiongate.training.choice_cache import settle_choice
from visiongate.training.hardware import Hardware
from visiongate.training.optimizers import make_optimizers

# More threads, or fp32 instead of native bf16, must make a step faster by this factor. Lower, noise would decide.
MIN_GAIN = 1.3
# If the first step takes longer than that on one thread by this factor, the threads wait for other processes.
MAX_SLOWDOWN = 2.0
# The fastest step counts, of this many, or of those that fit into the seconds.
TIMED_STEPS, MAX_SECONDS = 5, 0.15
# Floating-point operations of a step, forward and backward, above which all threads are used: the operations are long enough.
MAX_FLOPS = 2e10
# Environment variables that determine which instructions torch uses, and how threads wait for each other.
VARIABLES = ("ATEN_", "DNNL_", "GOMP_", "KMP_", "MKL_", "OMP_", "ONEDNN_")
# A backward pass computes about twice as much as a forward pass.
PASSES = 3

logger = logging.getLogger(__name__)
# What was chosen in this process, which also holds without a cache on disk.
_chosen: dict[str, Hardware] = {}


def choose_by_timing(
    default: Hardware, network: nn.Module, images: Tensor, model: Model, training: Training
) -> Hardware:
    """Return the hardware, with the precision and the threads of the fastest step.

    The first choice for a network on a machine is kept in the user's cache, because it determines the last bits of the
    weights. Neither the network nor the random state changes. If no step can be timed, the reason is logged and the default
    returned.

    Args:
        default: Its threads are the most that are used. Only a CPU's steps are timed.
        network: On the CPU, before the training.
        images: A batch, normalized, N×C×H×W.
        model: The recipe.
        training: An explicit ``training.precision`` is kept.
    """
    precisions = [default]
    if training.precision == "auto" and default.dtype is torch.bfloat16:
        precisions.append(replace(default, dtype=torch.float32))
    if default.device.type != "cpu" or (len(precisions) == 1 and default.threads == 1):
        return default
    key = json.dumps(_describe(precisions, network, images, model), sort_keys=True)
    if key not in _chosen:
        try:
            _chosen[key] = settle_choice(key, lambda: _measure(precisions, network, images, model))
        except (RuntimeError, TypeError) as error:
            # A network that cannot be copied, for example, can still be trained.
            logger.warning(
                "%s: training in %s, because no step could be timed: %s", model.name, default, error
            )
            return default
    return _chosen[key]


def _describe(
    precisions: list[Hardware], network: nn.Module, images: Tensor, model: Model
) -> Mapping[str, object]:
    """Return everything that the time of a step depends on."""
    return {
        "cpu": dict(torch.cpu.get_capabilities()),
        "torch": torch.__version__,
        "environment": {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)},
        "hardware": [str(each) for each in precisions],
        "network": [model.name, model.options, repr(network)],
        "trained": [parameter.requires_grad for parameter in network.parameters()],
        "optimizer": [model.optimizer, model.hold_norm, model.backbone_lr],
        "images": list(images.shape),
    }


def _measure(precisions: list[Hardware], network: nn.Module, images: Tensor, model: Model) -> Hardware:
    """Time steps in each precision on one thread, then on more threads, and return the best hardware."""
    flops = PASSES * _count_flops(network, images[:1])
    is_small = flops * len(images) <= MAX_FLOPS
    # The time of an image hardly depends on the size of a large batch.
    timer = _StepTimer(
        network, images if is_small else images[: max(MIN_BATCH, int(MAX_FLOPS // flops))], model
    )
    # One thread waits for no other, so that its time depends least on other processes.
    times = {each: timer.measure(replace(each, threads=1)) for each in precisions}
    default, fastest = precisions[0], min(times, key=lambda each: times[each].fastest)
    chosen = fastest if times[default].fastest > MIN_GAIN * times[fastest].fastest else default
    if is_small:
        chosen = replace(chosen, threads=_choose_threads(timer, chosen, times[chosen]))
    logger.info("Training in %s, by timed steps", chosen)
    return chosen


def _choose_threads(timer: "_StepTimer", most: Hardware, single: "_Times") -> int:
    """Return the fewest threads such that no more are clearly faster.

    Args:
        timer: Times the steps.
        most: With all threads.
        single: The times on one thread.
    """
    powers = {2**power for power in range(most.threads.bit_length())}
    seconds = {1: single.fastest}
    for count in sorted({*powers, most.threads} - {1}):
        seconds[count] = timer.measure(replace(most, threads=count), MAX_SLOWDOWN * single.first).fastest
    fastest = min(seconds.values())
    return next(count for count in seconds if seconds[count] < MIN_GAIN * fastest)


@torch.no_grad()
def _count_flops(network: nn.Module, image: Tensor) -> int:
    """Count the floating-point operations of a forward pass of an image, 1×C×H×W."""
    copied = copy.deepcopy(network).eval()
    with FlopCounterMode(display=False) as counter:
        copied(image)
    return int(counter.get_total_flops())


@dataclass(frozen=True, slots=True)
class _Times:
    """The seconds of the first step, which allocates memory and chooses kernels, and of the fastest one after it."""

    first: float
    fastest: float


class _StepTimer:
    """Times steps of a copy of a network, whose weights it does not change.

    Args:
        network: To copy.
        images: A batch, N×C×H×W.
        model: The recipe.
    """

    def __init__(self, network: nn.Module, images: Tensor, model: Model) -> None:
        self._network = copy.deepcopy(network).train()
        self._images = images
        self._labels = torch.zeros(len(images), dtype=torch.int64)
        self._optimizers = make_optimizers(self._network, model)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                # Weights that diverge could be slower.
                group["lr"] = 0.0

    def measure(self, hardware: Hardware, give_up: float = math.inf) -> _Times:
        """Time some steps, or only the first if it takes longer than the seconds of ``give_up``."""
        times: list[float] = []
        # Dropout draws random numbers.
        with hardware.computing(), torch.random.fork_rng(devices=[]):
            first = self._step(hardware)
            while first < give_up and len(times) < TIMED_STEPS and sum(times) < MAX_SECONDS:
                times.append(self._step(hardware))
        return _Times(first, min(times, default=first))

    def _step(self, hardware: Hardware) -> float:
        """Return the seconds of a step."""
        started = time.perf_counter()
        self._network.zero_grad(set_to_none=True)
        with hardware.autocast():
            logits = self._network(self._images).float()
        functional.cross_entropy(logits, self._labels).backward()
        for optimizer in self._optimizers:
            optimizer.step()
        return time.perf_counter() - started
