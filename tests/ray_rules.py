"""What a Ray cluster and its job must hold: versions, memory, the shared workspace, and who reaches the head."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from manifest_cases import Case, Rule
from manifests import Document, Workload, containers, find, matches, name_of, of_kind, workloads
from visiongate.errors import SettingsError
from visiongate.settings.loading import parse_settings

ROOT = Path(__file__).parents[1]
SCRIPT, SETTINGS = "run.sh", "settings.yaml"
NVIDIA = "nvidia.com/gpu"
GIBIBYTE = 1024**3
# Processes that load images pass them through what the store of objects leaves of the shared memory.
LEFT = GIBIBYTE
DASHBOARD = {"port": 8265, "protocol": "TCP"}
HTTPS = {"port": 443, "protocol": "TCP"}
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """List a rule."""
    RULES[function.__name__] = function
    return function


def cluster_of(case: Case) -> Document:
    """Return the RayCluster."""
    [cluster] = of_kind(case.documents, "RayCluster")
    return cluster


def job_of(case: Case) -> Document:
    """Return the RayJob."""
    [job] = of_kind(case.documents, "RayJob")
    return job


def groups(cluster: Document) -> Iterator[tuple[str, Document]]:
    """Yield the groups of nodes by name, the head first."""
    yield "head", cluster["spec"]["headGroupSpec"]
    for group in cluster["spec"]["workerGroupSpecs"]:
        yield group["groupName"], group


def bytes_of(amount: str) -> int:
    """Return an amount such as 2Gi in bytes."""
    return int(amount.removesuffix("Gi")) * GIBIBYTE if amount.endswith("Gi") else 0


@rule
def has_the_version_of_its_image(case: Case) -> Iterator[str]:
    """KubeRay chooses probes and options by the version, which is that of the lock."""
    [locked] = re.findall(r"^ray==(\S+)", (ROOT / "deploy/ray.lock").read_text(), re.MULTILINE)
    if cluster_of(case)["spec"]["rayVersion"] != locked:
        yield f"rayVersion is {cluster_of(case)['spec']['rayVersion']}, and deploy/ray.lock has {locked}"


@rule
def keeps_objects_in_memory(case: Case) -> Iterator[str]:
    """The store of objects fits into the shared memory, and that into the memory of the container."""
    for name, group in groups(cluster_of(case)):
        spec = group["template"]["spec"]
        store = int(group["rayStartParams"].get("object-store-memory", 0))
        sizes = {volume["name"]: find(volume, "emptyDir/sizeLimit") for volume in spec["volumes"]}
        mounts = {
            mount["mountPath"]: mount["name"] for mount in find(spec, "containers/0/volumeMounts") or []
        }
        shared = bytes_of(sizes.get(mounts.get("/dev/shm", "")) or "")  # noqa: S108 - of the container
        if not 0 < store <= shared - LEFT:
            yield f"{name}: a store of {store} bytes in a shared memory of {shared}"
        if shared * 2 > bytes_of(find(spec, "containers/0/resources/limits/memory") or ""):
            yield f"{name}: the shared memory is more than half of the memory"


@rule
def leaves_the_head_to_the_stages(case: Case) -> Iterator[str]:
    """The stages run on the head; what they cut into pieces does not."""
    for name, group in groups(cluster_of(case)):
        if (group["rayStartParams"].get("num-cpus") == "0") != (name == "head"):
            yield f"{name}: num-cpus is {group['rayStartParams'].get('num-cpus')}"
        replicas = [group.get(field, 0) for field in ("minReplicas", "replicas", "maxReplicas")]
        if replicas != sorted(replicas):
            yield f"{name}: {replicas[1]} replicas of {replicas[0]} to {replicas[2]}"


@rule
def shares_its_workspace(case: Case) -> Iterator[str]:
    """All nodes write to one claim, at one path, where the job works."""
    claims = {
        document["metadata"]["name"]: document["spec"]["accessModes"]
        for document in of_kind(case.documents, "PersistentVolumeClaim")
    }
    places = {name: _claims(workload) for name, workload in _nodes(case)}
    for name, found in places.items():
        if [claims.get(claim) for claim in found] != [["ReadWriteMany"]] or found != places["head"]:
            yield f"{name}: mounts the claims {found}"
    [place] = places["head"].values() or [""]
    variables = yaml.safe_load(job_of(case)["spec"]["runtimeEnvYAML"])["env_vars"]
    # The engine sets PYTHONPATH for the workers, and Ray refuses a variable that both set.
    if variables.keys() != {"COMMIT", "HOME"} or variables["HOME"] != f"{place}/home":
        yield f"RayJob: variables {variables}"


@rule
def runs_the_script_on_the_head(case: Case) -> Iterator[str]:
    """The entry point and the settings are in the ConfigMap that the head mounts."""
    [config] = of_kind(case.documents, "ConfigMap")
    head = cluster_of(case)["spec"]["headGroupSpec"]["template"]["spec"]
    volumes = {volume["name"]: find(volume, "configMap/name") for volume in head["volumes"]}
    folders = [
        mount["mountPath"]
        for mount in find(head, "containers/0/volumeMounts")
        if volumes[mount["name"]] == config["metadata"]["name"]
    ]
    if [job_of(case)["spec"]["entrypoint"]] != [f"sh {folder}/{SCRIPT}" for folder in folders]:
        yield f"RayJob: runs {job_of(case)['spec']['entrypoint']}, and the script is in {folders}"
    if [f"{folder}/{SETTINGS}" for folder in folders] != re.findall(
        r"--config (\S+)", config["data"][SCRIPT]
    ):
        yield f"ConfigMap: the script does not read {SETTINGS} in {folders}"
    selected, cluster = job_of(case)["spec"]["clusterSelector"], cluster_of(case)["metadata"]["name"]
    if selected != {"ray.io/cluster": cluster}:
        yield f"RayJob: selects {selected}, and the cluster is {cluster}"
    images = {
        workload.spec["containers"][0]["image"] for name, workload in _nodes(case) if name in {"head", "cpu"}
    }
    images |= {container.spec["image"] for container in containers(case.documents, "RayJob")}
    if len(images) != 1:
        yield f"RayJob: images {sorted(images)}"


@rule
def asks_for_what_the_workers_have(case: Case) -> Iterator[str]:
    """The settings are valid, choose Ray, and a process of the training fits into a worker."""
    [config] = of_kind(case.documents, "ConfigMap")
    composed = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    try:
        settings = parse_settings(_merged(composed, yaml.safe_load(config["data"][SETTINGS])), SETTINGS)
    except SettingsError as error:
        yield f"ConfigMap: {error}"
        return
    if settings.engine.kind != "ray":
        yield f"ConfigMap: engine.kind is {settings.engine.kind}"
    wanted = settings.engine.resources.training
    limits = [
        find(group, "template/spec/containers/0/resources/limits") for _, group in groups(cluster_of(case))
    ][1:]
    fitting = [
        limit
        for limit in limits
        if wanted.gpus <= int(limit.get(NVIDIA, 0))
        and wanted.cpus <= int(limit["cpu"])
        and wanted.memory_mb * 1_000_000 <= bytes_of(limit["memory"])
    ]
    if not fitting:
        yield f"ConfigMap: no worker has what a process of the training asks for: {wanted}"
    if wanted.gpus == 0 and any(NVIDIA in limit for limit in limits):
        yield "ConfigMap: the training asks for no GPU, and there are some"


@rule
def tolerates_the_taint_of_gpus(case: Case) -> Iterator[str]:
    """Nodes with GPUs usually repel other pods; one of ours wants a GPU, or stays away."""
    for name, workload in _nodes(case):
        keys = {toleration["key"] for toleration in workload.spec.get("tolerations", [])}
        if (NVIDIA in keys) != (NVIDIA in find(workload.spec, "containers/0/resources/limits")):
            yield f"{name}: tolerates {sorted(keys)}"


@rule
def lets_nobody_else_in(case: Case) -> Iterator[str]:
    """The nodes reach each other, the job and KubeRay the dashboard of the head, and nothing else comes in."""
    if found := [
        name_of(each) for each in of_kind(case.documents, "Service", "Ingress", "HTTPRoute", "Gateway")
    ]:
        yield f"exposed by {found}"
    nodes = dict(_nodes(case))
    [job] = workloads(case.documents, "RayJob")
    for name, node in nodes.items():
        reached = sorted(map(str, _entries(case, node, "ingress", "from", [*nodes.values(), job])))
        allowed: list[tuple[str, Document | None]] = [(other.name, None) for other in nodes.values()]
        if name == "head":
            allowed += [(job.name, DASHBOARD), ("kuberay-system/kuberay-operator", DASHBOARD)]
        if reached != sorted(map(str, allowed)):
            yield f"{name}: reached by {reached}"
    for workload in (*nodes.values(), job):
        found_ways = sorted(map(str, _entries(case, workload, "egress", "to", [*nodes.values(), job])))
        if workload is job:
            ways: list[tuple[str, Document | None]] = [(nodes["head"].name, DASHBOARD)]
        else:
            ways = [(other.name, None) for other in nodes.values()]
            ways += [("everywhere", HTTPS)] if workload is nodes["head"] else []
        if found_ways != sorted(map(str, ways)):
            yield f"{workload.name}: reaches {found_ways}"


def _merged(tree: Document, values: Document) -> Document:
    """Return a tree in which some values are replaced."""
    return tree | {
        key: _merged(tree.get(key, {}), value) if isinstance(value, dict) else value
        for key, value in values.items()
    }


def _nodes(case: Case) -> Iterator[tuple[str, Workload]]:
    for workload in workloads(case.documents, "RayCluster"):
        yield workload.name.rpartition(" ")[2], workload


def _claims(workload: Workload) -> dict[str, str]:
    """Return where the claims of a pod are mounted, by their names."""
    claims = {
        volume["name"]: find(volume, "persistentVolumeClaim/claimName")
        for volume in workload.spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    mounts = find(workload.spec, "containers/0/volumeMounts")
    return {claims[mount["name"]]: mount["mountPath"] for mount in mounts if mount["name"] in claims}


def _entries(
    case: Case, workload: Workload, direction: str, side: str, others: list[Workload]
) -> Iterator[tuple[str, Document | None]]:
    """Yield who is on the other side of what the policies of a pod allow, with the port; names are left out."""
    for document in of_kind(case.documents, "NetworkPolicy"):
        policy = document["spec"]
        selector = find(policy, "podSelector/matchLabels") or {}
        if policy["podSelector"] and not (selector and matches(selector, workload.labels)):
            continue
        for entry in policy.get(direction, []):
            for peer in entry.get(side, [{}]):
                for name in _names(peer, others):
                    for port in entry.get("ports", [None]):
                        yield name, port


def _names(peer: Document, others: list[Workload]) -> Iterator[str]:
    labels = find(peer, "podSelector/matchLabels") or {}
    namespace = find(peer, "namespaceSelector/matchLabels/kubernetes.io~1metadata.name")
    if namespace == "kube-system":
        return
    if namespace:
        yield f"{namespace}/{labels.get('app.kubernetes.io/name')}"
    elif labels:
        yield from (other.name for other in others if matches(labels, other.labels))
    else:
        yield "everywhere"
