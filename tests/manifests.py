"""Kubernetes manifests: rendered by kubectl, and the parts of them that rules look at."""

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "deploy/kubernetes"
Document = dict[str, Any]
# Where a kind keeps the template of its pods. A RayCluster has another one for each group of workers.
TEMPLATES = {
    "Deployment": "spec/template",
    "StatefulSet": "spec/template",
    "Job": "spec/template",
    "CronJob": "spec/jobTemplate/spec/template",
    # A pod is its own.
    "Pod": "",
    "RayCluster": "spec/headGroupSpec/template",
    "RayJob": "spec/submitterPodTemplate",
}
NO_KUBECTL = "kubectl is not installed: https://kubernetes.io/docs/tasks/tools/"
REMOVED = object()
CPU = re.compile(r"(\d+)(m?)")


class Workload(NamedTuple):
    """Something that makes pods."""

    name: str
    kind: str
    labels: dict[str, str]
    spec: Document


class Container(NamedTuple):
    """A container, and the pod that it is in."""

    name: str
    spec: Document
    workload: Workload


def render(folder: str) -> list[Document]:
    """Return the documents of a kustomization; skip the test without kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip(NO_KUBECTL)
    command = ["kubectl", "kustomize", str(FOLDER / folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))


def name_of(document: Document) -> str:
    """Return the kind and the name, as `kubectl get` does."""
    return f"{document['kind']}/{document['metadata']['name']}"


def of_kind(documents: Sequence[Document], *kinds: str) -> Iterator[Document]:
    """Yield the documents of some kinds."""
    return (document for document in documents if document["kind"] in kinds)


def find(document: object, path: str) -> Any:  # noqa: ANN401 - a field of any type
    """Return the field at a path such as ``spec/ports/0/name``, with ``~1`` for a slash; None if there is none."""
    for key in map(_unescape, path.split("/")):
        if isinstance(document, list):
            document = document[int(key)] if int(key) < len(document) else None
        else:
            document = document.get(key) if isinstance(document, dict) else None
    return document


def _unescape(key: str) -> str:
    return key.replace("~1", "/")


def change(documents: Sequence[Document], name: str, path: str, value: object) -> list[Document]:
    """Return a copy in which one field has another value, or is removed."""
    changed = copy.deepcopy(list(documents))
    [document] = [document for document in changed if name_of(document) == name]
    folder, _, key = path.rpartition("/")
    parent = find(document, folder) if folder else document
    place = int(key) if isinstance(parent, list) else _unescape(key)
    if value is REMOVED:
        del parent[place]
    else:
        parent[place] = value
    return changed


def workloads(documents: Sequence[Document], *kinds: str) -> Iterator[Workload]:
    """Yield what makes pods, of all kinds or of some."""
    for document in of_kind(documents, *(kinds or TEMPLATES)):
        for group, template, added in _templates(document):
            labels = {**(find(template, "metadata/labels") or {}), **added}
            yield Workload(f"{name_of(document)}{group}", document["kind"], labels, template["spec"])


def _templates(document: Document) -> Iterator[tuple[str, Document, dict[str, str]]]:
    """Yield the templates of pods: the group that they are for, the template, and the labels that the operator adds."""
    path = TEMPLATES[document["kind"]]
    template: Document = find(document, path) if path else document
    if document["kind"] != "RayCluster":
        yield "", template, {}
        return
    added = {"ray.io/cluster": document["metadata"]["name"]}
    yield " head", template, {**added, "ray.io/node-type": "head"}
    for group in document["spec"]["workerGroupSpecs"]:
        yield f" {group['groupName']}", group["template"], {**added, "ray.io/node-type": "worker"}


def containers(documents: Sequence[Document], *kinds: str) -> Iterator[Container]:
    """Yield the containers of all pods, or of those of some kinds."""
    for workload in workloads(documents, *kinds):
        for spec in [*workload.spec.get("initContainers", []), *workload.spec["containers"]]:
            yield Container(f"{workload.name}: container {spec['name']}", spec, workload)


def variables(documents: Sequence[Document], container: Document) -> dict[str, str]:
    """Return the environment of a container as far as the documents have it; a secret is its own name."""
    maps = {name_of(document): document.get("data", {}) for document in of_kind(documents, "ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps.get(f"ConfigMap/{find(source, 'configMapRef/name')}", {})
    for entry in container.get("env", []):
        found[entry["name"]] = entry.get("value") or find(entry, "valueFrom/secretKeyRef/name") or ""
    return found


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Return whether labels have all that a selector asks for."""
    return selector.items() <= labels.items()


def port_names(workload: Workload) -> dict[str, int]:
    """Return the ports of a pod by their names."""
    ports = [port for spec in workload.spec["containers"] for port in spec.get("ports", [])]
    return {port["name"]: port["containerPort"] for port in ports}


def millicores(amount: object) -> int:
    """Return an amount of processors in thousandths of one; zero if it is none."""
    found = CPU.fullmatch(str(amount))
    return int(found[1]) * (1 if found[2] else 1000) if found else 0
