"""Check that each node sees the workspace and has this machine's packages, before any work."""

import logging
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from visiongate.errors import EngineError

logger = logging.getLogger(__name__)

# Their versions may change the bytes of the outputs.
PACKAGES = (
    *(
        "numpy",
        "onnxruntime",
        "pillow",
        "pillow-heif",
        "pyarrow",
        "pydicom",
        "scikit-learn",
        "simplejpeg",
        "torch",
    ),
    "torchvision",
)
CHECK_SECONDS = 60
# Training processes on one node exchange gradients there. Docker gives a container 64 MB.
MIN_SHARED_MEMORY = 128 * 2**20
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only its size is read


@dataclass(frozen=True, slots=True)
class Facts:
    """What a node has.

    Attributes:
        host: Its name.
        sees_workspace: Whether it reads the file that the driver has just written.
        python: Such as ``3.11``.
        packages: Versions by package; None if it is not installed.
        shared_memory: Bytes of ``/dev/shm``; None without one.
    """

    host: str
    sees_workspace: bool
    python: str
    packages: dict[str, str | None]
    shared_memory: int | None


def check_nodes(nodes: Sequence[str]) -> None:
    """Compare nodes, given by their identifiers, with this machine.

    Raises:
        EngineError: A node does not see the workspace, has other versions of packages, or does not answer. The message has a
            line for each fault.
    """
    with tempfile.NamedTemporaryFile(dir=Path.cwd(), prefix=".ray-check-") as token:
        own = Facts(**collect_facts()(token.name, PACKAGES, str(SHARED_MEMORY)))
        asked = {node: _ask(node, token.name) for node in nodes}
        found = [_answer(node, reference) for node, reference in asked.items()]
    faults = [fault for facts in found for fault in find_faults(facts, own)]
    if faults:
        raise EngineError("\n".join(f"engine: {fault}" for fault in faults))
    for line in filter(None, map(describe_memory, found)):
        logger.warning("engine: %s", line)


def describe_memory(facts: Facts) -> str | None:
    """Return a warning if a node's shared memory is small."""
    if facts.shared_memory is None or facts.shared_memory >= MIN_SHARED_MEMORY:
        return None
    return (
        f"node {facts.host}: /dev/shm has only {facts.shared_memory // 2**20} MB, which may stop a training with several "
        "processes; start its container with --shm-size=1g"
    )


def find_faults(facts: Facts, own: Facts) -> Iterator[str]:
    """Yield why a node cannot do the work of this machine."""
    if not facts.sees_workspace:
        yield f"node {facts.host} does not see {Path.cwd()}: mount the shared folder there under the same path"
        return
    if facts.python != own.python:
        yield f"node {facts.host} has Python {facts.python}, this machine {own.python}: install the same"
    wrong = [
        f"{name} {facts.packages[name] or 'missing'} instead of {expected}"
        for name, expected in own.packages.items()
        if facts.packages[name] != expected
    ]
    if wrong:
        yield f"node {facts.host} has {', '.join(wrong)}: install requirements.lock there"


def collect_facts() -> Callable[[str, Sequence[str], str], dict[str, Any]]:
    """Return a function that returns the fields of `Facts`.

    It is a closure, which Ray sends by value, because a node may lack this package.
    """

    def collect(token: str, packages: Sequence[str], shared_memory: str) -> dict[str, Any]:
        def find_version(name: str) -> str | None:
            try:
                return version(name)
            except PackageNotFoundError:
                return None

        folder = Path(shared_memory)
        return {
            "host": platform.node(),
            "sees_workspace": Path(token).exists(),
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "packages": {name: find_version(name) for name in packages},
            "shared_memory": shutil.disk_usage(folder).total if folder.exists() else None,
        }

    return collect


def _ask(node: str, token: str) -> Any:  # noqa: ANN401 - a reference of Ray
    task = ray.remote(collect_facts()).options(
        num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
    )
    return task.remote(token, PACKAGES, str(SHARED_MEMORY))


def _answer(node: str, reference: Any) -> Facts:  # noqa: ANN401 - a reference of Ray
    try:
        return Facts(**ray.get(reference, timeout=CHECK_SECONDS))
    except GetTimeoutError:
        raise EngineError(
            f"engine: node {node} did not answer in {CHECK_SECONDS} s; see `ray status` and its logs"
        ) from None
    except RayError as error:
        raise EngineError(f"engine: node {node} cannot run a task: {' '.join(str(error).split())}") from None
