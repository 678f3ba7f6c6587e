"""The manifests of Kubernetes: rendered, held against the schemas and against the service, and broken one field at a time."""

import asyncio
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from sqlalchemy import make_url

from broken_manifests import BROKEN, CONTAINER, SETTINGS
from clones import call, make_two_commits
from command_line import run_cli
from connection_rules import misfits
from manifest_cases import RULES, Case
from manifest_schemas import VERSIONS, schema_findings
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
    variables,
)
from played_manifests import Played, play, skip_without_image
from pooled_models import write_pooled_model
from served import application
from visiongate.cli import main
from workload_rules import DIGEST

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs/kubernetes.md"
DOCKERFILE = ROOT / "deploy/Dockerfile"
OVERLAYS = ("kind", "staging", "production")
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


@functools.cache
def options() -> dict[str, set[str]]:
    """The commands of the command line, with their options."""
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in main.commands.items()
    }


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
        words=frozenset(re.findall(r"`([\w-]+)`", DOCS.read_text())),
        commands=options(),
        user=int(re.findall(r"^USER (\d+)", DOCKERFILE.read_text(), re.MULTILINE)[0]),
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

    assert not silent


def copied(folder: Path) -> Path:
    """Copy the manifests, with those that they include."""
    for name in ("kubernetes", "monitoring"):
        shutil.copytree(FOLDER.parent / name, folder / name)
    return folder / "kubernetes"


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
    folder = copied(tmp_path)
    settings = folder / "base/settings.env"
    settings.write_text(settings.read_text().replace("LOG_LEVEL=INFO", "LOG_LEVEL=DEBUG"))

    changed = render(str(folder / "base"))

    path = f"{CONTAINER}/envFrom/0/configMapRef/name"
    names = [
        find(document, path)
        for documents in (rendered("kind"), changed)
        for document in of_kind(documents, "Deployment")
    ]
    assert len(set(names)) == 2
    assert f"ConfigMap/{names[1]}" in map(name_of, changed)


@pytest.mark.parametrize(("overlay", "required"), [("kind", False), ("staging", True), ("production", True)])
def test_a_service_for_others_requires_keys(overlay: str, *, required: bool) -> None:
    [served] = containers(rendered(overlay), "Deployment")

    assert ("VISIONGATE_SERVING__KEYS_FILE" in variables(rendered(overlay), served.spec)) == required


def with_component(folder: Path, name: str) -> list[Document]:
    """Render production with a component more."""
    overlay = copied(folder) / "overlays/production"
    text = (overlay / "kustomization.yaml").read_text()
    text = text.replace("components:\n", f"components:\n  - ../../components/{name}\n")
    (overlay / "kustomization.yaml").write_text(text)
    return render(str(overlay))


@pytest.mark.parametrize(
    ("component", "name", "path", "value", "finding"),
    [
        (
            "registry",
            "Deployment/visiongate",
            f"{CONTAINER}/envFrom/1/secretRef/name",
            "mlflow-credentials",
            "the docs do not name Secret/mlflow-credentials",
        ),
        (
            "images",
            "PersistentVolumeClaim/visiongate-images",
            "spec/accessModes",
            ["ReadWriteOnce"],
            "are lost with a pod, or not those of all replicas",
        ),
        (
            "images",
            "PersistentVolumeClaim/visiongate-images",
            "spec/resources/requests/storage",
            "5Gi",
            "images of 8000000000 bytes",
        ),
        (
            "retrain",
            "CronJob/visiongate-retrain-check",
            "spec/jobTemplate/spec/template/spec/volumes/1/secret/items/0/key",
            "password",
            "Secret/visiongate-retrain has no ['password']",
        ),
    ],
)
def test_a_component_holds_the_rules_and_a_mistake_in_it_is_found(  # noqa: PLR0913, PLR0917 - the columns of a table
    component: str, name: str, path: str, value: object, finding: str, tmp_path: Path, service: Service
) -> None:
    documents = with_component(tmp_path, component)

    assert findings(case_of("production", service, documents)) == []
    assert schema_findings(documents, VERSIONS[-1]) == []
    broken = change(documents, name, path, value)
    assert finding in "".join(findings(case_of("production", service, broken)))


def test_the_service_follows_the_registry_of_the_component(tmp_path: Path) -> None:
    documents = with_component(tmp_path, "registry")

    [served] = containers(documents, "Deployment")
    assert variables(documents, served.spec)["MODEL_PATH"].startswith("models:/")


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
    makefile = (FOLDER / "Makefile").read_text()
    assert f"http://127.0.0.1:{mapping['hostPort']}" in makefile
    assert f",kind-{cluster['name']})" in makefile
    assert all(DIGEST.fullmatch(node["image"]) for node in cluster["nodes"])


# Kinds that Argo CD reads.
ARGO = {"AppProject": 0, "Application": 1}


