"""On what to train, in which precision and memory layout, and how to make it repeatable."""

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

filling: Any = torch.utils.deterministic  # its one setting has no annotation

PROBE_CHANNELS, PROBE_SIDE, PROBE_BATCH = 64, 16, 64  # of a block such as small-image networks are made of
PROBE_ROUNDS = 6
WORTH = (
    1.25  # times as fast as fp32 must another choice be; less may be noise, and the choice must not wander
)


@dataclass(frozen=True, slots=True)
class Hardware:
    """A device, the type that convolutions and products compute in, and how images lie in memory."""

    device: torch.device
    dtype: torch.dtype
    layout: torch.memory_format = torch.channels_last

    @property
    def precision(self) -> str:
        """``bf16`` or ``fp32``."""
        return "bf16" if self.dtype is torch.bfloat16 else "fp32"

    def autocast(self) -> torch.autocast:
        """Compute in `dtype` within the block; weights and sums stay in fp32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device, its kernels in the layout; before its optimizer is made."""
        # The one form of `to` that torch's own annotations leave out.
        return network.to(self.device).to(memory_format=self.layout)  # type: ignore[call-overload,no-any-return]

    def arrange(self, pixels: Tensor) -> Tensor:
        """Lay images, N×C×H×W, in memory as the network takes them."""
        return pixels.contiguous(memory_format=self.layout)


def choose_hardware(device: str, precision: str) -> Hardware:
    """Resolve ``training.device`` and ``training.precision``.

    ``auto`` takes a GPU where there is one, and the precision and layout that a short probe finds fastest there.

    Raises:
        SettingsError: A device is asked for that is not there.
    """
    present = _present_devices()
    if device not in ("auto", *present):
        raise SettingsError(f"training.device = {device!r}: not on this machine; it has {', '.join(present)}")
    chosen = torch.device(present[0] if device == "auto" else device)
    if precision == "auto":
        return find_fastest(chosen)
    return Hardware(chosen, torch.bfloat16 if precision == "bf16" else torch.float32)


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Seed torch and allow only algorithms that give the same bits each time, within the block."""
    # cuBLAS is repeatable only with a fixed work space.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), filling.fill_uninitialized_memory
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode=True)
    # Fresh memory is filled with NaN by default, to show who reads it too early: half as much time again for each step.
    filling.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before[0])
        filling.fill_uninitialized_memory = before[1]


def _present_devices() -> list[str]:
    """The devices of this machine, best first."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, there in present.items() if there]


@cache
def find_fastest(device: torch.device) -> Hardware:
    """Choose by time: on some CPUs bf16 is four times as fast as fp32, on others it is slower."""
    plain = Hardware(device, torch.float32)
    others = [Hardware(device, torch.float32, torch.contiguous_format)]
    if _computes_bf16(device):
        others.append(Hardware(device, torch.bfloat16))
    # Nothing drawn here may change what is trained. On a busy machine one thread is disturbed less than several that wait for
    # each other.
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = time_passes([plain, *others])
    torch.set_num_threads(threads)
    torch.set_rng_state(state)
    fastest = min(others, key=lambda other: seconds[other])
    return fastest if seconds[fastest] * WORTH < seconds[plain] else plain


def time_passes(candidates: list[Hardware]) -> dict[Hardware, float]:
    """Return each one's least time of a forward and backward pass, in seconds; by turns, so that all meet like disturbances."""
    passes = [_Pass(candidate) for candidate in candidates]
    for one in passes:
        one.time()  # the first compiles and allocates
    rounds = [[one.time() for one in passes] for _ in range(PROBE_ROUNDS)]
    return dict(zip(candidates, map(min, zip(*rounds, strict=True)), strict=True))


class _Pass:
    """Two convolutions with batch norm, forward and backward."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        self._network = hardware.place(
            nn.Sequential(
                nn.Conv2d(PROBE_CHANNELS, PROBE_CHANNELS, 3, padding=1, bias=False),
                nn.BatchNorm2d(PROBE_CHANNELS),
                nn.ReLU(),
                nn.Conv2d(PROBE_CHANNELS, PROBE_CHANNELS, 3, padding=1, bias=False),
            )
        )
        images = torch.randn(PROBE_BATCH, PROBE_CHANNELS, PROBE_SIDE, PROBE_SIDE, device=hardware.device)
        self._images = hardware.arrange(images)

    def time(self) -> float:
        started = time.perf_counter()
        with self._hardware.autocast():
            outputs = self._network(self._images)
        outputs.float().square().mean().backward()
        if self._hardware.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
