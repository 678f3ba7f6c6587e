"""Choose device and precision, and make computations deterministic."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from visiongate.errors import SettingsError

# The module's one setting has no annotation.
deterministic: Any = torch.utils.deterministic


@dataclass(frozen=True, slots=True)
class Hardware:
    """A device, and the data type of convolutions and matrix products."""

    device: torch.device
    dtype: torch.dtype

    @property
    def precision(self) -> str:
        """``bf16`` or ``fp32``."""
        return "bf16" if self.dtype is torch.bfloat16 else "fp32"

    def autocast(self) -> torch.autocast:
        """Compute in `dtype` within the block; weights stay in fp32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device in channels-last memory; call before making an optimizer."""
        # torch's annotations lack this overload of `to`.
        return network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def choose_hardware(device: str, precision: str) -> Hardware:
    """Resolve ``training.device`` and ``training.precision``.

    ``auto`` selects a GPU if there is one, and bf16 if the device computes it natively.

    Raises:
        SettingsError: The device is not available.
    """
    available = _available_devices()
    if device not in ("auto", *available):
        raise SettingsError(
            f"params.yaml: training.device = {device!r} is not available: choose one of auto, {', '.join(available)}"
        )
    chosen = torch.device(available[0] if device == "auto" else device)
    is_bf16 = precision == "bf16" or (precision == "auto" and _supports_bf16(chosen))
    return Hardware(chosen, torch.bfloat16 if is_bf16 else torch.float32)


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


def _supports_bf16(device: torch.device) -> bool:
    """Return whether bf16 is faster than fp32: without native instructions it is emulated, and slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