def argo_findings(project: Document, application: Document, deployed: Sequence[Document]) -> Iterator[str]:
    """What an Application may not do in its project, and what the project allows without need."""
    allowed, source = project["spec"], application["spec"]["source"]
    for document in (project, application):
        yield from misfits(document, document["spec"], f"/{document['kind']}")
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
    if (place := {found["metadata"].get("namespace") for found in (project, application)}) != {"argocd"}:
        yield f"in {place}, where Argo CD does not look"
    path = "metadata/annotations/argocd.argoproj.io~1sync-options"
    options = [find(namespace, path) for namespace in of_kind(deployed, "Namespace")]
    if options != ["Delete=false,Prune=false"]:
        yield f"Argo CD may delete the namespace, and the secrets in it: {options}"


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
        ("Application/visiongate", "spec/source/targetRevision", "HEAD", "targetRevision"),
        ("Application/visiongate", "spec/syncPolicy/automated/selfHeal", False, "automated"),
        ("Application/visiongate", "spec/syncPolicy/syncOptions/0", "ServerSideApply=false", "syncOptions"),
        ("Application/visiongate", "metadata/namespace", "argo", "where Argo CD does not look"),
        ("Namespace/visiongate", "metadata/annotations", REMOVED, "Argo CD may delete the namespace"),
        (
            "Namespace/visiongate",
            "metadata/annotations/argocd.argoproj.io~1sync-options",
            "Delete=false",
            "Argo CD may delete the namespace",
        ),
    ],
)
def test_a_broken_argo_cd_is_found(name: str, path: str, value: object, finding: str) -> None:
    both = change([*rendered("argocd"), *rendered("production")], name, path, value)
    project, application, *deployed = sorted(both, key=lambda document: ARGO.get(document["kind"], 2))

    assert finding in "".join(argo_findings(project, application, deployed))


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
    folder = copied(tmp_path)
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


def test_rollback_goes_back_and_waits(make: Callable[..., tuple[int, str]]) -> None:
    status, text = make("rollback")

    assert status == 0, text
    undone, waited = text.splitlines()
    assert undone.endswith("rollout undo deployment/visiongate")
    assert "rollout status deployment/visiongate" in waited


def test_the_address_is_that_of_the_database_of_the_overlay(make: Callable[..., tuple[int, str]]) -> None:
    _, text = make("secrets")
    address = make_url(re.findall(r"^address=(.+)$", text, re.MULTILINE)[0])

    [database] = [found for found in rendered("kind") if found["kind"] == "StatefulSet"]
    [service] = [found for found in rendered("kind") if name_of(found) == f"Service/{address.host}"]
    variables = {entry["name"]: entry["value"] for entry in find(database, f"{CONTAINER}/env")}
    assert address.drivername == "postgresql+psycopg"
    assert address.port == find(service, "spec/ports/0/port")
    assert address.username == variables["POSTGRES_USER"]
    assert address.database == variables["POSTGRES_DB"]


def test_the_database_has_the_image_of_compose() -> None:
    compose = yaml.safe_load((FOLDER.parent / "compose.yaml").read_text())
    [database] = [found for found in rendered("kind") if found["kind"] == "StatefulSet"]

    name, _, digest = compose["services"]["postgres"]["image"].partition("@")
    assert find(database, f"{CONTAINER}/image") == f"{name.partition(':')[0]}@{digest}"


def test_apply_stops_at_manifests_that_cannot_be_rendered(
    make: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    (tmp_path / "kubernetes/base/service.yaml").unlink()

    status, text = make("apply")

    assert status == 2
    assert "service.yaml" in text
    assert "--kustomize" not in text


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ((), "http://127.0.0.1:8080"),
        (("OVERLAY=staging", "CONTEXT=ours"), "http://127.0.0.1:18080"),
        (("OVERLAY=production", "URL=https://cats.example.com"), "https://cats.example.com"),
    ],
)
def test_smoke_asks_the_service_where_it_is_reached(
    make: Callable[..., tuple[int, str]], arguments: tuple[str, ...], url: str, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$*" >> calls\nsleep 0.2\n')
    python.chmod(0o755)

    status, text = make("smoke", f"PYTHON={python}", *arguments)

    assert status == 0, text
    assert f"-m visiongate smoke --wait 60 --url {url}\n" in text
    forwards = "kubectl --context ours --namespace visiongate port-forward service/visiongate 18080:80\n"
    assert (forwards in text) == ("OVERLAY=staging" in arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("apply", "OVERLAY=production", "CONTEXT=theirs"), "the digest is all zeros"),
        (("wait", "OVERLAY=staging"), "name the cluster, as in CONTEXT="),
        (("delete", "OVERLAY=production", "CONTEXT=theirs"), "confirm with CONFIRM=production"),
        (("rollback", "OVERLAY=production", "CONTEXT=theirs"), "revert the commit"),
        (("line", "CONTEXT=theirs"), "name a commit"),
        (("line", "CONTEXT=theirs", "COMMIT=0a1b2c3"), "line/kustomization.yaml: the digest is all zeros"),
        (("ray", "CONTEXT=theirs"), "name a commit"),
        (("ray", "CONTEXT=theirs", "COMMIT=0a1b2c3"), "ray/kustomization.yaml: the digest is all zeros"),
    ],
)
def test_make_refuses_what_would_be_regretted(
    make: Callable[..., tuple[int, str]], arguments: tuple[str, ...], message: str
) -> None:
    status, text = make(*arguments)

    assert status == 2
    assert message in text
    assert "kubectl --context" not in text


