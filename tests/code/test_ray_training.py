"""A training on a Ray cluster of this machine, which starts once for all tests."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import yaml
from ray.exceptions import ActorDiedError
from test_train_stage import output_hashes, settings

from visiongate.adapters.ray import cluster
from visiongate.adapters.ray.training import find_cause
from visiongate.errors import DivergedError, EngineError
from visiongate.settings.engine import Engine
from visiongate.settings.schema import Settings
from visiongate.training import distributed
from visiongate.training import stage as train
from workspaces import enter_workspace, write_pixels

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RANKS = {"processes": 2, "machines": 1, "address": "localhost:29400"}


def on_ray(chosen: Settings) -> Settings:
    # Two processes also on one core.
    engine = chosen.engine.model_copy(update={"kind": "ray", "address": "local", "workers": 2})
    return chosen.model_copy(update={"engine": engine})


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    started = on_ray(settings()).engine
    with cluster.connect(started), pytest.MonkeyPatch.context() as patched:
        patched.setattr(cluster, "connect", lambda _settings: nullcontext())
        yield started


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    write_pixels(Path("data/transformed"))
    return tmp_path / "workspace"


def run(function: Callable[[], None], engine: Engine) -> None:
    chosen = settings(training__launch=RANKS)
    distributed.run_on_cluster(function, chosen.training.launch, engine)


def train_with_torchrun(chosen: Settings) -> dict[str, str]:
    Path("params.yaml").write_text(yaml.safe_dump(chosen.model_dump(), sort_keys=False))
    (Path("src")).symlink_to(ROOT / "src")
    train.run(chosen)
    return output_hashes()


@pytest.mark.usefixtures("workspace", "engine")
def test_outputs_are_those_of_torchrun_also_if_a_process_is_killed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    chosen = settings(training__launch=RANKS)
    expected = train_with_torchrun(chosen)
    for path in map(Path, expected):
        path.unlink()
    killed = train.train_in_process

    def kill_once(given: Settings) -> None:
        """The second process ends in its second epoch."""
        from visiongate.training import distributed, loop  # noqa: PLC0415

        class Mortal(loop.Trainer):
            def train_epoch(self, epoch, on_images):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
                deed = Path("killed")
                if (distributed.rank(), epoch) == (1, 2) and not deed.exists():
                    deed.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().train_epoch(epoch, on_images)

        loop.Trainer = Mortal  # type: ignore[misc]
        killed(given)

    monkeypatch.setattr(train, "train_in_process", kill_once)
    capfd.readouterr()
    train.run(on_ray(chosen))
    assert output_hashes() == expected
    assert Path("killed").exists()
    assert caplog.text.count("a process of the training was lost") == 1
    shown = capfd.readouterr()
    assert shown.out.count("small_cnn: validation accuracy") == 1
    assert "Resuming after epoch 1" in shown.err
    assert not list(Path("logs").glob("ray-train-*"))


@pytest.mark.usefixtures("workspace")
def test_full_disk_of_a_process_is_raised_as_it_is(engine: Engine) -> None:
    def fail() -> None:
        from visiongate.training import distributed  # noqa: PLC0415

        Path(f"started-{os.getpid()}").touch()
        # The other process waits for this one.
        if distributed.rank() == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "models/model.onnx")
        distributed.is_equal_everywhere(0)

    with pytest.raises(OSError, match="No space") as raised:
        run(fail, engine)
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, "models/model.onnx")
    # It is not tried again.
    assert len(list(Path().glob("started-*"))) == 2


@pytest.mark.parametrize(
    ("failures", "cause"),
    [
        ([RuntimeError("Connection closed by peer"), DivergedError("the loss is nan")], "the loss is nan"),
        ([RuntimeError("Connection closed by peer"), KeyError("a bug")], "a bug"),
        ([RuntimeError("Connection closed by peer"), ActorDiedError()], "a process of the training was lost"),
        ([ConnectionResetError("reset")], "a process of the training was lost: reset"),
    ],
)
def test_cause_is_the_error_of_the_function_if_there_is_one(failures: list[Exception], cause: str) -> None:
    with pytest.raises(Exception, match=cause):
        raise find_cause(failures)


@pytest.mark.usefixtures("workspace")
def test_processes_that_never_fit_are_refused(engine: Engine) -> None:
    resources = engine.resources.model_copy(
        update={"training": engine.resources.training.model_copy(update={"gpus": 3.0})}
    )
    with pytest.raises(EngineError, match=r"need 6 GPU, and the cluster has .* 0 GPU; lower"):
        run(partial(sys.exit, 0), engine.model_copy(update={"resources": resources}))
