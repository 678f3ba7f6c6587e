"""Data-parallel training in several processes, started by torch's elastic launcher, or by Ray Train on a cluster.

In a single process, every function returns what a world of size 1 implies.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from visiongate.errors import SettingsError, TrainingError
from visiongate.settings.engine import Engine
from visiongate.settings.training import Launch

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

# Environment variables: the index of this machine, and a variable that torch sets in the processes that it launches.
MACHINE_RANK = "NODE_RANK"
LAUNCHED = "TORCHELASTIC_RUN_ID"
# How long a process may load or validate while the others wait.
TIMEOUT = timedelta(minutes=30)


def is_launched() -> bool:
    """Return whether torch's launcher started this process."""
    return LAUNCHED in os.environ


def launch(command: Sequence[str], settings: Launch) -> None:
    """Run a Python script in several processes on this machine, and wait for them.

    On several machines, start the same command on each and set ``NODE_RANK`` to its index.

    Args:
        command: The script and its arguments.
        settings: The number of processes and machines, and their address.

    Raises:
        SettingsError: ``NODE_RANK`` is invalid.
        TrainingError: A process failed; its own message is above.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415 - slow to import
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.launcher.api import elastic_launch  # noqa: PLC0415

    # The launcher logs a failure as a traceback of its own.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(torch.get_num_threads() // settings.processes, 1)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        elastic_launch(_launch_config(settings), sys.executable)(*command)
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise TrainingError(f"training: stopped by {error.sigval.name}; run it again to resume") from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        reason = f"exit code {failure.exitcode}" if failure.exitcode >= 0 else failure.signal_name()
        raise TrainingError(f"training: process {rank} failed ({reason}); run it again to resume") from None


def run_on_cluster(function: Callable[[], None], settings: Launch, engine: Engine) -> None:
    """Run a function in as many processes on a Ray cluster, and wait for them; lost ones are started again.

    Args:
        function: Resumes from its own checkpoint.
        settings: The number of processes and machines.
        engine: The cluster, and what is reserved for a process.

    Raises:
        EngineError: The cluster cannot be reached, or processes were lost too often.
        VisiongateError: As the function.
    """
    # Ray takes seconds to import.
    from visiongate.adapters.ray.cluster import connect  # noqa: PLC0415

    with connect(engine):
        from visiongate.adapters.ray.training import Work, run_processes  # noqa: PLC0415

        work = Work(function, settings.processes * settings.machines, TIMEOUT.total_seconds())
        run_processes(work, engine)


def _launch_config(settings: Launch) -> "LaunchConfig":
    from torch.distributed.launcher.api import LaunchConfig  # noqa: PLC0415 - slow to import

    machine = os.environ.get(MACHINE_RANK, "0")
    if not machine.isdigit() or int(machine) >= settings.machines:
        raise SettingsError(
            f"{MACHINE_RANK} = {machine!r} is invalid: must be less than training.launch.machines = {settings.machines}"
        )
    single = settings.machines == 1
    return LaunchConfig(
        min_nodes=settings.machines,
        max_nodes=settings.machines,
        nproc_per_node=settings.processes,
        run_id="visiongate",
        rdzv_backend="c10d" if single else "static",
        # Port 0 selects a free port.
        rdzv_endpoint="localhost:0" if single else settings.address,
        rdzv_configs={} if single else {"rank": int(machine)},
        max_restarts=0,
    )


@contextmanager
def process_group() -> Iterator[None]:
    """Join the process group within the block, if the launcher started this process; Ray Train has done so before."""
    if not is_launched() or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return the index of this process; process 0 writes the outputs."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_part(items: Tensor) -> Tensor:
    """Return the items of this process, along the first dimension."""
    return items[rank() :: world_size()]


def gather(parts: Tensor, count: int) -> Tensor:
    """Return the results of all ``count`` items in their order, given the results of each process's `local_part`."""
    if world_size() == 1:
        return parts
    padded = parts.new_zeros(-(-count // world_size()), *parts.shape[1:])
    padded[: len(parts)] = parts
    pieces = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(pieces, padded)
    return torch.stack(pieces, dim=1).flatten(0, 1)[:count]


def sum_over_processes(values: Tensor) -> Tensor:
    """Add the values of all processes in place."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def is_equal_everywhere(value: int) -> bool:
    """Return whether all processes have the same integer."""
    if world_size() == 1:
        return True
    bounds = torch.tensor([value, -value], device="cuda" if torch.cuda.is_available() else "cpu")
    dist.all_reduce(bounds, dist.ReduceOp.MIN)
    return int(bounds[0]) == -int(bounds[1])


def broadcast_buffers(network: nn.Module) -> None:
    """Copy the buffers of process 0, such as batch norm's statistics, to all processes."""
    if world_size() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


def parallelize(network: nn.Module) -> nn.Module:
    """Wrap a network so that each backward pass averages the gradients of all processes."""
    return network if world_size() == 1 else nn.parallel.DistributedDataParallel(network)
