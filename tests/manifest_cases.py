"""A rendered overlay and what it must agree with; the rules are in modules by what they look at."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clones import ROOT
from manifests import Container, Document, Workload, containers, matches, variables, workloads
from visiongate.errors import SettingsError
from visiongate.settings.serving import Serving
from visiongate.settings.serving_environment import load_serving

NONE = Path("no params.yaml")
NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
# The image of the service: of the local cluster, and in a registry.
SERVICE_IMAGE = re.compile(r"visiongate:serve|[\w./-]+/visiongate/serve@.+")


@dataclass(frozen=True)
class Case:
    """Rendered documents, and what they must agree with.

    Attributes:
        documents: Of one overlay.
        namespace: Of all objects.
        routes: That the service answers.
        metrics: That a started service exports.
        secrets: That the operator creates, as the docs say, with their keys.
        words: In code in the docs.
        commands: Of the command line, with their options.
        user: Of the images.
        digests: Whether each image must be named by digest.
    """

    documents: Sequence[Document]
    namespace: str
    routes: frozenset[str]
    metrics: frozenset[str]
    secrets: dict[str, set[str]]
    words: frozenset[str]
    commands: dict[str, set[str]]
    user: int
    digests: bool


def case_without_service(namespace: str, documents: Sequence[Document]) -> Case:
    """Return the case of a namespace of its own, in which the service does not run."""
    words = re.findall(r"`([\w-]+)`", (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8"))
    user = re.findall(r"^USER (\d+)", (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    return Case(
        documents=documents,
        namespace=namespace,
        routes=frozenset(),
        metrics=frozenset(),
        secrets={},
        words=frozenset(words),
        commands={},
        user=int(user[0]),
        digests=True,
    )


Rule = Callable[[Case], Iterator[str]]
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """List a rule."""
    RULES[function.__name__] = function
    return function


def serving_of(case: Case, container: Container) -> Serving:
    """Return the settings of a container of the service; the defaults if one is invalid, which a rule of its own finds."""
    try:
        return load_serving(NONE, variables(case.documents, container.spec)).serving
    except SettingsError:
        return Serving()


def ours(case: Case, *kinds: str) -> Iterator[Container]:
    """Yield the containers that run the image of the service."""
    return (
        found for found in containers(case.documents, *kinds) if SERVICE_IMAGE.fullmatch(found.spec["image"])
    )


def selected(case: Case, selector: dict[str, str], *kinds: str) -> list[Workload]:
    """Return what makes pods with the labels of a selector."""
    return [workload for workload in workloads(case.documents, *kinds) if matches(selector, workload.labels)]
