"""A rendered Deployment as podman plays it: with its ConfigMap, its limits and its security, without a cluster."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from manifests import Document, change, find, name_of, of_kind

IMAGE = "localhost/visiongate:serve"
DATABASE = "sqlite:////var/lib/visiongate/predictions.sqlite"
POD = "spec/template/spec"


@dataclass(frozen=True)
class Played:
    """A running pod.

    Attributes:
        url: Of the service.
        container: Its name.
    """

    url: str
    container: str

    def inside(self, command: str) -> str:
        """Return the output and the errors of a shell command in the container."""
        result = podman("exec", self.container, "sh", "-c", command)
        return result.stdout + result.stderr

    def limits(self) -> tuple[int, int]:
        """Return the bytes of memory, and the microseconds of processor time in 100 ms."""
        host = json.loads(podman("inspect", self.container).stdout)[0]["HostConfig"]
        return host["Memory"], host["CpuQuota"]

    def stop(self) -> int:
        """Stop the container by SIGTERM, and return its status."""
        podman("stop", "--time", "50", self.container)
        return int(podman("inspect", "--format", "{{.State.ExitCode}}", self.container).stdout)


def podman(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run podman."""
    return subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)


def skip_without_image() -> None:
    """Skip a test without podman or without the image of the service."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed: apt-get install podman")
    if podman("image", "exists", IMAGE).returncode:
        pytest.skip(f"no image {IMAGE}: make -C deploy image ENGINE=podman")


def play(documents: Sequence[Document], folder: Path) -> Iterator[Played]:
    """Play the Deployment and the ConfigMaps among the documents until the generator is closed."""
    name, port = f"visiongate-test-{os.getpid()}", _free_port()
    [deployment] = of_kind(documents, "Deployment")
    file = folder / "played.yaml"
    played = [*of_kind(documents, "ConfigMap"), _adapt(deployment, name, port)]
    file.write_text(yaml.safe_dump_all(played))
    try:
        result = podman("kube", "play", str(file))
        assert result.returncode == 0, result.stderr
        names = podman("ps", "--format", "{{.Names}}", "--filter", f"name={name}").stdout.split()
        [container] = [found for found in names if found.endswith("-service")]
        yield Played(f"http://127.0.0.1:{port}", container)
    finally:
        podman("kube", "down", str(file))


def _adapt(deployment: Document, name: str, port: int) -> Document:
    """Return the Deployment with a database of its own, and names and a port that nothing else on this machine has."""
    full, container = name_of(deployment), f"{POD}/containers/0"
    [place] = [
        number
        for number, variable in enumerate(find(deployment, f"{container}/env"))
        if variable["name"].endswith("LOG__ADDRESS")
    ]
    variable = find(deployment, f"{container}/env/{place}/name")
    port_of_host = {**find(deployment, f"{container}/ports/0"), "hostPort": port, "hostIP": "127.0.0.1"}
    changes = {
        "metadata/name": name,
        f"{container}/ports/0": port_of_host,
        f"{container}/env/{place}": {"name": variable, "value": DATABASE},
    }
    for volumes in (f"{POD}/volumes", f"{container}/volumeMounts"):
        for number, volume in enumerate(find(deployment, volumes)):
            changes[f"{volumes}/{number}/name"] = f"{volume['name']}-{name}"
    # The name last, because it identifies the document.
    for path, value in reversed(changes.items()):
        [deployment] = change([deployment], full, path, value)
    return deployment


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
