"""The manifests of Kubernetes: rendered, held against the schemas and against the service, and broken one field at a time."""

import asyncio
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from broken_manifests import BROKEN, CONTAINER, SETTINGS
from manifest_rules import DIGEST, RULES, Case
from manifests import (
    FOLDER,
    NO_KUBECTL,
    REMOVED,
    Document,
    change,
    containers,
    find,
    name_of,
    of_kind,
    render,
)
from pooled_models import write_pooled_model
from served import application
from visiongate.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs/kubernetes.md"
OVERLAYS = ("kind", "staging", "production")
# Those that Kubernetes supports.
VERSIONS = ("1.35", "1.36", "1.37")
# Groups of custom resources.
CUSTOM = {"argoproj.io", "gateway.networking.k8s.io", "keda.sh", "monitoring.coreos.com"}
# The routes and the metrics of a started service.
Service = tuple[frozenset[str], frozenset[str]]


@functools.cache
def rendered(overlay: str) -> list[Document]:
    return render(overlay if overlay in {"line", "argocd"} else f"overlays/{overlay}")


def full_name(overlay: str, name: str) -> str:
    """Return the name of an object; that of the settings ends with a hash."""
    [found] = [
        full
        for full in map(name_of, rendered(overlay))
        if full == name or (name == SETTINGS and name in full)
    ]
    return found


@functools.cache
def secrets() -> dict[str, set[str]]:
    """The secrets in the tables of the docs, with their keys."""
    rows = re.findall(
        r"^\| `(visiongate-[\w-]+)` \| ((?:`[\w.]+`(?:, )?)+) \|", DOCS.read_text(), re.MULTILINE
    )
    return {name: set(re.findall(r"`([\w.]+)`", keys)) for name, keys in rows}


async def _ask(model: Path) -> Service:
    async with application(model) as app:
        api = (await app.client.get("/openapi.json")).json()
        metrics = (await app.client.get("/metrics")).text
    return frozenset(api["paths"]), frozenset(re.findall(r"^(\w+)", metrics, re.MULTILINE))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """The routes and the metrics of a started service."""
    model = tmp_path_factory.mktemp("model") / "model.onnx"
    write_pooled_model(model)
    return asyncio.run(_ask(model))


def case_of(overlay: str, service: Service, documents: Sequence[Document] | None = None) -> Case:
    return Case(
        documents=rendered(overlay) if documents is None else documents,
        namespace="visiongate-line" if overlay == "line" else "visiongate",
        routes=service[0],
        metrics=service[1],
        secrets=secrets(),
        commands=frozenset({*main.commands, "drift"}),
        digests=overlay != "kind",
    )


