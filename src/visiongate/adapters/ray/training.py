"""Run a function in the processes of a training, with Ray Train."""

import logging
import math
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, Any

import ray
import torch
from ray.exceptions import RayError
from ray.train import get_context
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.exceptions import RayTrainError
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from visiongate import logs
from visiongate.adapters.ray.faults import explain
from visiongate.adapters.ray.place import Place
from visiongate.errors import EngineError, VisiongateError
from visiongate.settings.engine import Engine, Resources

logger = logging.getLogger(__name__)

# After the loss of a process.
MAX_RESTARTS = 3
# For room for all processes, of a minute each.
MAX_WAITS = 10
POLL_SECONDS = 0.5
MAX_MESSAGE = 300
# Ray Train reads these: no working folder for each process, and no log of what is printed.
ENVIRONMENT = {"RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_TRAIN_ENABLE_PRINT_PATCH": "0"}


@dataclass(frozen=True, slots=True)
class Work:
    """What the processes run.

    Attributes:
        function: It finds the process group that Ray Train has joined.
        processes: Their number.
        timeout_seconds: How long a process may wait for the others.
    """

    function: Callable[[], None]
    processes: int
    timeout_seconds: float


def run_processes(work: Work, settings: Engine) -> None:
    """Run a function in processes on the cluster, and show what the first one prints.

    If a process is lost, all start again: the function resumes from a checkpoint of its own. Ray Train can restart them itself,
    but it would repeat an error of the function, too.

    Args:
        work: The function, and the number of processes.
        settings: ``engine.resources.training`` is reserved for each process.

    Raises:
        EngineError: There is no room for the processes, or they were lost too often.
        VisiongateError: The function raised it; an OSError, too.
    """
    _check_room(work.processes, settings)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # A folder of the shared workspace that git ignores.
    logs.LOGS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=logs.LOGS.absolute(), prefix="ray-train-") as temporary:
        outputs = _Outputs(Path(temporary))
        for _ in range(MAX_RESTARTS):
            try:
                return _fit(work, settings.resources.training, outputs)
            except _LostError as error:
                logger.warning("%s; the training resumes from its checkpoint", error)
        return _fit(work, settings.resources.training, outputs)


class _LostError(EngineError):
    """A process was lost."""


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Files in the shared workspace through which the first process prints on the streams of the driver."""

    folder: Path

    def open(self, name: str, mode: str) -> IO[str]:
        # Line by line.
        return (self.folder / name).open(mode, buffering=1)

    def run(self, function: Callable[[], None]) -> None:
        """Run a function that prints, in the first process."""
        with (
            self.open("stdout", "a") as out,
            self.open("stderr", "a") as err,
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            logs.configure(os.environ.get("VISIONGATE_LOG_LEVEL", "info").upper())
            function()

    def show(self, result: "Future[None]") -> None:
        """Print what the function prints, in this process, until the result is there."""
        with self.open("stdout", "a+") as out, self.open("stderr", "a+") as err:
            is_over = False
            while not is_over:
                # What is printed before the end is read after it.
                is_over = bool(wait([result], POLL_SECONDS).done)
                for file, stream in ((out, sys.stdout), (err, sys.stderr)):
                    stream.write(file.read())
                    stream.flush()


def _fit(work: Work, resources: Resources, outputs: _Outputs) -> None:
    """Train until the function ends.

    Raises:
        EngineError: A process was lost, or none could start.
    """
    result = _start(_make_trainer(work, resources, outputs))
    outputs.show(result)
    try:
        result.result()
    except WorkerGroupError as error:
        raise find_cause(list(error.worker_failures.values())) from None
    except ControllerError as error:
        raise EngineError(
            f"engine: the training could not start {work.processes} processes: {_shorten(error.controller_failure)}"
        ) from None
    except RayError as error:
        raise explain(error) from None


def _make_trainer(work: Work, resources: Resources, outputs: _Outputs) -> TorchTrainer:
    place = Place(resources.cpus)

    def run() -> None:
        place.enter()
        torch.set_num_threads(math.ceil(place.cpus))
        if get_context().get_world_rank() == 0:
            outputs.run(work.function)
        else:
            work.function()

    reserved = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory_mb * 2**20}
    # The annotation of the trainer names an older class.
    run_config: Any = RunConfig(
        name="training",
        storage_path=str(outputs.folder),
        failure_config=FailureConfig(controller_failure_limit=MAX_WAITS),
        logging_config=LoggingConfig("CRITICAL"),
    )
    return TorchTrainer(
        run,
        torch_config=TorchConfig(timeout_s=round(work.timeout_seconds)),
        scaling_config=ScalingConfig(
            num_workers=work.processes,
            use_gpu=resources.gpus > 0,
            resources_per_worker={name: amount for name, amount in reserved.items() if amount},
        ),
        run_config=run_config,
    )


def _start(trainer: TorchTrainer) -> "Future[None]":
    """Train in a thread. In the main one, Ray Train would replace the handler of Ctrl-C."""
    result: Future[None] = Future()

    def fit() -> None:
        try:
            trainer.fit()
            result.set_result(None)
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            result.set_exception(error)

    Thread(target=fit, daemon=True).start()
    return result


def find_cause(failures: list[Exception]) -> Exception:
    """Return the function's own error, or that a process was lost.

    When one process ends, the others may fail in their next exchange.
    """
    for failure in failures:
        if isinstance(failure, VisiongateError) or (
            isinstance(failure, OSError) and not isinstance(failure, ConnectionError)
        ):
            return failure
    for failure in failures:
        # Torch, Ray Train and Ray raise no others.
        if not isinstance(failure, RuntimeError | ConnectionError | RayError | RayTrainError):
            return failure
    return _LostError(f"engine: a process of the training was lost: {_shorten(failures[0])}")


def _check_room(processes: int, settings: Engine) -> None:
    """Check that the processes fit on the cluster, to which nodes may be added.

    Raises:
        EngineError: They never do.
    """
    resources, total = settings.resources.training, ray.cluster_resources()
    needed = {"CPU": processes * resources.cpus, "GPU": processes * resources.gpus}
    missing = [f"{amount:g} {name}" for name, amount in needed.items() if amount > total.get(name, 0)]
    if not missing:
        return
    message = (
        f"engine: {processes} processes of the training need {' and '.join(missing)}, and the cluster has "
        f"{' and '.join(f'{total.get(name, 0):g} {name}' for name in needed)}; lower training.launch.processes or "
        "engine.resources.training, or add nodes"
    )
    if settings.address == "local":
        raise EngineError(message)
    logger.warning("%s; waiting for them", message)


def _shorten(error: Any) -> str:  # noqa: ANN401 - whatever has a text
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip()[:MAX_MESSAGE] if lines else type(error).__name__
