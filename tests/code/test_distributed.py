import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from training_tasks import TRAINING, make_task, train
from visiongate.errors import SettingsError
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


def launch(script: Path, how: Launch, **environment: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from visiongate.settings.training import Launch\n"
        "from visiongate.errors import TrainingError\n"
        "from visiongate.training.distributed import launch\n"
        f"try: launch([{str(script)!r}], Launch(**{how.model_dump()!r}))\n"
        "except TrainingError as error: sys.exit(str(error))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_two_processes_learn_like_one_and_agree(tmp_path: Path, script: Path) -> None:
    result = launch(script, Launch(processes=2, machines=1, address="localhost:29400"))
    assert result.returncode == 0, result.stderr
    first, second = (json.loads((tmp_path / f"rank{rank}").read_text()) for rank in (0, 1))
    assert first == second
    alone = train(TRAINING.model_copy(update={"epochs": 8}))[1].best
    assert abs(first["accuracy"] - alone.val_accuracy) <= 0.1
    assert first["accuracy"] > 0.9
    labels = make_task().val.labels
    loss = torch.nn.functional.cross_entropy(torch.tensor(first["logits"]), labels).item()
    # Equal losses show that the logits are in the order of the labels.
    assert math.isclose(loss, first["loss"], rel_tol=1e-4)


@pytest.mark.slow
def test_two_machines_train_together(tmp_path: Path, script: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    how = Launch(processes=1, machines=2, address=f"localhost:{port}")
    results = []
    threads = [
        threading.Thread(
            target=lambda place: results.append(launch(script, how, NODE_RANK=place)), args=(place,)
        )
        for place in ("0", "1")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.returncode for result in results] == [0, 0], results
    assert (tmp_path / "rank0").read_text() == (tmp_path / "rank1").read_text()


@pytest.mark.slow
def test_a_failed_process_is_reported_without_a_traceback(tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text("import sys; sys.exit('no such luck')")
    result = launch(script, Launch(processes=2, machines=1, address="localhost:29400"))
    assert result.returncode == 1
    assert "no such luck" in result.stderr
    assert "process 0 failed" in result.stderr or "process 1 failed" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_killed_process_is_reported_with_its_signal(tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    result = launch(script, Launch(processes=2, machines=1, address="localhost:29400"))
    assert "SIGKILL" in result.stderr


@pytest.mark.slow
def test_ctrl_c_stops_all_processes(tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(f"import time; open({str(tmp_path / 'started')!r}, 'w').close(); time.sleep(60)")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from visiongate.settings.training import Launch\n"
        "from visiongate.training.distributed import launch\n"
        f"try: launch([{str(script)!r}], Launch(processes=2, machines=1, address='localhost:29400'))\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
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
