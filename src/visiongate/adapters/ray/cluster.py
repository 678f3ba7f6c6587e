"""Join a Ray cluster, or start one on this machine, and check its nodes."""

import importlib
import logging
import math
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import visiongate
from visiongate.cores import usable_cores
from visiongate.errors import EngineError
from visiongate.settings.engine import Engine, Resources, StageResources

logger = logging.getLogger(__name__)

INSTALL = "engine.kind = ray: Ray is not installed; run `pip install 'visiongate[ray]'`, or set engine=local"
ADDRESS = "RAY_ADDRESS"
TOKEN = "RAY_AUTH_TOKEN or ~/.ray/auth_token"  # noqa: S105 - where it is
CONNECT_SECONDS = 5
# A server of gRPC, such as a head, answers the first with the second: HTTP/2 (RFC 9113, sections 3.4 and 6.5).
SETTINGS_FRAME = b"\x04"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS_FRAME + bytes(5)
MAX_REASON = 300
# Results and pieces are small; Ray passes them without the object store.
STORE_BYTES = 100_000_000
# Read by Ray here and in its workers: no usage statistics, and a task without GPUs sees none.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}


@contextmanager
def connect(settings: Engine) -> Iterator[None]:
    """Be the driver of a cluster within the block.

    Raises:
        EngineError: Ray is not installed, no cluster answers, or a node cannot do the work.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from visiongate.adapters.ray.nodes import check_nodes  # noqa: PLC0415 - imports Ray, an optional package
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise EngineError(INSTALL) from None

    with _start(settings) if settings.address == "local" else _join(settings.address) as address:
        nodes = list_nodes()
        if settings.address != "local":
            check_nodes([node["NodeID"] for node in nodes])
        slots = settings.workers or count_slots(settings.resources.images)
        logger.info("engine: Ray at %s, nodes: %d, pieces at a time: %d", address, len(nodes), slots)
        yield


def list_nodes() -> list[dict[str, Any]]:
    """Return Ray's descriptions of the nodes that are alive."""
    import ray  # noqa: PLC0415 - an optional package

    return [node for node in ray.nodes() if node["Alive"]]


def count_slots(resources: Resources) -> int:
    """Return how many pieces with such resources the cluster can run at the same time."""
    return sum(_count_slots(node["Resources"], resources) for node in list_nodes())


@contextmanager
def _start(settings: Engine) -> Iterator[str]:
    """Run a cluster on this machine, in a folder of its own, that only this process and its workers may use."""
    cores = usable_cores()
    if settings.workers is not None:
        cores = max(cores, math.ceil(settings.workers * _largest(settings.resources)))
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        # The token would otherwise be a file in the home folder. The workers that Ray starts at once import the package by
        # PYTHONPATH; with a runtime environment, it would start others.
        environment(
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "PYTHONPATH": str(_source())}
        ),
        _session(
            "engine.address = local",
            "check that TMPDIR is a short path of ASCII characters with free space",
            # Otherwise Ray would take the cluster of RAY_ADDRESS.
            address="local",
            num_cpus=cores,
            object_store_memory=STORE_BYTES,
            include_dashboard=False,
            _temp_dir=folder,
        ),
    ):
        yield "this machine"


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment within the block, also for the part of Ray that has read them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _read_environment()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _read_environment()


def _read_environment() -> None:
    # As Ray does after it has changed a variable; it has no public name for this.
    inner = importlib.import_module("ray._raylet")
    inner.Config.initialize("")
    inner.AuthenticationTokenLoader.instance().reset_cache()


def _source() -> Path:
    """Return the folder that has this package."""
    return Path(visiongate.__file__).parents[1]


def _largest(resources: StageResources) -> float:
    return max(resources.images.cpus, resources.trial.cpus, resources.training.cpus)


@contextmanager
def _join(address: str) -> Iterator[str]:
    """Join a running cluster."""
    # Ray has no public name for it, and `ray.init` waits for minutes for a cluster that is gone.
    from ray._private.services import find_bootstrap_address  # noqa: PLC0415

    named = os.environ.get(ADDRESS) if address == "auto" else address
    target = named or find_bootstrap_address(None)
    source = ADDRESS if address == "auto" and named else "engine.address"
    if target is None:
        raise EngineError(
            f"engine.address = auto: no Ray cluster runs on this machine, and {ADDRESS} is not set; run `ray start --head`, "
            f"set {ADDRESS} to HOST:PORT of a cluster's head, or set engine.address=local"
        )
    _probe(target, source)
    # The workers import the code that the driver runs, from the shared folder.
    with _session(
        f"{source} = {target}",
        f"check that this machine has the cluster's version of Ray and its token, by {TOKEN}",
        address=target,
        runtime_env={"env_vars": {**ENVIRONMENT, "PYTHONPATH": str(_source())}},
    ):
        yield target


def _probe(address: str, source: str) -> None:
    """Check that a head may answer; Ray itself would wait for minutes.

    Raises:
        EngineError: Nothing or another server does, or the address is not HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise EngineError(
            f"{source} = {address}: not HOST:PORT of a Ray cluster's head, such as 10.0.0.5:6379"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as connection:
            connection.sendall(PREFACE)
            kind = connection.recv(4)[3:]
        # Encrypted, it answers in another way.
        if kind != SETTINGS_FRAME and os.environ.get("RAY_USE_TLS") != "1":
            raise ConnectionError("another server does")
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"{source} = {address}: no Ray cluster answers ({error}); check the address and that its head runs "
            "(`ray start --head`), or set engine.address=local"
        ) from None


@contextmanager
def _session(name: str, advice: str, **options: Any) -> Iterator[None]:  # noqa: ANN401 - what ray.init takes
    """Be connected within the block.

    Args:
        name: The cluster, for an error message.
        advice: What to check if it fails.
        **options: Of ``ray.init``.

    Raises:
        EngineError: Ray cannot start the cluster or connect to it.
    """
    import ray  # noqa: PLC0415 - an optional package
    from ray.exceptions import RayError  # noqa: PLC0415 - an optional package

    try:
        ray.init(configure_logging=False, log_to_driver=False, **options)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split())[:MAX_REASON]
        raise EngineError(f"{name}: {reason}; {advice}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _count_slots(node: dict[str, float], resources: Resources) -> int:
    """Return how many pieces a node runs at the same time."""
    shares = [node.get("CPU", 0.0) / resources.cpus, node.get("memory", 0.0) / (resources.memory_mb * 2**20)]
    if resources.gpus:
        shares.append(node.get("GPU", 0.0) / resources.gpus)
    return int(min(shares))