def test_the_line_runs_at_the_commit_that_make_is_given(
    make: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    kustomization = tmp_path / "kubernetes/line/kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("sha256:0000", "sha256:abcd"))

    status, text = make("line", "CONTEXT=ours", "COMMIT=0a1b2c3")

    assert status == 0, text
    [job] = of_kind(_applied(text), "Job")
    assert {"name": "COMMIT", "value": "0a1b2c3"} in find(job, f"{CONTAINER}/env")


def test_the_ray_job_runs_at_the_commit_that_make_is_given(
    make: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    kustomization = tmp_path / "kubernetes/ray/kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("sha256:0000", "sha256:abcd"))

    status, text = make("ray", "CONTEXT=ours", "COMMIT=0123456")

    assert status == 0, text
    assert text.startswith("kubectl --context ours --namespace visiongate-ray delete rayjob visiongate")
    [job] = of_kind(_applied(text), "RayJob")
    variables = yaml.safe_load(find(job, "spec/runtimeEnvYAML"))["env_vars"]
    assert variables["COMMIT"] == "0123456"


def _applied(text: str) -> list[Document]:
    """Return the documents in the notes of kubectl's input."""
    return list(yaml.safe_load_all(text.partition("apply --filename -\n")[2].partition("\nkubectl")[0]))


def test_the_line_clones_one_commit_and_runs_its_code(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    commit = make_two_commits(origin)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$PYTHONPATH $(ls src) $*"\n')
    python.chmod(0o755)

    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "REPOSITORY": str(origin),
        "COMMIT": commit,
    }
    result = subprocess.run(
        ["sh", str(FOLDER / "line/run.sh")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    place = f"{tmp_path}/clone/src code.py -m visiongate"
    assert result.stdout.splitlines() == [f"{place} repro --minimal", f"{place} remote push"]
    assert call(tmp_path / "clone", "git", "rev-parse", "HEAD").stdout.strip() == commit


def custom_findings(document: Document) -> list[str]:
    """What the model of a custom resource says, also about fields that it does not have."""
    from cloudcoil.models.keda import v1alpha1 as keda  # noqa: PLC0415 - takes a second
    from cloudcoil.models.prometheus_operator import v1 as operator  # noqa: PLC0415 - takes three seconds

    models = {"ScaledObject": keda.ScaledObject, "ServiceMonitor": operator.ServiceMonitor}
    models["PrometheusRule"] = operator.PrometheusRule
    try:
        model = models[document["kind"]].model_validate(document)
    except ValidationError as error:
        return [f"{name_of(document)}: {error}"]
    known = model.model_dump(by_alias=True, exclude_unset=True, mode="json")
    return [f"{name_of(document)}: unknown {path}" for path in unknown_fields(document, known)]


def unknown_fields(document: object, known: object, path: str = "") -> Iterator[str]:
    """Yield the paths of the fields that were dropped."""
    if isinstance(document, dict) and isinstance(known, dict):
        for key, value in document.items():
            if key in known:
                yield from unknown_fields(value, known[key], f"{path}/{key}")
            else:
                yield f"{path}/{key}"
    elif isinstance(document, list) and isinstance(known, list):
        for place, (value, other) in enumerate(zip(document, known, strict=True)):
            yield from unknown_fields(value, other, f"{path}/{place}")


@pytest.mark.slow
def test_custom_resources_have_the_fields_of_their_definitions() -> None:
    kinds = ("ScaledObject", "ServiceMonitor", "PrometheusRule")
    documents = list(of_kind([*rendered("staging"), *rendered("production")], *kinds))

    assert len(documents) == 2 * len(kinds)
    assert [finding for document in documents for finding in custom_findings(document)] == []
    for name, path, value in (
        ("ScaledObject/visiongate", "spec/minReplicas", 2),
        ("ScaledObject/visiongate", "spec/triggers/0/metadata/threshold", 8),
        ("ServiceMonitor/visiongate", "spec/endpoints/0/prot", "http"),
        ("PrometheusRule/visiongate", "spec/groups/0/rules/0/expr", REMOVED),
    ):
        broken = change(documents[-len(kinds) :], name, path, value)
        assert len([found for document in broken for found in custom_findings(document)]) == 1, path


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    """The Deployment and the ConfigMap of the local cluster, run by podman, with a database of their own."""
    skip_without_image()
    yield from play(rendered("kind"), tmp_path)


@pytest.mark.slow
def test_the_rendered_deployment_runs_without_rights_and_stops_in_order(played: Played) -> None:
    assert run_cli("smoke", "--url", played.url, "--wait", "60") == 0

    status = dict(line.split(":\t", 1) for line in played.inside("cat /proc/1/status").splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "Read-only file system" in played.inside("touch /opt/file || true")
    assert played.inside(
        "touch /tmp/file /var/lib/visiongate/file && ls /var/lib/visiongate/predictions.sqlite"
    )
    assert played.limits() == (512 * 1024**2, 100_000)
    assert played.stop() == 0
