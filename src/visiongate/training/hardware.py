"""Choose device, precision and memory layout, and make computations deterministic."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from visiongate.errors import SettingsError

# The module's one setting has no annotation.
deterministic: Any = torch.utils.deterministic

# The probe's block: channels, height and width, and batch size of a typical network for small images.
PROBE_CHANNELS, PROBE_SIDE, PROBE_BATCH = 64, 16, 64
PROBE_ROUNDS = 6
# Speedup over fp32 that justifies another choice. A smaller one may be noise, and the choice must be stable.
MIN_SPEEDUP = 1.25


@dataclass(frozen=True, slots=True)
class Hardware:
    """A device, the data type of convolutions and matrix products, and the memory layout of images."""

    device: torch.device
    dtype: torch.dtype
    layout: torch.memory_format = torch.channels_last

    @property
    def precision(self) -> str:
        """``bf16`` or ``fp32``."""
        return "bf16" if self.dtype is torch.bfloat16 else "fp32"

    def autocast(self) -> torch.autocast:
        """Compute in `dtype` within the block; weights stay in fp32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device and set its memory layout; call before making an optimizer."""
        # torch's annotations lack this overload of `to`.
        return network.to(self.device).to(memory_format=self.layout)  # type: ignore[call-overload,no-any-return]

    def arrange(self, pixels: Tensor) -> Tensor:
        """Return images, N×C×H×W, in the memory layout of the network."""
        return pixels.contiguous(memory_format=self.layout)


def choose_hardware(device: str, precision: str) -> Hardware:
    """Resolve ``training.device`` and ``training.precision``.

    ``auto`` selects a GPU if there is one, and the fastest precision and layout in a short benchmark.

    Raises:
        SettingsError: The device is not available.
    """
    available = _available_devices()
    if device not in ("auto", *available):
        raise SettingsError(
            f"params.yaml: training.device = {device!r} is not available: choose one of auto, {', '.join(available)}"
        )
    chosen = torch.device(available[0] if device == "auto" else device)
    if precision == "auto":
        return find_fastest(chosen)
    return Hardware(chosen, torch.bfloat16 if precision == "bf16" else torch.float32)


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed torch, and allow only deterministic algorithms, within the block."""
    # cuBLAS is deterministic only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode=True)
    # By default torch fills new memory with NaN to expose reads of it, which makes a step half again as long.
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before[0])
        deterministic.fill_uninitialized_memory = before[1]


def _available_devices() -> list[str]:
    """List the devices of this machine, the fastest first."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, is_available in available.items() if is_available]


@cache
def find_fastest(device: torch.device) -> Hardware:
    """Benchmark precisions and layouts. On some CPUs bf16 is four times as fast as fp32; on others it is slower."""
    fp32 = Hardware(device, torch.float32)
    others = [Hardware(device, torch.float32, torch.contiguous_format)]
    if _supports_bf16(device):
        others.append(Hardware(device, torch.bfloat16))
    # The benchmark must not change the random numbers of the training. One thread suffers less from a busy machine.
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = time_passes([fp32, *others])
    torch.set_num_threads(threads)
    torch.set_rng_state(state)
    fastest = min(others, key=lambda other: seconds[other])
    return fastest if seconds[fastest] * MIN_SPEEDUP < seconds[fp32] else fp32


def time_passes(candidates: list[Hardware]) -> dict[Hardware, float]:
    """Return the shortest time of a forward and backward pass on each candidate, in seconds.

    The candidates take turns, so that a busy machine affects all of them.
    """
    passes = [_Pass(candidate) for candidate in candidates]
    # The first pass compiles and allocates.
    for one in passes:
        one.time()
    rounds = [[one.time() for one in passes] for _ in range(PROBE_ROUNDS)]
    return dict(zip(candidates, map(min, zip(*rounds, strict=True)), strict=True))


class _Pass:
    """A forward and backward pass of two convolutions with batch norm."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        channels = PROBE_CHANNELS
        self._network = hardware.place(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            )
        )
        images = torch.randn(PROBE_BATCH, channels, PROBE_SIDE, PROBE_SIDE, device=hardware.device)
        self._images = hardware.arrange(images)

    def time(self) -> float:
        started = time.perf_counter()
        with self._hardware.autocast():
            outputs = self._network(self._images)
        outputs.float().square().mean().backward()
        if self._hardware.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


def _supports_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
