import multiprocessing
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from training_tasks import MODEL, PLAIN, TRAINING, make_task, same_weights
from visiongate.records.history import EpochMetrics
from visiongate.training import fingerprint
from visiongate.training.checkpoint import Checkpoint
from visiongate.training.hardware import reproducible
from visiongate.training.loop import Callbacks, FitResult, fit
from visiongate.training.task import Task

INPUTS = {"model.lr": 0.05, "data": "abc", "hardware": "fp32 on cpu"}
DEMANDING = TRAINING.model_copy(
    update={
        "epochs": 6,
        "ema": 0.95,
        "skip_easy": 0.2,
        "augmentation": PLAIN.model_copy(
            update={"shift": 1, "flip": "alternating", "noise": 0.05, "mixup": 0.2}
        ),
    }
)


class CutError(Exception):
    pass


def train(
    path: Path,
    optimizer: str,
    dtype: torch.dtype,
    stop_after: int | None = None,
    changes: Mapping[str, object] = MappingProxyType({}),
) -> tuple[Task, FitResult | None, list[str]]:
    """Train with a checkpoint; an exception interrupts the training after ``stop_after`` epochs."""
    messages = []

    def on_epoch(epoch: EpochMetrics, _speed: float) -> None:
        if stop_after is not None and epoch.epoch > stop_after:
            raise CutError

    model = MODEL.model_copy(update={"optimizer": optimizer, "lr": 0.02, **changes})
    callbacks = Callbacks(
        on_epoch,
        on_resumed=lambda history: messages.append(f"after {len(history)}"),
        on_checkpoint_rejected=messages.append,
    )
    with reproducible(0):
        task = make_task(dtype)
        try:
            return task, fit(task, model, DEMANDING, callbacks, Checkpoint(path, INPUTS)), messages
        except CutError:
            return task, None, messages


@pytest.mark.parametrize(
    ("dtype", "changes"),
    [
        (torch.float32, {}),
        (torch.bfloat16, {}),
        (torch.float16, {}),
        (torch.float32, {"backbone_lr": 0.01, "unfreeze_after": 3, "hold_norm": True}),
    ],
    ids=["fp32", "bf16", "fp16", "unfrozen"],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_resumed_training_ends_like_an_uninterrupted_one(
    tmp_path: Path, optimizer: str, dtype: torch.dtype, changes: dict[str, object]
) -> None:
    whole, expected, _ = train(tmp_path / "whole", optimizer, dtype, changes=changes)
    for stop_after in (1, 2, 4):
        train(tmp_path / "cut", optimizer, dtype, stop_after, changes)
    resumed, fitted, messages = train(tmp_path / "cut", optimizer, dtype, changes=changes)
    assert messages == ["after 4"]
    assert fitted == expected
    assert same_weights(resumed.network, whole.network)


@pytest.mark.parametrize(
    ("name", "value"), [("model.lr", 0.1), ("data", "def"), ("hardware", "bf16 on cuda")]
)
def test_a_checkpoint_of_other_inputs_is_rejected_with_the_reason(
    tmp_path: Path, name: str, value: object
) -> None:
    Checkpoint(tmp_path / "c", INPUTS).save({"a": torch.ones(2)})
    state, reason = Checkpoint(tmp_path / "c", INPUTS | {name: value}).load()
    assert state is None
    assert reason.startswith(name)


@pytest.mark.parametrize(
    ("module", "counts"), [("records/history.py", True), ("training/loop.py", True), ("cores.py", False)]
)
def test_the_hash_of_the_code_changes_with_what_determines_the_weights(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, counts: bool
) -> None:
    source = shutil.copytree(fingerprint.SOURCE, tmp_path / "source")
    monkeypatch.setattr(fingerprint, "SOURCE", source)
    before = fingerprint.code_sha256()
    with (source / module).open("a") as file:
        file.write("# Changed.\n")
    assert (fingerprint.code_sha256() != before) == counts


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_is_not_a_checkpoint_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c").write_bytes(content)
    state, reason = Checkpoint(tmp_path / "c", INPUTS).load()
    assert state is None
    assert reason


def test_a_truncated_checkpoint_is_rejected(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", INPUTS)
    checkpoint.save({"a": torch.ones(1000)})
    content = (tmp_path / "c").read_bytes()
    for length in (4, 100, len(content) - 1):
        (tmp_path / "c").write_bytes(content[:length])
        assert checkpoint.load()[0] is None


def test_a_state_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", INPUTS)
    assert checkpoint.load() == (None, None)
    kernel = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    state = {"kernel": kernel, "steps": [{"step": torch.tensor(3.0)}, None], "history": [{"epoch": 1}, 0.5]}
    checkpoint.save(state)
    loaded, reason = checkpoint.load()
    assert reason is None
    assert torch.equal(loaded.pop("kernel"), state.pop("kernel"))
    assert loaded == state
    checkpoint.remove()
    assert not list(tmp_path.iterdir())


def test_the_tracked_run_is_stored(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", INPUTS)
    assert checkpoint.run_id == ""
    checkpoint.run_id = "abc"
    checkpoint.save({"epoch": 1})
    assert Checkpoint(tmp_path / "c", INPUTS).run_id == "abc"
    assert Checkpoint(tmp_path / "c", INPUTS | {"data": "other"}).run_id == ""


def test_a_killed_training_resumes(tmp_path: Path) -> None:
    whole, expected, _ = train(tmp_path / "whole", "muon", torch.float32)
    checkpoint = tmp_path / "cut"
    # A fork has imported torch.
    arguments = (checkpoint, "muon", torch.float32)
    process = multiprocessing.get_context("fork").Process(target=train, args=arguments)
    process.start()
    while not checkpoint.exists() and process.is_alive():
        time.sleep(0.001)
    process.kill()
    process.join()
    finished = not checkpoint.exists()
    resumed, fitted, messages = train(checkpoint, "muon", torch.float32)
    assert finished or messages[0].startswith("after ")
    assert fitted == expected
    assert same_weights(resumed.network, whole.network)
