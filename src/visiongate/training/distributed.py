"""Several processes that train one network: started by torch's launcher, joined by its process group.

Alone, every function here does the obvious thing for a single process; nothing else needs to know.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from visiongate.errors import TrainingError
from visiongate.settings.schema import Launch

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig

MACHINE_RANK = "NODE_RANK"  # in the environment: which machine this is, from 0
LAUNCHED = "TORCHELASTIC_RUN_ID"  # in the environment of each process that torch's launcher starts
LOST = (
    "Connection closed",
    "Connection reset",
    "NCCL",
    "gloo",
)  # in what torch raises when another process ends
PATIENCE = timedelta(minutes=30)  # for a process that loads or validates while the others wait


def is_launched() -> bool:
    """Tell whether torch's launcher started this process."""
    return LAUNCHED in os.environ


def launch(command: Sequence[str], how: Launch) -> None:
    """Run a Python script in several processes here, together with what is started alike on the other machines.

    Each machine but the first says which it is by ``NODE_RANK`` in its environment.

    Args:
        command: The script and its arguments.
        how: How many processes, and where they meet.

    Raises:
        TrainingError: A process failed; it has said why.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415 - for many alone
    from torch.distributed.launcher.api import elastic_launch  # noqa: PLC0415

    logging.getLogger("torch.distributed.elastic").setLevel(
        logging.CRITICAL
    )  # it tells failures by tracebacks
    os.environ.setdefault("OMP_NUM_THREADS", str(max(torch.get_num_threads() // how.processes, 1)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        elastic_launch(_configure(how), sys.executable)(*command)
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise TrainingError(f"training.launch: ended by {error.sigval.name}; run again to continue") from None
    except ChildFailedError as error:
        raise TrainingError(f"training.launch: {_explain(error)}") from None


def _explain(error: "ChildFailedError") -> str:
    """Say which process failed first, and why as far as its exit tells; the others fail because it is gone."""
    place, first = error.get_first_failure()
    if first.exitcode < 0:
        name = signal.Signals(-first.exitcode).name
        return f"process {place} was killed by {name}, for want of memory perhaps; run again to continue"
    return f"process {place} failed, for the reason given above"


def _configure(how: Launch) -> "LaunchConfig":
    from torch.distributed.launcher.api import LaunchConfig  # noqa: PLC0415 - for many alone

    place = os.environ.get(MACHINE_RANK, "0")
    if not place.isdigit() or int(place) >= how.machines:
        raise TrainingError(
            f"{MACHINE_RANK} = {place!r}: with training.launch.machines = {how.machines} it is from 0 to "
            f"{how.machines - 1}"
        )
    alone = how.machines == 1
    return LaunchConfig(
        min_nodes=how.machines,
        max_nodes=how.machines,
        nproc_per_node=how.processes,
        run_id="visiongate",
        rdzv_backend="c10d" if alone else "static",
        rdzv_endpoint="localhost:0" if alone else how.address,  # port 0: one that is free
        rdzv_configs={} if alone else {"rank": int(place)},
        max_restarts=0,
    )


@contextmanager
def joined() -> Iterator[None]:
    """Join the other processes within the block, if the launcher started this one.

    Raises:
        TrainingError: In any process but the first, where another one is gone; that one says why.
    """
    if not is_launched():
        yield
        return
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    first = rank() == 0
    try:
        yield
    except RuntimeError as error:
        if first or not any(sign in str(error) for sign in LOST):
            raise
        raise TrainingError("this process ends, as another one is gone") from None
    finally:
        dist.destroy_process_group()


def _end_with_parent(parent: int) -> None:
    """Leave when the launcher is gone: killed, it cannot take its processes along, and another run would meet them."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def rank() -> int:
    """Return this process's place, from 0; the first writes and speaks for all."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Count the processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(items: Tensor) -> Tensor:
    """Take this process's part of what lies in the first dimension."""
    return items[rank() :: size()]


def gather(parts: Tensor, count: int) -> Tensor:
    """Put together what every process made of its `share` of ``count`` items, in their order."""
    if size() == 1:
        return parts
    padded = parts.new_zeros(-(-count // size()), *parts.shape[1:])
    padded[: len(parts)] = parts
    pieces = [torch.empty_like(padded) for _ in range(size())]
    dist.all_gather(pieces, padded)
    return torch.stack(pieces, dim=1).flatten(0, 1)[:count]


def total(values: Tensor) -> Tensor:
    """Add up every process's values, in place."""
    if size() > 1:
        dist.all_reduce(values)
    return values


def least(value: int) -> int:
    """Return the least of what all processes hold."""
    if size() > 1:
        values = torch.tensor(value)
        values = values.cuda() if torch.cuda.is_available() else values
        dist.all_reduce(values, dist.ReduceOp.MIN)
        value = int(values)
    return value


def is_same(value: int) -> bool:
    """Tell whether all processes hold the same number."""
    return least(value) == -least(-value)


def share_buffers(network: nn.Module) -> None:
    """Give all processes the first one's buffers: the statistics of batch norm are each one's own while it learns."""
    if size() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


def average_gradients(network: nn.Module) -> nn.Module:
    """Wrap a network so that each backward pass leaves the mean of all processes' gradients."""
    if size() == 1:
        return network
    return nn.parallel.DistributedDataParallel(network)
