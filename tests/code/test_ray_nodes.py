"""A Ray cluster of several nodes, all on this machine: what is said about nodes that differ, and a node that is lost."""

import os
import re
import shutil
import signal
import site
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from ray._raylet import GcsClient
from ray.core.generated.gcs_pb2 import GcsNodeInfo

from messy_images import messy_settings, write_messy_table
from visiongate.adapters.ray.cluster import environment
from visiongate.adapters.ray.nodes import Facts, describe_memory, find_faults
from visiongate.engine.pieces import LocalEngine, open_engine
from visiongate.errors import EngineError
from visiongate.images.decoding import DEFAULT_OPTIONS
from visiongate.records.files import md5_of
from visiongate.settings.engine import Engine
from visiongate.validation.measuring import measure_table

OWN = Facts("here", sees_workspace=True, python="3.11", packages={"numpy": "2.3.0"}, shared_memory=2**30)
START_SECONDS = 120


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        (
            replace(OWN, sees_workspace=False),
            "does not see {cwd}: mount the shared folder there under the same path",
        ),
        (replace(OWN, python="3.13"), "has Python 3.13, this machine 3.11: install the same"),
        (
            replace(OWN, packages={"numpy": "1.0"}),
            "has numpy 1.0 instead of 2.3.0: install requirements.lock there",
        ),
        (
            replace(OWN, packages={"numpy": None}),
            "has numpy missing instead of 2.3.0: install requirements.lock there",
        ),
    ],
)
def test_a_node_that_differs_is_described(facts: Facts, fault: str) -> None:
    assert list(find_faults(facts, OWN)) == [f"node here {fault.format(cwd=Path.cwd())}"]


def test_small_shared_memory_is_described() -> None:
    assert describe_memory(OWN) is None
    assert describe_memory(replace(OWN, shared_memory=None)) is None
    line = describe_memory(replace(OWN, shared_memory=2**26))
    assert line is not None
    assert line.startswith("node here: /dev/shm has only 64 MB")


class Nodes:
    """The nodes of a cluster, each started by ``ray start``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, *options: str, python: str = sys.executable, before: tuple[str, ...] = ()) -> None:
        """Start a node, the head first, and wait until it is one of those alive."""
        alive = self.count_alive()
        first = ["--head", f"--port={self.port}", f"--temp-dir={self.folder}", "--include-dashboard=false"]
        role = first if not self.processes else [f"--address={self.address}"]
        limits = ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--num-gpus=0"]
        command = [python, "-m", "ray.scripts.scripts", "start", "--block", *role, *limits, *options]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.processes.append(subprocess.Popen([*before, *command], start_new_session=True, **quiet))
        self.wait_until_other_than(alive)

    def wait_until_other_than(self, alive: int) -> None:
        ends = time.monotonic() + START_SECONDS
        while self.count_alive() == alive:
            assert time.monotonic() < ends, "no node has started or ended"
            time.sleep(0.2)

    def count_alive(self) -> int:
        """Count the nodes that the head knows as alive; 0 before it answers."""
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)):
                return 0
        infos = GcsClient(address=self.address).get_all_node_info().values()
        return sum(info.state == GcsNodeInfo.GcsNodeState.Value("ALIVE") for info in infos)

    def kill(self, place: int) -> None:
        """Kill a node with all its processes, as a machine that is switched off."""
        alive, process = self.count_alive(), self.processes[place]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.wait_until_other_than(alive)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head without cores and two nodes with one each, and a workspace that they see."""
    # Sockets need a short path.
    folder = Path(f"/tmp/vg-{os.getpid()}")  # noqa: S108 - removed below
    workspace = folder.with_name(f"{folder.name}-work")
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
    with pytest.MonkeyPatch.context() as patch, environment(variables):
        workspace.mkdir()
        patch.chdir(workspace)
        write_messy_table(Path("data/raw"))
        cluster = Nodes(folder)
        try:
            for cores in (0, 1, 1):
                cluster.start(f"--num-cpus={cores}")
            yield cluster
        finally:
            for process in cluster.processes:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            for path in (folder, workspace):
                shutil.rmtree(path, ignore_errors=True)


def settings(cluster: Nodes) -> Engine:
    engine = messy_settings().engine
    images = engine.resources.images.model_copy(update={"memory_mb": 64})
    resources = engine.resources.model_copy(update={"images": images})
    return engine.model_copy(update={"kind": "ray", "address": cluster.address, "resources": resources})


def hash_folder(folder: str) -> dict[str, str]:
    return {file.name: md5_of(file) for file in Path(folder).iterdir()}


@pytest.mark.slow
def test_a_node_that_is_lost_changes_nothing(nodes: Nodes) -> None:
    expected = list(measure_table(LocalEngine(), Path("data/raw"), Path("expected"), DEFAULT_OPTIONS))
    with open_engine(settings(nodes)) as engine:
        measured = measure_table(engine, Path("data/raw"), Path("measured"), DEFAULT_OPTIONS)
        found = [next(measured)]
        nodes.kill(2)
        found += measured
    assert found == expected
    assert hash_folder("measured") == hash_folder("expected")


@pytest.mark.slow
def test_each_node_that_differs_is_named_before_any_work(nodes: Nodes, tmp_path: Path) -> None:
    hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(Path.cwd()))
    mounts = shutil.which("unshare") and subprocess.run([*hidden, "true"], check=False).returncode == 0
    nodes.start("--num-cpus=1", python=other_environment(tmp_path))
    if mounts:
        nodes.start("--num-cpus=1", before=hidden)
    with pytest.raises(EngineError) as error, open_engine(settings(nodes)):
        pass
    lines = sorted(re.sub("node [^ ]+", "node", line) for line in str(error.value).splitlines())
    numpy = f"engine: node has numpy 0.0.1 instead of {version('numpy')}: install requirements.lock there"
    unseen = f"engine: node does not see {Path.cwd()}: mount the shared folder there under the same path"
    assert lines == sorted([numpy, *([unseen] if mounts else [])])


def other_environment(folder: Path) -> str:
    """Make an environment with this one's packages, but another version of numpy by name; return its Python."""
    venv.create(folder / "environment", symlinks=True)
    (own,) = (folder / "environment").glob("lib/python*/site-packages")
    (own / "shared.pth").write_text("\n".join(site.getsitepackages()))
    (own / "numpy-0.0.1.dist-info").mkdir()
    (own / "numpy-0.0.1.dist-info/METADATA").write_text("Name: numpy\nVersion: 0.0.1\n")
    return str(folder / "environment/bin/python")


JOIN = """
from visiongate.engine.pieces import open_engine
from visiongate.errors import EngineError
from test_ray_nodes import Nodes, settings

nodes = Nodes(None)
nodes.port = {port}
try:
    with open_engine(settings(nodes)):
        pass
except EngineError as error:
    print(error)
"""


@pytest.mark.slow
def test_another_token_is_refused(nodes: Nodes) -> None:
    path = os.pathsep.join(path for path in sys.path if path)
    variables = {**os.environ, "RAY_AUTH_TOKEN": "1" * 64, "PYTHONPATH": path}
    script = [sys.executable, "-c", JOIN.format(port=nodes.port)]
    result = subprocess.run(script, env=variables, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"engine.address = {nodes.address}: ")
    assert result.stdout.endswith("and its token, by RAY_AUTH_TOKEN or ~/.ray/auth_token\n")
