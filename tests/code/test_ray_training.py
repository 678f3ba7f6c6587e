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
from test_train_stage import output_hashes, settings

from visiongate.adapters.ray import cluster
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
def test_outputs_are_those_of_torchrun_also_if_processes_are_killed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    chosen = settings(training__launch=RANKS)
    expected = train_with_torchrun(chosen)
    for path in map(Path, expected):
        path.unlink()
    killed = train.train_in_process

    def kill_twice(given: Settings) -> None:
        """The first process ends after its second epoch is saved, the second one before that."""
        from visiongate.training import distributed, loop  # noqa: PLC0415

        class Mortal(loop.Trainer):
            def train_epoch(self, epoch, on_images):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
                for victim, last in ((0, 3), (1, 2)):
                    deed = Path(f"killed-{victim}")
                    if (distributed.rank(), epoch) == (victim, last) and not deed.exists():
                        deed.touch()
                        os.kill(os.getpid(), signal.SIGKILL)
                return super().train_epoch(epoch, on_images)

        loop.Trainer = Mortal  # type: ignore[misc]
        killed(given)

    monkeypatch.setattr(train, "train_in_process", kill_twice)
    capfd.readouterr()
    train.run(on_ray(chosen))
    assert output_hashes() == expected
    assert {path.name for path in Path().glob("killed-*")} == {"killed-0", "killed-1"}
    assert caplog.text.count("a process of the training was lost") == 2
    shown = capfd.readouterr()
    assert shown.out.count("small_cnn: validation accuracy") == 1
    assert "Resuming after epoch 2" in shown.err
    assert not list(Path("logs").glob("ray-train-*"))


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DivergedError("epoch 1: the training diverged"), "epoch 1: the training diverged"),
        (OSError(errno.ENOSPC, "No space left on device", "models/model.onnx"), r"No space .*model\.onnx"),
        (KeyError("a bug"), "a bug"),
    ],
)
def test_error_of_a_process_is_raised_as_it_is(engine: Engine, error: Exception, message: str) -> None:
    def fail() -> None:
        from visiongate.training import distributed  # noqa: PLC0415

        Path(f"started-{os.getpid()}").touch()
        # The other process waits for this one.
        if distributed.rank() == 1:
            raise error
        distributed.is_equal_everywhere(0)

    with pytest.raises(type(error), match=message) as raised:
        run(fail, engine)
    assert vars(raised.value) == vars(error)
    assert len(list(Path().glob("started-*"))) == 2


@pytest.mark.usefixtures("workspace")
def test_processes_that_never_fit_are_refused(engine: Engine) -> None:
    resources = engine.resources.model_copy(
        update={"training": engine.resources.training.model_copy(update={"gpus": 3.0})}
    )
    with pytest.raises(EngineError, match=r"need 6 GPU, and the cluster has .* 0 GPU; lower"):
        run(partial(sys.exit, 0), engine.model_copy(update={"resources": resources}))
