from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from visiongate.errors import SettingsError
from visiongate.training.device_probe import CLASSES, find_fault
from visiongate.training.hardware import DTYPES, Hardware, choose_hardware, reproducible

CPU = torch.device("cpu")


class Layer(nn.Module):
    """A layer of one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, values: Tensor) -> Tensor:
        return self._function(values)


def network_with(function: Callable[[Tensor], Tensor]) -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3), Layer(function), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, CLASSES))


def without_deterministic_algorithm(values: Tensor) -> Tensor:
    flat = values.flatten()
    return torch.zeros_like(flat).put_(torch.arange(len(flat)), flat).view_as(values)


def without_kernel(values: Tensor) -> Tensor:
    return values * torch.linalg.det(torch.eye(2, dtype=torch.float16))


def noisy(values: Tensor) -> Tensor:
    generator = torch.Generator()
    generator.seed()
    return values + torch.rand(values.shape, generator=generator)


def imprecise(values: Tensor) -> Tensor:
    """In fp32 this changes little, and in bf16 it leaves nothing of the values."""
    return (values + 1000) - 1000


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_a_device_that_trains_has_no_fault(dtype: torch.dtype) -> None:
    with reproducible(0):
        assert find_fault(Hardware(CPU, dtype)) is None


@pytest.mark.parametrize(
    ("function", "dtype", "reason"),
    [
        (without_deterministic_algorithm, torch.float32, "put_ does not have a deterministic implementation"),
        (without_kernel, torch.float32, "not implemented for 'Half'"),
        (noisy, torch.float32, "give different weights each time"),
        (imprecise, torch.bfloat16, "give other weights than on the CPU"),
        (torch.log, torch.float32, "give infinite or NaN weights"),
    ],
    ids=["algorithm", "kernel", "noise", "precision", "nan"],
)
def test_a_device_that_fails_has_a_fault(
    function: Callable[[Tensor], Tensor], dtype: torch.dtype, reason: str
) -> None:
    with reproducible(0):
        fault = find_fault(Hardware(CPU, dtype), lambda: network_with(function))
    assert reason in fault
    assert "\n" not in fault


def test_a_device_without_memory_has_a_fault() -> None:
    with reproducible(0):
        assert "meta" in find_fault(Hardware(torch.device("meta"), torch.float32))


@pytest.fixture
def broken_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch offer a device that fails, as some versions of macOS make it do."""
    if torch.backends.mps.is_built() or torch.cuda.is_available():
        pytest.skip("needs a build of torch without mps, and a machine without CUDA")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.mark.usefixtures("broken_mps")
def test_auto_uses_the_cpu_if_mps_fails_and_logs_why(caplog: pytest.LogCaptureFixture) -> None:
    state = torch.get_rng_state()
    for _ in range(2):
        assert choose_hardware("auto", "auto") == choose_hardware("cpu", "auto")
    (message,) = caplog.messages
    assert "training.device = auto uses the CPU, because mps fails in fp32 on this machine" in message
    assert "not linked with support for mps" in message
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("broken_mps")
def test_mps_that_fails_raises_an_error_if_it_is_required() -> None:
    with pytest.raises(
        SettingsError,
        match=r"training\.device = 'mps' fails in bf16.* not linked .*set training\.device=cpu, or update macOS",
    ):
        choose_hardware("mps", "bf16")
