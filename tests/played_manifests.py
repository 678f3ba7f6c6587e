"""A rendered Deployment as podman plays it: with its ConfigMap, its limits and its security, without a cluster."""

import base64
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


def podman(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run podman."""
    command = ["podman", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


def skip_without_image() -> None:
    """Skip a test without podman or without the image of the service."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed: apt-get install podman")
    if podman("image", "exists", IMAGE).returncode:
        pytest.skip(f"no image {IMAGE}: make -C deploy image")


def play(documents: Sequence[Document], folder: Path) -> Iterator[Played]:
    """Play the Deployment and the ConfigMaps among the documents until the generator is closed."""
    name, port = f"visiongate-test-{os.getpid()}", _free_port()
    [deployment] = of_kind(documents, "Deployment")
    file, secret = folder / "played.yaml", _secret_of(deployment)
    adapted = _adapt(deployment, name, port)
    file.write_text(yaml.safe_dump_all([*of_kind(documents, "ConfigMap"), adapted]))
    # podman's form of a Secret: the encoded values by key.
    values = {"address": base64.b64encode(DATABASE.encode()).decode()}
    podman("secret", "create", f"{secret}-{name}", "-", given=json.dumps(values))
    try:
        result = podman("kube", "play", str(file))
        assert result.returncode == 0, result.stderr
        yield Played(f"http://127.0.0.1:{port}", f"{name}-pod-0-service")
    finally:
        podman("kube", "down", str(file))
        podman("secret", "rm", f"{secret}-{name}")


def _adapt(deployment: Document, name: str, port: int) -> Document:
    """Return the Deployment with names and a port of this test, because podman's are those of the whole machine."""
    full = name_of(deployment)
    container = f"{POD}/containers/0"
    secret = f"{container}/env/0/valueFrom/secretKeyRef/name"
    ports = [{**find(deployment, f"{container}/ports/0"), "hostPort": port, "hostIP": "127.0.0.1"}]
    changed = change([deployment], full, f"{container}/ports", ports)
    changed = change(changed, full, secret, f"{_secret_of(deployment)}-{name}")
    for place, volume in enumerate(find(deployment, f"{POD}/volumes")):
        changed = change(changed, full, f"{POD}/volumes/{place}/name", f"{volume['name']}-{name}")
    for place, mount in enumerate(find(deployment, f"{container}/volumeMounts")):
        changed = change(changed, full, f"{container}/volumeMounts/{place}/name", f"{mount['name']}-{name}")
    return change(changed, full, "metadata/name", name)[0]


def _secret_of(deployment: Document) -> str:
    name: str = find(deployment, f"{POD}/containers/0/env/0/valueFrom/secretKeyRef/name")
    return name


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
