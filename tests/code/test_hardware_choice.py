"""Precision and threads follow timed steps of the network, once on a machine, and timing changes nothing else."""

import copy
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training_tasks import MODEL, TRAINING, TinyCNN, make_task, same_weights
from visiongate.errors import SettingsError
from visiongate.images.pixels import PixelSplit
from visiongate.records.transform import Transform
from visiongate.training import hardware_choice
from visiongate.training.choice_cache import DATABASE, settle_choice
from visiongate.training.hardware import Hardware
from visiongate.training.hardware_choice import choose_by_timing
from visiongate.training.loop import Callbacks, fit
from visiongate.training.task import build_task
from visiongate.training.trainer import Trainer

CPU = torch.device("cpu")
AUTO = TRAINING.model_copy(update={"precision": "auto"})
IMAGES = torch.rand(8, 1, 4, 4)
Seconds = Mapping[tuple[str, int], float]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache on disk and in the process."""
    monkeypatch.setenv("VISIONGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hardware_choice, "_chosen", {})
    return tmp_path / "cache" / DATABASE


def take_seconds(monkeypatch: pytest.MonkeyPatch, seconds: Seconds) -> list[Hardware]:
    """Replace the clock: a step takes the seconds of its precision and threads. Return what is timed, as it is."""
    timed: list[Hardware] = []

    def step(_: object, hardware: Hardware) -> float:
        assert torch.get_num_threads() == hardware.threads
        timed.append(hardware)
        return seconds[hardware.precision, hardware.threads]

    monkeypatch.setattr("visiongate.training.hardware_choice._StepTimer._step", step)
    return timed


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        # A second thread that gains a quarter is not worth it; one that gains a half is.
        ({("bf16", 1): 5, ("fp32", 1): 6, ("bf16", 2): 4, ("bf16", 4): 4}, ("bf16", 1)),
        ({("bf16", 1): 6, ("fp32", 1): 6, ("bf16", 2): 4, ("bf16", 4): 3.5}, ("bf16", 2)),
        ({("bf16", 1): 6, ("fp32", 1): 8, ("bf16", 2): 5, ("bf16", 4): 3}, ("bf16", 4)),
        # Other processes use the cores.
        ({("bf16", 1): 5, ("fp32", 1): 6, ("bf16", 2): 90, ("bf16", 4): 300}, ("bf16", 1)),
        # Native bf16 is kept unless it is clearly slower.
        ({("bf16", 1): 6, ("fp32", 1): 5, ("bf16", 2): 6, ("bf16", 4): 6}, ("bf16", 1)),
        ({("bf16", 1): 8, ("fp32", 1): 5, ("fp32", 2): 3, ("fp32", 4): 3}, ("fp32", 2)),
    ],
)
def test_the_alternative_must_be_clearly_faster(
    seconds: Seconds, expected: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_seconds(monkeypatch, seconds)
    chosen = choose_by_timing(Hardware(CPU, torch.bfloat16, 4), TinyCNN(), IMAGES, MODEL, AUTO)
    assert (chosen.precision, chosen.threads) == expected


def test_threads_that_wait_for_other_processes_are_not_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = take_seconds(monkeypatch, {("fp32", 1): 0.01, ("fp32", 2): 0.5})
    choose_by_timing(Hardware(CPU, torch.float32, 2), TinyCNN(), IMAGES, MODEL, TRAINING)
    assert [each.threads for each in timed].count(2) == 1


def test_a_large_step_takes_all_threads_and_is_timed_on_part_of_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    class Recorder(TinyCNN):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            return super().forward(images)

    network = Recorder()
    monkeypatch.setattr(hardware_choice, "MAX_FLOPS", 4 * 3 * 2 * (16 * 9 * 8 + 16 * 72 * 8 + 128 * 2))
    chosen = choose_by_timing(Hardware(CPU, torch.bfloat16, 4), network, IMAGES, MODEL, AUTO)
    assert chosen.threads == 4
    # An image to count the operations, then as many as the limit holds.
    assert sizes[0] == 1
    assert set(sizes[1:]) == {4}


def test_an_explicit_precision_and_other_devices_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = take_seconds(monkeypatch, {("bf16", 1): 9, ("bf16", 2): 9})
    explicit = TRAINING.model_copy(update={"precision": "bf16"})
    chosen = choose_by_timing(Hardware(CPU, torch.bfloat16, 2), TinyCNN(), IMAGES, MODEL, explicit)
    assert chosen.precision == "bf16"
    assert {each.precision for each in timed} == {"bf16"}
    timed.clear()
    for default in (Hardware(CPU, torch.float32, 1), Hardware(torch.device("cuda"), torch.bfloat16, 2)):
        assert choose_by_timing(default, TinyCNN(), IMAGES, MODEL, AUTO) == default
    assert not timed


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_timing_changes_neither_the_network_nor_the_random_state(optimizer: str, cache: Path) -> None:
    network = TinyCNN().eval()
    before, state, threads = copy.deepcopy(network), torch.get_rng_state(), torch.get_num_threads()
    model = MODEL.model_copy(update={"optimizer": optimizer, "hold_norm": optimizer == "muon"})
    choose_by_timing(Hardware(CPU, torch.bfloat16, 2), network, IMAGES, model, AUTO)
    assert cache.exists()
    assert same_weights(network, before)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def choose(network: nn.Module | None = None, batch: int = 8) -> Hardware:
    default = Hardware(CPU, torch.float32, 2)
    return choose_by_timing(default, network or TinyCNN(), IMAGES[:batch], MODEL, TRAINING)


ONE_IS_FASTER: Seconds = {("fp32", 1): 3, ("fp32", 2): 3}
TWO_ARE_FASTER: Seconds = {("fp32", 1): 6, ("fp32", 2): 3}


def test_a_machine_chooses_once_for_a_network_and_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    take_seconds(monkeypatch, ONE_IS_FASTER)
    assert choose().threads == 1
    take_seconds(monkeypatch, TWO_ARE_FASTER)
    # Another process, with other weights.
    monkeypatch.setattr(hardware_choice, "_chosen", {})
    assert choose().threads == 1
    assert choose(batch=4).threads == 2
    assert choose(nn.Sequential(nn.Flatten(), nn.Linear(16, 2))).threads == 2


def test_other_instructions_are_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    take_seconds(monkeypatch, ONE_IS_FASTER)
    assert choose().threads == 1
    take_seconds(monkeypatch, TWO_ARE_FASTER)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert choose().threads == 2


def test_threads_keep_to_the_quota_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr("visiongate.training.hardware.usable_cores", lambda: 2)
    chosen = {}
    for threads in (1, 4, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        chosen[threads] = Hardware(CPU, torch.float32).threads
    # Five were chosen for a purpose.
    assert chosen == {1: 1, 4: 2, 5: 5}


def test_a_batch_of_one_image_is_not_timed() -> None:
    split = PixelSplit(np.zeros((8, 32, 32, 3), np.uint8), np.arange(8) % 2)
    transform = Transform(32, "RGB", "stretch", [0.5] * 3, [0.5] * 3, ["a", "b"])
    training = AUTO.model_copy(update={"epochs": 100})
    # Its last batch norm has a single value for each channel of an image of this size.
    model = MODEL.model_copy(update={"name": "resnet18", "batch_size": 1})
    task = build_task(transform, (split, split), model, training)
    with pytest.raises(SettingsError, match=r"model\.batch_size = 1 is invalid"):
        Trainer(task, model, training)


def test_a_network_that_cannot_be_copied_is_trained_as_by_default(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = TinyCNN()
    # torch copies no tensor that was computed from weights.
    network.norm = network.head.weight.norm()
    assert choose(network) == Hardware(CPU, torch.float32, 2)
    assert "no step could be timed: Only Tensors created explicitly" in caplog.text
    assert not cache.exists()


def test_without_a_cache_a_process_chooses_once(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("VISIONGATE_CACHE_MB", "0")
    take_seconds(monkeypatch, ONE_IS_FASTER)
    assert choose().threads == 1
    take_seconds(monkeypatch, TWO_ARE_FASTER)
    assert choose().threads == 1
    assert not cache.exists()


def test_a_damaged_cache_is_replaced(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_bytes(b"no database" * 100)
    take_seconds(monkeypatch, ONE_IS_FASTER)
    assert choose().threads == 1
    monkeypatch.setattr(hardware_choice, "_chosen", {})
    take_seconds(monkeypatch, TWO_ARE_FASTER)
    assert choose().threads == 1


def test_a_folder_that_cannot_be_written_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VISIONGATE_CACHE", str(tmp_path / "file"))
    take_seconds(monkeypatch, ONE_IS_FASTER)
    assert choose().threads == 1
    assert "is not kept" in caplog.text


def test_an_unknown_precision_on_disk_is_not_used(cache: Path) -> None:
    chosen = Hardware(CPU, torch.float32, 2)
    settle_choice("key", lambda: chosen)
    with sqlite3.connect(cache) as database:
        database.execute("UPDATE choices SET precision = 'fp8'")
    assert settle_choice("key", lambda: chosen) == chosen


def test_the_first_of_several_processes_decides() -> None:
    def settle(threads: int) -> Hardware:
        return settle_choice("key", lambda: Hardware(CPU, torch.float32, threads))

    with ThreadPool(8) as pool:
        assert len(set(pool.map(settle, range(1, 33)))) == 1


def test_a_training_computes_with_its_threads() -> None:
    task = make_task()
    task = replace(task, hardware=replace(task.hardware, threads=3))
    before, seen = torch.get_num_threads(), set()
    callbacks = Callbacks(on_images=lambda _: seen.add(torch.get_num_threads()))
    fit(task, MODEL, TRAINING, callbacks)
    assert seen == {3}
    assert torch.get_num_threads() == before
