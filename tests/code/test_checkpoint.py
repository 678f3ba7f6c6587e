import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training_tasks import MODEL, PLAIN, TRAINING, make_task, same_weights
from visiongate.training.checkpoint import Checkpoint, Origin
from visiongate.training.hardware import repeatable
from visiongate.training.loop import Epoch, Fitted, Listeners, fit
from visiongate.training.task import Task

ORIGIN = Origin({"model.lr": 0.05}, "data", "code", "start", "torch on cpu")
DEMANDING = TRAINING.model_copy(
    update={
        "epochs": 6,
        "ema": 0.95,
        "augmentation": PLAIN.model_copy(
            update={"shift": 1, "flip": "alternating", "noise": 0.05, "mixup": 0.2}
        ),
    }
)


class CutError(Exception):
    pass


def train(
    path: Path, optimizer: str, dtype: torch.dtype, stop_after: int | None = None
) -> tuple[Task, Fitted | None, list[str]]:
    """Train with a checkpoint; where it is to stop, leave after so many epochs without saying goodbye."""
    told = []

    def on_epoch(epoch: Epoch, _speed: float) -> None:
        if stop_after is not None and epoch.epoch > stop_after:
            raise CutError

    model = MODEL.model_copy(update={"optimizer": optimizer, "lr": 0.02})
    listeners = Listeners(
        on_epoch, on_restored=lambda history: told.append(f"after {len(history)}"), on_refused=told.append
    )
    with repeatable(0):
        task = make_task(dtype)
        try:
            return task, fit(task, model, DEMANDING, listeners, Checkpoint(path, ORIGIN)), told
        except CutError:
            return task, None, told


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    tmp_path: Path, optimizer: str, dtype: torch.dtype
) -> None:
    whole, expected, _ = train(tmp_path / "whole", optimizer, dtype)
    for stop_after in (1, 2, 4):
        train(tmp_path / "cut", optimizer, dtype, stop_after)
    resumed, fitted, told = train(tmp_path / "cut", optimizer, dtype)
    assert told == ["after 4"]
    assert fitted == expected
    assert same_weights(resumed.network, whole.network)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(ORIGIN, settings={"model.lr": 0.1}), "model.lr was 0.05 and is 0.1"),
        (replace(ORIGIN, data="others"), "the data changed"),
        (replace(ORIGIN, code="newer"), "the code changed"),
        (replace(ORIGIN, start="others"), "the weights to start from changed"),
        (
            replace(ORIGIN, environment="torch on cuda"),
            "it was made with torch on cpu, and this is torch on cuda",
        ),
    ],
)
def test_a_checkpoint_of_another_origin_is_refused_with_the_reason(
    tmp_path: Path, other: Origin, reason: str
) -> None:
    Checkpoint(tmp_path / "c", ORIGIN).save({"a": torch.ones(2)})
    assert Checkpoint(tmp_path / "c", other).load() == (None, reason)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c").write_bytes(content)
    state, reason = Checkpoint(tmp_path / "c", ORIGIN).load()
    assert state is None
    assert reason.startswith("it cannot be read")


def test_a_cut_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", ORIGIN)
    checkpoint.save({"a": torch.ones(1000)})
    content = (tmp_path / "c").read_bytes()
    for length in (4, 100, len(content) - 1):
        (tmp_path / "c").write_bytes(content[:length])
        assert checkpoint.load()[0] is None


def test_a_state_comes_back_as_it_was_and_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", ORIGIN)
    assert checkpoint.load() == (None, None)
    kernel = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    state = {
        "kernel": kernel,
        "steps": {0: {"step": torch.tensor(3.0)}, 1: None},
        "history": [{"epoch": 1}, 0.5],
    }
    checkpoint.save(state)
    (tmp_path / ".c.leftover").write_bytes(b"half")
    found, reason = checkpoint.load()
    assert reason is None
    assert torch.equal(found.pop("kernel"), state.pop("kernel"))
    assert found == state
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    checkpoint.remove()
    assert not list(tmp_path.iterdir())


def test_the_run_that_the_training_was_told_to_is_remembered(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", ORIGIN)
    assert checkpoint.run_id == ""
    checkpoint.run_id = "abc"
    checkpoint.save({"epoch": 1})
    assert Checkpoint(tmp_path / "c", ORIGIN).run_id == "abc"
    assert Checkpoint(tmp_path / "c", replace(ORIGIN, data="other")).run_id == ""


KILLED = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import torch
from test_checkpoint import train
task, fitted, told = train(Path({checkpoint!r}), "muon", torch.float32)
print(told)
torch.save(task.network.state_dict(), {weights!r})
"""


def test_a_training_that_was_killed_goes_on(tmp_path: Path) -> None:
    whole, _, _ = train(tmp_path / "whole", "muon", torch.float32)
    checkpoint, weights = tmp_path / "cut", tmp_path / "weights.pt"
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), str(here.parents[1] / "src")]
    script = KILLED.format(paths=paths, checkpoint=str(checkpoint), weights=str(weights))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.startswith("['after ") or not checkpoint.exists(), output
    state = torch.load(weights, weights_only=True)
    assert json.dumps(sorted(state)) == json.dumps(sorted(whole.network.state_dict()))
    assert all(torch.equal(state[name], value) for name, value in whole.network.state_dict().items())