def findings(case: Case) -> list[str]:
    return [finding for rule in RULES.values() for finding in rule(case)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("overlay", [*OVERLAYS, "line"])
def test_an_overlay_holds_the_rule(overlay: str, rule: str, service: Service) -> None:
    assert list(RULES[rule](case_of(overlay, service))) == []


@pytest.mark.parametrize(
    ("overlay", "name", "path", "value", "finding"),
    [(*place, *row) for place, rows in BROKEN.items() for row in rows],
)
def test_a_broken_field_is_found(  # noqa: PLR0913, PLR0917 - the columns of a table
    overlay: str, name: str, path: str, value: object, finding: str, service: Service
) -> None:
    documents = change(rendered(overlay), full_name(overlay, name), path, value)

    assert any(finding in found for found in findings(case_of(overlay, service, documents)))


def test_each_rule_finds_something(service: Service) -> None:
    silent = dict(RULES)
    for (overlay, name), rows in BROKEN.items():
        for path, value, _ in rows:
            broken = change(rendered(overlay), full_name(overlay, name), path, value)
            case = case_of(overlay, service, broken)
            silent = {name: rule for name, rule in silent.items() if not list(rule(case))}

    assert set(silent) <= {"lets_metrics_be_read"}


def schema_findings(documents: Sequence[Document], version: str) -> list[str]:
    """What the strict schemas of a version of Kubernetes say; they do not have custom resources."""
    found = []
    for document in documents:
        if document["apiVersion"].split("/")[0] in CUSTOM:
            continue
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            found.append(f"{name_of(document)}: {error.message}")
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_in_supported_versions(version: str) -> None:
    everything = [*rendered("kind"), *rendered("staging"), *rendered("production"), *rendered("line")]
    different = {yaml.safe_dump(document): document for document in everything}

    assert schema_findings(list(different.values()), version) == []


@pytest.mark.parametrize(
    ("name", "path", "value", "finding"),
    [
        ("Deployment/visiongate", f"{CONTAINER}/livenesProbe", {}, "livenesProbe"),
        ("Deployment/visiongate", f"{CONTAINER}/resources/limits", [], "is not of type"),
        ("HorizontalPodAutoscaler/visiongate", "apiVersion", "autoscaling/v2beta2", "Couldn't find schema"),
        ("PodDisruptionBudget/visiongate", "spec/maxUnavailabel", 1, "maxUnavailabel"),
    ],
)
def test_the_schemas_find_a_misspelled_field(name: str, path: str, value: object, finding: str) -> None:
    [document] = [found for found in change(rendered("kind"), name, path, value) if name_of(found) == name]

    assert finding in "".join(schema_findings([document], VERSIONS[-1]))


def test_a_changed_setting_replaces_the_pods(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    settings = tmp_path / "kubernetes/base/settings.env"
    settings.write_text(settings.read_text().replace("LOG_LEVEL=INFO", "LOG_LEVEL=DEBUG"))

    changed = render(str(tmp_path / "kubernetes/base"))

    path = f"{CONTAINER}/envFrom/0/configMapRef/name"
    names = [
        find(document, path)
        for documents in (rendered("kind"), changed)
        for document in of_kind(documents, "Deployment")
    ]
    assert len(set(names)) == 2
    assert f"ConfigMap/{names[1]}" in map(name_of, changed)


def test_production_names_one_digest_in_one_line() -> None:
    text = (FOLDER / "overlays/production/kustomization.yaml").read_text()
    images = {found.spec["image"] for found in containers(rendered("production"))}
    [digest] = re.findall(r"^    digest: (sha256:[0-9a-f]{64})$", text, re.MULTILINE)

    assert images == {f"ghcr.io/example/visiongate/serve@{digest}"}


def test_the_local_cluster_opens_the_port_of_the_overlay() -> None:
    cluster = yaml.safe_load((FOLDER / "kind.yaml").read_text())
    [service] = [found for found in rendered("kind") if name_of(found) == "Service/visiongate"]
    [mapping] = [found for node in cluster["nodes"] for found in node.get("extraPortMappings", [])]

    assert mapping["containerPort"] == find(service, "spec/ports/0/nodePort")
    assert mapping["listenAddress"] == "127.0.0.1"
    assert f"http://127.0.0.1:{mapping['hostPort']}" in (FOLDER / "Makefile").read_text()
    assert all(DIGEST.fullmatch(node["image"]) for node in cluster["nodes"])


def argo_findings(project: Document, application: Document, deployed: Sequence[Document]) -> Iterator[str]:
    """What an Application may not do in its project, and what the project allows without need."""
    allowed, source = project["spec"], application["spec"]["source"]
    if application["spec"]["project"] != project["metadata"]["name"]:
        yield "the Application is of another project"
    if allowed["sourceRepos"] != [source["repoURL"]]:
        yield f"sourceRepos {allowed['sourceRepos']}"
    if allowed["destinations"] != [application["spec"]["destination"]]:
        yield f"destinations {allowed['destinations']}"
    for field, namespaced in (("clusterResourceWhitelist", False), ("namespaceResourceWhitelist", True)):
        kinds = {(entry["group"], entry["kind"]) for entry in allowed[field]}
        needed = {
            (document["apiVersion"].rpartition("/")[0], document["kind"])
            for document in deployed
            if (document["kind"] != "Namespace") == namespaced
        }
        if kinds != needed:
            yield f"{field}: {sorted(kinds ^ needed)}"
    if not (ROOT / source["path"] / "kustomization.yaml").exists():
        yield f"path {source['path']}"
    automated = find(application, "spec/syncPolicy/automated")
    if automated != {"prune": True, "selfHeal": True}:
        yield f"automated {automated}"


def test_argo_cd_may_deploy_production_and_nothing_else() -> None:
    project, application = (next(of_kind(rendered("argocd"), kind)) for kind in ("AppProject", "Application"))

    assert list(argo_findings(project, application, rendered("production"))) == []


@pytest.mark.parametrize(
    ("name", "path", "value", "finding"),
    [
        ("AppProject/visiongate", "spec/sourceRepos", ["*"], "sourceRepos"),
        ("AppProject/visiongate", "spec/destinations/0/namespace", "*", "destinations"),
        ("AppProject/visiongate", "spec/clusterResourceWhitelist/0/kind", "*", "clusterResourceWhitelist"),
        ("AppProject/visiongate", "spec/namespaceResourceWhitelist/0", REMOVED, "namespaceResourceWhitelist"),
        ("Application/visiongate", "spec/project", "default", "another project"),
        ("Application/visiongate", "spec/source/path", "deploy/production", "path deploy/production"),
        ("Application/visiongate", "spec/syncPolicy/automated/selfHeal", False, "automated"),
    ],
)
def test_a_broken_argo_cd_is_found(name: str, path: str, value: object, finding: str) -> None:
    documents = change(rendered("argocd"), name, path, value)
    project, application = (next(of_kind(documents, kind)) for kind in ("AppProject", "Application"))

    assert finding in "".join(argo_findings(project, application, rendered("production")))


# Writes its arguments and its input to a file; a Secret or a namespace does not exist yet.
KUBECTL = """#!/bin/sh
[ "$1" = kustomize ] && exec {kubectl} "$@"
echo "kubectl $*" >> calls
case "$*" in *" get "*) exit 1;; *"create secret"*|*"apply --filename -"*) cat >> calls;; esac
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Call a target with a kubectl that notes what it is told; return its status, and the notes and errors."""
    if shutil.which("kubectl") is None:
        pytest.skip(NO_KUBECTL)
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/kubectl").write_text(KUBECTL.format(kubectl=shutil.which("kubectl")))
    (tmp_path / "bin/kubectl").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}

    def call(*arguments: str) -> tuple[int, str]:
        command = ["make", "--no-print-directory", "-C", str(folder), *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        calls = folder / "calls"
        return result.returncode, (calls.read_text() if calls.exists() else "") + result.stderr

    return call


def test_apply_makes_a_password_and_applies_to_the_local_cluster(
    make: Callable[..., tuple[int, str]],
) -> None:
    status, text = make("apply", "wait")

    assert status == 0, text
    commands = [line for line in text.splitlines() if line.startswith("kubectl ")]
    assert all(line.startswith("kubectl --context kind-visiongate ") for line in commands)
    [password] = re.findall(r"^password=([0-9a-f]{48})$", text, re.MULTILINE)
    assert (
        f"\naddress=postgresql+psycopg://visiongate:{password}@visiongate-postgres:5432/visiongate\n" in text
    )
    assert password not in "".join(commands)
    assert commands[-2].endswith("apply --server-side --force-conflicts --kustomize overlays/kind")
    assert "rollout status deployment/visiongate" in commands[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("apply", "OVERLAY=production", "CONTEXT=theirs"), "the digest is all zeros"),
        (("wait", "OVERLAY=staging"), "name the cluster, as in CONTEXT="),
        (("delete", "OVERLAY=production", "CONTEXT=theirs"), "confirm with CONFIRM=production"),
        (("rollback", "OVERLAY=production", "CONTEXT=theirs"), "revert the commit"),
        (("line", "CONTEXT=theirs"), "name a commit"),
    ],
)
def test_make_refuses_what_would_be_regretted(
    make: Callable[..., tuple[int, str]], arguments: tuple[str, ...], message: str
) -> None:
    status, text = make(*arguments)

    assert status == 2
    assert message in text
    assert "kubectl " not in text.partition("Makefile")[0]


def test_the_line_runs_at_the_commit_that_make_is_given(make: Callable[..., tuple[int, str]]) -> None:
    status, text = make("line", "CONTEXT=ours", "COMMIT=0a1b2c3")

    assert status == 0, text
    job = next(
        of_kind(
            list(yaml.safe_load_all(text.partition("apply --filename -\n")[2].partition("\nkubectl")[0])),
            "Job",
        )
    )
    assert {"name": "COMMIT", "value": "0a1b2c3"} in find(job, f"{CONTAINER}/env")
