import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from training_tasks import TRAINING, make_task, train
from visiongate.errors import SettingsError, TrainingError
from visiongate.settings.training import Launch
from visiongate.training import distributed

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, os, sys
sys.path[:0] = {paths!r}
import torch
from training_tasks import MODEL, TRAINING, make_task
from visiongate.training import distributed
from visiongate.training.hardware import reproducible
from visiongate.training.loop import Callbacks, fit, predict_split
torch.set_num_threads(1)
with distributed.process_group(), reproducible(0):
    task = make_task()
    fitted = fit(task, MODEL, TRAINING.model_copy(update={{"epochs": 8}}), Callbacks())
    logits = predict_split(task, task.network, 7)
    outcome = {{"loss": fitted.best.val_loss, "accuracy": fitted.best.val_accuracy, "logits": logits.tolist()}}
    open({out!r} + str(distributed.rank()), "w").write(json.dumps(outcome))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    paths = [str(ROOT / "tests"), str(ROOT / "src")]
    path.write_text(SCRIPT.format(paths=paths, out=str(tmp_path / "rank")))
    return path


LAUNCHER = """
import json, sys
sys.path.insert(0, {source!r})
from visiongate.settings.training import Launch
from visiongate.training.distributed import launch
try:
    launch([{script!r}], Launch(**json.loads(sys.argv[1])))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restore the signal handlers that torch's launcher replaces in this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def start(script: Path, how: Launch, **environment: str) -> "subprocess.Popen[str]":
    """Launch a script from another process."""
    code = LAUNCHER.format(source=str(ROOT / "src"), script=str(script))
    return subprocess.Popen(
        [sys.executable, "-c", code, how.model_dump_json()],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("handlers")
def test_two_machines_learn_like_one_and_agree(
    tmp_path: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    how = Launch(processes=1, machines=2, address=f"localhost:{port}")
    other = start(script, how, NODE_RANK="1")
    monkeypatch.setenv("NODE_RANK", "0")
    distributed.launch([str(script)], how)
    _, errors = other.communicate(timeout=300)
    assert other.returncode == 0, errors
    first, second = (json.loads((tmp_path / f"rank{rank}").read_text()) for rank in (0, 1))
    assert first == second
    alone = train(TRAINING.model_copy(update={"epochs": 8}))[1].best
    assert abs(first["accuracy"] - alone.val_accuracy) <= 0.1
    assert first["accuracy"] > 0.9
    labels = make_task().val.labels
    loss = torch.nn.functional.cross_entropy(torch.tensor(first["logits"]), labels).item()
    # Equal losses show that the logits are in the order of the labels.
    assert math.isclose(loss, first["loss"], rel_tol=1e-4)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("import sys; sys.exit('no such luck')", "exit code 1"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    ],
    ids=["failed", "killed"],
)
def test_a_failed_process_is_reported_with_its_reason(
    tmp_path: Path, end: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "ends.py"
    script.write_text(end)
    with pytest.raises(TrainingError, match=rf"process [01] failed \({reason}\)"):
        distributed.launch([str(script)], Launch(processes=2, machines=1, address="localhost:29400"))
    errors = capfd.readouterr().err
    assert ("no such luck" in errors) == ("luck" in end)
    assert "Traceback" not in errors


OVERFLOWS = """
import json, sys
sys.path.insert(0, {source!r})
import torch
from torch import nn
from visiongate.training import distributed
from visiongate.training.hardware import Hardware
from visiongate.training.loss_scaling import LossScaler
with distributed.process_group():
    network = nn.Linear(1, 1, bias=False)
    parallel = distributed.parallelize(network)
    scaler = LossScaler(network, Hardware(torch.device("cpu"), torch.float16))
    outcome = []
    for overflowing in (1, None):
        network.zero_grad()
        factor = torch.inf if distributed.rank() == overflowing else 1.0
        scaler.scale(parallel(torch.ones(1, 1)).sum() * factor).backward()
        is_finite = scaler.unscale()
        outcome.append([is_finite, scaler.state()["scale"], network.weight.grad.item() if is_finite else None])
    open({out!r} + str(distributed.rank()), "w").write(json.dumps(outcome))
"""


@pytest.mark.usefixtures("handlers")
def test_an_overflow_in_one_process_skips_the_step_in_all(tmp_path: Path) -> None:
    script = tmp_path / "overflows.py"
    script.write_text(OVERFLOWS.format(source=str(ROOT / "src"), out=str(tmp_path / "rank")))
    distributed.launch([str(script)], Launch(processes=2, machines=1, address="localhost:29400"))
    for rank in (0, 1):
        outcome = json.loads((tmp_path / f"rank{rank}").read_text())
        assert outcome == [[False, 2.0**15, None], [True, 2.0**15, 1.0]]


SELECTS = """
import json, sys
sys.path[:0] = {paths!r}
import torch
from training_tasks import TRAINING
from visiongate.training import distributed
from visiongate.training.image_selection import ImageSelection
with distributed.process_group():
    training = TRAINING.model_copy(update={{"skip_easy": 0.25}})
    selection = ImageSelection(40, training, torch.device("cpu"))
    mine = distributed.local_part(torch.arange(40))
    selection.record(mine, torch.stack([mine / 40, torch.zeros(len(mine))], dim=1), torch.ones_like(mine))
    selection.finish_epoch()
    open({out!r} + str(distributed.rank()), "w").write(json.dumps(selection.choose(2).tolist()))
"""


@pytest.mark.usefixtures("handlers")
def test_processes_leave_out_the_same_easy_images(tmp_path: Path) -> None:
    script = tmp_path / "selects.py"
    paths = [str(ROOT / "tests"), str(ROOT / "src")]
    script.write_text(SELECTS.format(paths=paths, out=str(tmp_path / "rank")))
    distributed.launch([str(script)], Launch(processes=2, machines=1, address="localhost:29400"))
    first, second = (json.loads((tmp_path / f"rank{rank}").read_text()) for rank in (0, 1))
    assert first == second
    assert len(first) == 30
    assert first[-20:] == [*range(20, 40)]


@pytest.mark.slow
def test_ctrl_c_stops_all_processes(tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(f"import time; open({str(tmp_path / 'started')!r}, 'w').close(); time.sleep(60)")
    process = start(script, Launch(processes=2, machines=1, address="localhost:29400"))
    while not (tmp_path / "started").exists() and process.poll() is None:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors


def test_an_invalid_machine_index_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_RANK", "2")
    with pytest.raises(SettingsError, match="NODE_RANK"):
        distributed.launch(["x"], Launch(processes=1, machines=2, address="localhost:1"))


def test_a_single_process_needs_no_process_group() -> None:
    values = torch.arange(3.0)
    assert distributed.rank() == 0
    assert distributed.world_size() == 1
    assert torch.equal(distributed.local_part(values), values)
    assert torch.equal(distributed.gather(values, 3), values)
    assert torch.equal(distributed.sum_over_processes(values), values)
    with distributed.process_group():
        assert distributed.world_size() == 1
