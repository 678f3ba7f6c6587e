"""Choose device and precision, and make computations deterministic."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import nn

from visiongate.cores import usable_cores
from visiongate.errors import SettingsError
from visiongate.training.device_probe import find_fault
from visiongate.training.thread_placement import own_cores

# The module's one setting has no annotation.
deterministic: Any = torch.utils.deterministic
# The values of ``training.precision``, except ``auto``.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# The compute capability of the first NVIDIA GPUs that multiply matrices faster in fp16: Volta.
MIN_FP16_CAPABILITY = (7, 0)

logger = logging.getLogger(__name__)


def _usable_threads() -> int:
    """Return the number of torch's threads within the CPU quota of a container, which torch ignores.

    More threads than the machine has cores are kept: somebody has chosen them, to get the bytes of a larger machine.
    """
    threads = torch.get_num_threads()
    return min(threads, usable_cores()) if threads <= (os.cpu_count() or 1) else threads


@dataclass(frozen=True, slots=True)
class Hardware:
    """A device, the data type of convolutions and matrix products, and the threads that compute on a CPU."""

    device: torch.device
    dtype: torch.dtype
    threads: int = field(default_factory=_usable_threads)

    def __str__(self) -> str:
        """Describe it, such as ``bf16 on cpu with 2 threads``."""
        threads = (
            f" with {self.threads} thread{'s' * (self.threads > 1)}" if self.device.type == "cpu" else ""
        )
        return f"{self.precision} on {self.device}{threads}"

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or ``fp16``."""
        return next(name for name, dtype in DTYPES.items() if dtype is self.dtype)

    def autocast(self) -> torch.autocast:
        """Compute in `dtype` within the block; weights stay in fp32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute with `threads` within the block."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with own_cores(self.threads if self.device.type == "cpu" else 1):
                yield
        finally:
            torch.set_num_threads(before)

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device in channels-last memory; call before making an optimizer."""
        # torch's annotations lack this overload of `to`.
        return network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def choose_hardware(device: str, precision: str) -> Hardware:
    """Resolve ``training.device`` and ``training.precision``.

    ``auto`` selects a GPU if there is one, and bf16 if the device computes it natively, or else fp16 if an NVIDIA GPU does. An
    Apple GPU is tried before it is used.

    Raises:
        SettingsError: The device is not available, or it failed when it was tried.
    """
    available = _available_devices()
    if device not in ("auto", *available):
        raise SettingsError(
            f"params.yaml: training.device = {device!r} is not available: choose one of auto, {', '.join(available)}"
        )
    chosen = _choose_precision(torch.device(available[0] if device == "auto" else device), precision)
    fault = _try_device(chosen) if chosen.device.type == "mps" else None
    if fault is None:
        return chosen
    if device == "auto":
        _warn_of_fault(chosen, fault)
        return _choose_precision(torch.device("cpu"), precision)
    raise SettingsError(
        f"params.yaml: training.device = {device!r} fails in {chosen.precision} on this machine: {fault}; set "
        "training.device=cpu, or update macOS and torch"
    )


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed torch, and allow only deterministic algorithms, within the block."""
    # cuBLAS is deterministic only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode=True)
    # By default torch fills new memory with NaN to expose reads of it, which makes a step 1.5 times as long.
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


def _choose_precision(device: torch.device, precision: str) -> Hardware:
    if precision != "auto":
        return Hardware(device, DTYPES[precision])
    if _supports_bf16(device):
        return Hardware(device, torch.bfloat16)
    is_fp16 = device.type == "cuda" and torch.cuda.get_device_capability() >= MIN_FP16_CAPABILITY
    return Hardware(device, torch.float16 if is_fp16 else torch.float32)


@cache
def _try_device(hardware: Hardware) -> str | None:
    """Return why a device must not be used, or None; try it once in each process."""
    with torch.random.fork_rng(devices=[]), reproducible(0):
        return find_fault(hardware)


@cache
def _warn_of_fault(hardware: Hardware, fault: str) -> None:
    """Log a warning once: each fold chooses its hardware."""
    logger.warning(
        "training.device = auto uses the CPU, because %s fails in %s on this machine: %s",
        hardware.device,
        hardware.precision,
        fault,
    )


def _supports_bf16(device: torch.device) -> bool:
    """Return whether bf16 is faster than fp32: without native instructions it is emulated, and slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
