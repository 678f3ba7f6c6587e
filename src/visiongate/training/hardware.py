"""On what to train, in which precision, and how to make it repeatable."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from visiongate.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Hardware:
    """A device, and the type that convolutions and products compute in."""

    device: torch.device
    dtype: torch.dtype

    @property
    def precision(self) -> str:
        """``bf16`` or ``fp32``."""
        return "bf16" if self.dtype is torch.bfloat16 else "fp32"

    def autocast(self) -> torch.autocast:
        """Compute in `dtype` within the block; weights and sums stay in fp32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)


def choose_hardware(device: str, precision: str) -> Hardware:
    """Resolve ``training.device`` and ``training.precision``.

    ``auto`` takes a GPU where there is one, and bf16 where the chip computes in it: four times as fast as fp32 on a CPU with
    matrix units.

    Raises:
        SettingsError: A device is asked for that is not there.
    """
    present = _present_devices()
    if device not in ("auto", *present):
        raise SettingsError(f"training.device = {device!r}: not on this machine; it has {', '.join(present)}")
    chosen = torch.device(present[0] if device == "auto" else device)
    if precision == "auto":
        precision = "bf16" if _computes_bf16(chosen) else "fp32"
    return Hardware(chosen, torch.bfloat16 if precision == "bf16" else torch.float32)


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Seed torch and allow only algorithms that give the same bits each time, within the block."""
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # cuBLAS is repeatable only with a fixed work space
    before = torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before)


def _present_devices() -> list[str]:
    """The devices of this machine, best first."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, there in present.items() if there]


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
