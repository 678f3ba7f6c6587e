"""What each rendered overlay must hold: rules that yield their findings, which name the object and the field."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests import (
    Container,
    Document,
    Workload,
    containers,
    find,
    matches,
    name_of,
    of_kind,
    port_names,
    variables,
    workloads,
)
from visiongate.errors import SettingsError
from visiongate.settings.serving import Serving
from visiongate.settings.serving_environment import PREFIX, SHORT_NAMES, load_serving

NONE = Path("no params.yaml")
PROBES = {"startupProbe": "startup", "readinessProbe": "ready", "livenessProbe": "live"}
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
DIGEST = re.compile(r"[\w./:-]+@sha256:[0-9a-f]{64}")
# The kinds of references to ConfigMaps and Secrets, and the field with the name.
REFERENCES = {
    "configMapRef": ("ConfigMap", "name"),
    "configMapKeyRef": ("ConfigMap", "name"),
    "configMap": ("ConfigMap", "name"),
    "secretRef": ("Secret", "name"),
    "secretKeyRef": ("Secret", "name"),
    "secret": ("Secret", "secretName"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
}
# Of the service's shutdown, beside its settings: what the prediction log still writes.
CLOSING_SECONDS = 5


@dataclass(frozen=True)
class Case:
    """Rendered documents, and what they must agree with.

    Attributes:
        documents: Of one overlay.
        namespace: Of all objects.
        routes: That the service answers.
        metrics: That a started service exports.
        secrets: That the operator creates, as the docs say, with their keys.
        commands: Of the command line.
        digests: Whether each image must be named by digest.
    """

    documents: Sequence[Document]
    namespace: str
    routes: frozenset[str]
    metrics: frozenset[str]
    secrets: dict[str, set[str]]
    commands: frozenset[str]
    digests: bool


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


def _ours(case: Case, *kinds: str) -> Iterator[Container]:
    """Yield the containers that run the image of the service."""
    return (
        found for found in containers(case.documents, *kinds) if found.spec["name"] in {"service", "drift"}
    )


@rule
def is_in_its_namespace(case: Case) -> Iterator[str]:
    """Every object is in the namespace, which exists and is restricted."""
    for document in case.documents:
        found = document["metadata"].get("namespace")
        if document["kind"] != "Namespace" and found != case.namespace:
            yield f"{name_of(document)}: namespace {found}"
    for document in of_kind(case.documents, "Namespace"):
        for mode in ("enforce", "audit", "warn"):
            labels = document["metadata"].get("labels", {})
            level = labels.get(f"pod-security.kubernetes.io/{mode}")
            version = labels.get(f"pod-security.kubernetes.io/{mode}-version", "latest")
            if level != "restricted" or not re.fullmatch(r"v1\.\d+", version):
                yield f"{name_of(document)}: pod security {mode} is {level}, version {version}"
    if f"Namespace/{case.namespace}" not in map(name_of, case.documents):
        yield f"no Namespace/{case.namespace}"


@rule
def has_probes(case: Case) -> Iterator[str]:
    """Whatever runs all the time has three probes."""
    for container in containers(case.documents, "Deployment", "StatefulSet"):
        for probe in PROBES:
            if probe not in container.spec:
                yield f"{container.name}: no {probe}"


@rule
def probes_ask_for_routes_of_the_service(case: Case) -> Iterator[str]:
    """Each probe asks its own question, at a port that the container has."""
    for container in _ours(case, "Deployment"):
        for probe, question in PROBES.items():
            path = find(container.spec, f"{probe}/httpGet/path")
            port = find(container.spec, f"{probe}/httpGet/port")
            if path != f"/health/{question}" or path not in case.routes:
                yield f"{container.name}: {probe} asks for {path}"
            if port not in port_names(container.workload):
                yield f"{container.name}: {probe} asks at port {port}"


@rule
def has_the_port_of_the_settings(case: Case) -> Iterator[str]:
    """The port of the container is the one that the service listens on."""
    for container in _ours(case, "Deployment"):
        ports = {port["name"]: port["containerPort"] for port in container.spec.get("ports", [])}
        if ports.get("http") != serving_of(case, container).port:
            yield f"{container.name}: ports {ports}, and the service listens on {serving_of(case, container).port}"


@rule
def has_requests_and_limits(case: Case) -> Iterator[str]:
    """Processor, memory and storage are requested and limited; memory, which is not given back, by the same amount."""
    for container in containers(case.documents):
        for resource in ("cpu", "memory", "ephemeral-storage"):
            for kind in ("requests", "limits"):
                if not find(container.spec, f"resources/{kind}/{resource}"):
                    yield f"{container.name}: no {kind} of {resource}"
        amounts = [find(container.spec, f"resources/{kind}/memory") for kind in ("requests", "limits")]
        if amounts[0] != amounts[1]:
            yield f"{container.name}: memory {amounts[0]} requested, {amounts[1]} at most"


@rule
def limits_whole_cores(case: Case) -> Iterator[str]:
    """The service rounds its quota up, so that a part of a core would be a thread that is throttled."""
    for container in _ours(case):
        limit = find(container.spec, "resources/limits/cpu")
        if not str(limit).isdecimal():
            yield f"{container.name}: {limit} cores"


@rule
def has_no_privileges(case: Case) -> Iterator[str]:
    """Pods fulfill the restricted level, and more: a read-only root, no token, no part of the host."""
    for workload in workloads(case.documents):
        security = workload.spec.get("securityContext", {})
        if not security.get("runAsNonRoot") or not security.get("runAsUser"):
            yield f"{workload.name}: may run as root"
        if find(security, "seccompProfile/type") != "RuntimeDefault":
            yield f"{workload.name}: no seccompProfile"
        for field in ("automountServiceAccountToken", "enableServiceLinks"):
            if workload.spec.get(field) is not False:
                yield f"{workload.name}: {field} is not false"
        if {"hostNetwork", "hostPID", "hostIPC"} & workload.spec.keys():
            yield f"{workload.name}: shares the host"
    for container in containers(case.documents):
        for field, expected in RESTRICTED.items():
            if find(container.spec, f"securityContext/{field}") != expected:
                yield f"{container.name}: securityContext.{field} is not {expected}"


@rule
def has_bounded_volumes(case: Case) -> Iterator[str]:
    """What is writable is bounded, declared and mounted; nothing of the host is mounted."""
    for workload in workloads(case.documents):
        volumes = {volume["name"]: volume for volume in workload.spec.get("volumes", [])}
        for name, volume in volumes.items():
            if "hostPath" in volume or ("emptyDir" in volume and not find(volume, "emptyDir/sizeLimit")):
                yield f"{workload.name}: volume {name} is unbounded, or of the host"
        claims = {"data"} if workload.kind == "StatefulSet" else set()
        mounted = {
            mount["name"] for spec in workload.spec["containers"] for mount in spec.get("volumeMounts", [])
        }
        if mounted != volumes.keys() | claims:
            yield f"{workload.name}: volumes {sorted(volumes)}, mounted {sorted(mounted)}"


@rule
def can_write_where_the_service_writes(case: Case) -> Iterator[str]:
    """The root is read-only, but for these folders of the image's contract."""
    for container in _ours(case):
        mounted = {mount["mountPath"] for mount in container.spec.get("volumeMounts", [])}
        for folder in sorted({"/tmp", "/var/lib/visiongate"} - mounted):  # noqa: S108 - of the container
            yield f"{container.name}: {folder} is read-only"


@rule
def names_images_by_digest(case: Case) -> Iterator[str]:
    """A tag may move; only the local cluster, which pulls nothing, uses one."""
    for container in containers(case.documents):
        image = container.spec["image"]
        if case.digests and not DIGEST.fullmatch(image):
            yield f"{container.name}: image {image} has no digest"
        if container.spec.get("imagePullPolicy") != "IfNotPresent":
            yield f"{container.name}: imagePullPolicy is not IfNotPresent"


@rule
def selects_pods(case: Case) -> Iterator[str]:
    """Selectors match the labels of pods: of the workload itself, or of one that exists."""
    for document in of_kind(case.documents, "Deployment", "StatefulSet"):
        selector, labels = (
            find(document, "spec/selector/matchLabels"),
            find(document, "spec/template/metadata/labels"),
        )
        if not matches(selector, labels):
            yield f"{name_of(document)}: selector {selector} does not match its pods"
    selectors = {"Service": "spec/selector", "PodDisruptionBudget": "spec/selector/matchLabels"}
    for document in of_kind(case.documents, *selectors):
        selector = find(document, selectors[document["kind"]])
        selected = _selected(case, selector or {})
        if not selector or len(selected) != 1:
            yield f"{name_of(document)}: selector {selector} matches {len(selected)} workloads"


@rule
def serves_ports_that_exist(case: Case) -> Iterator[str]:
    """The target of a Service is a port of the pods that it selects."""
    for document in of_kind(case.documents, "Service"):
        found = {
            name
            for workload in _selected(case, document["spec"]["selector"])
            for name in port_names(workload)
        }
        for port in document["spec"]["ports"]:
            if port.get("targetPort") not in found:
                yield f"{name_of(document)}: target port {port.get('targetPort')}"


@rule
def spreads_its_replicas(case: Case) -> Iterator[str]:
    """Replicas are spread over hosts and zones, by the labels that they have."""
    for workload in workloads(case.documents, "Deployment"):
        constraints = workload.spec.get("topologySpreadConstraints", [])
        if not {HOST, ZONE} <= {constraint["topologyKey"] for constraint in constraints}:
            yield f"{workload.name}: not spread over hosts and zones"
        for constraint in constraints:
            if not matches(find(constraint, "labelSelector/matchLabels") or {"": ""}, workload.labels):
                yield f"{workload.name}: topology spread of {constraint['topologyKey']} does not match its pods"


@rule
def has_one_autoscaler(case: Case) -> Iterator[str]:
    """One autoscaler for each Deployment, which owns the number of replicas and keeps at least two."""
    scalers = list(of_kind(case.documents, "HorizontalPodAutoscaler", "ScaledObject"))
    for document in of_kind(case.documents, "Deployment"):
        targets = [
            scaler
            for scaler in scalers
            if find(scaler, "spec/scaleTargetRef/kind") == "Deployment"
            and find(scaler, "spec/scaleTargetRef/name") == document["metadata"]["name"]
        ]
        if len(targets) != 1 or len(targets) != len(scalers):
            yield f"{name_of(document)}: autoscalers {[name_of(scaler) for scaler in targets]} of {len(scalers)}"
        if "replicas" in document["spec"]:
            yield f"{name_of(document)}: replicas, which each apply would reset"
    for scaler in scalers:
        fields = (
            ("minReplicas", "maxReplicas")
            if "minReplicas" in scaler["spec"]
            else ("minReplicaCount", "maxReplicaCount")
        )
        least, most = (scaler["spec"].get(field, 1) for field in fields)
        if not 2 <= least < most:
            yield f"{name_of(scaler)}: {least} to {most} replicas"


@rule
def scales_on_metrics_that_exist(case: Case) -> Iterator[str]:
    """The metrics in the queries of an autoscaler are those of the service, in this namespace."""
    for document in of_kind(case.documents, "ScaledObject"):
        queries = [find(trigger, "metadata/query") for trigger in document["spec"]["triggers"]]
        for query in filter(None, queries):
            names = set(re.findall(r"visiongate_\w+", query))
            if not names or names - case.metrics:
                yield f"{name_of(document)}: {query}: the service exports no {sorted(names - case.metrics)}"
            if f'namespace="{case.namespace}"' not in query:
                yield f"{name_of(document)}: {query}: of all namespaces"
    for document in of_kind(case.documents, "HorizontalPodAutoscaler"):
        kinds = {
            (metric["type"], find(metric, "resource/name")) for metric in document["spec"].get("metrics", [])
        }
        if kinds != {("Resource", "cpu")}:
            yield f"{name_of(document)}: metrics {sorted(map(str, kinds))}"


@rule
def survives_updates_and_drains(case: Case) -> Iterator[str]:
    """An update takes no replica away before another is ready; draining nodes takes one at a time."""
    for document in of_kind(case.documents, "Deployment"):
        if find(document, "spec/strategy/rollingUpdate/maxUnavailable") != 0:
            yield f"{name_of(document)}: an update makes replicas unavailable"
        budgets = [
            find(budget, "spec/maxUnavailable") for budget in of_kind(case.documents, "PodDisruptionBudget")
        ]
        if budgets != [1]:
            yield f"{name_of(document)}: disruption budgets {budgets}"


@rule
def has_time_to_stop(case: Case) -> Iterator[str]:
    """The grace period covers the handler, draining, a request that arrives slowly, and its answer."""
    for container in _ours(case, "Deployment"):
        before = find(container.spec, "lifecycle/preStop/sleep/seconds")
        if not before:
            yield f"{container.name}: no preStop sleep, so that requests arrive while it stops"
        limits = serving_of(case, container).limits
        needed = (
            (before or 0)
            + limits.drain_seconds
            + limits.deadline_seconds
            + limits.send_seconds
            + CLOSING_SECONDS
        )
        grace = container.workload.spec.get("terminationGracePeriodSeconds", 30)
        if grace < needed:
            yield f"{container.name}: terminationGracePeriodSeconds is {grace}, and stopping takes {needed:g}"


@rule
def has_settings_of_the_service(case: Case) -> Iterator[str]:
    """Each variable is a setting, with a valid value."""
    for container in _ours(case):
        try:
            load_serving(NONE, variables(case.documents, container.spec))
        except SettingsError as error:
            yield f"{container.name}: {error}"
        for name in variables(case.documents, container.spec):
            if name not in SHORT_NAMES and not name.startswith(PREFIX):
                yield f"{container.name}: {name} is no setting"
        if f"{PREFIX}LOG__ADDRESS" not in variables(case.documents, container.spec):
            yield f"{container.name}: replicas share no prediction log"


@rule
def reads_a_file_of_keys_that_is_mounted(case: Case) -> Iterator[str]:
    """The file of the API keys is in a volume."""
    for container in _ours(case, "Deployment"):
        file = serving_of(case, container).keys_file
        mounted = {mount["mountPath"] for mount in container.spec["volumeMounts"]}
        if file is not None and str(Path(file).parent) not in mounted:
            yield f"{container.name}: {file} is not mounted"


@rule
def refers_to_what_exists(case: Case) -> Iterator[str]:
    """What a pod refers to is rendered, too, or is created by the operator as the docs say."""
    present = {name_of(document): set(document.get("data", {})) for document in case.documents}
    present |= {f"Secret/{name}": keys for name, keys in case.secrets.items()}
    for workload in workloads(case.documents):
        account = f"ServiceAccount/{workload.spec.get('serviceAccountName')}"
        if account not in present:
            yield f"{workload.name}: no {account}"
        for name, keys in _references(workload.spec):
            if name not in present:
                yield f"{workload.name}: no {name}"
            elif keys - present[name]:
                yield f"{workload.name}: {name} has no {sorted(keys - present[name])}"


@rule
def denies_what_no_policy_allows(case: Case) -> Iterator[str]:
    """Every pod is isolated in both directions, and may look up names."""
    policies = [document["spec"] for document in of_kind(case.documents, "NetworkPolicy")]
    everything = [policy for policy in policies if policy.get("podSelector") == {}]
    isolated = {kind for policy in everything for kind in policy["policyTypes"]}
    if isolated != {"Ingress", "Egress"}:
        yield f"NetworkPolicy: pods are isolated for {sorted(isolated)} only"
    if any([{}] in (policy.get("ingress"), policy.get("egress")) for policy in policies):
        yield "NetworkPolicy: a policy allows everything"
    if not any(port.get("port") == 53 for policy in everything for port in _policy_ports(policy, "egress")):
        yield "NetworkPolicy: pods cannot look up names"


@rule
def has_network_policies_for_pods_that_exist(case: Case) -> Iterator[str]:
    """A policy selects pods, its peers in the namespace exist, and so do the ports."""
    for document in of_kind(case.documents, "NetworkPolicy"):
        selected = _selected(case, find(document, "spec/podSelector/matchLabels") or {})
        if not selected:
            yield f"{name_of(document)}: selects no pod"
        for direction, side in (("ingress", "from"), ("egress", "to")):
            peers = [
                selector
                for entry in document["spec"].get(direction, [])
                for peer in entry.get(side, [])
                if "namespaceSelector" not in peer and (selector := find(peer, "podSelector/matchLabels"))
            ]
            reached = (
                selected
                if direction == "ingress"
                else [workload for peer in peers for workload in _selected(case, peer)]
            )
            if peers and not all(_selected(case, peer) for peer in peers):
                yield f"{name_of(document)}: {direction} of pods that do not exist"
            numbers = {number for workload in reached for number in port_names(workload).values()}
            for port in _policy_ports(document["spec"], direction):
                if (direction == "ingress" or peers) and port.get("port") not in numbers:
                    yield f"{name_of(document)}: {direction} at port {port.get('port')}"


@rule
def lets_metrics_be_read(case: Case) -> Iterator[str]:
    """A ServiceMonitor selects a Service of ours and one of its ports; with API keys, it has one."""
    services = list(of_kind(case.documents, "Service"))
    keys = any(serving_of(case, container).keys_file for container in _ours(case, "Deployment"))
    for document in of_kind(case.documents, "ServiceMonitor"):
        selector = find(document, "spec/selector/matchLabels") or {"": ""}
        found = [service for service in services if matches(selector, service["metadata"].get("labels", {}))]
        if len(found) != 1:
            yield f"{name_of(document)}: selector {selector} matches {len(found)} services"
        names = {port["name"] for service in found for port in service["spec"]["ports"]}
        for endpoint in document["spec"]["endpoints"]:
            path = endpoint.get("path", "/metrics")
            if endpoint.get("port") not in names or path not in case.routes:
                yield f"{name_of(document)}: endpoint {path} at port {endpoint.get('port')}"
            secret = find(endpoint, "authorization/credentials") or {}
            if keys and secret.get("key") not in case.secrets.get(secret.get("name", ""), set()):
                yield f"{name_of(document)}: /metrics requires a key"


@rule
def routes_requests_to_the_service(case: Case) -> Iterator[str]:
    """A route is of a listener of the gateway, and leads to a port of a Service, with time for a slow request."""
    gateways = {document["metadata"]["name"]: document for document in of_kind(case.documents, "Gateway")}
    ports = {
        (document["metadata"]["name"], port["port"])
        for document in of_kind(case.documents, "Service")
        for port in document["spec"]["ports"]
    }
    limits = Serving().limits
    for document in of_kind(case.documents, "HTTPRoute"):
        for parent in document["spec"]["parentRefs"]:
            listeners = find(gateways.get(parent["name"]), "spec/listeners") or []
            fitting = [listener for listener in listeners if listener["name"] == parent["sectionName"]]
            if [listener["hostname"] for listener in fitting] != document["spec"]["hostnames"]:
                yield f"{name_of(document)}: no listener {parent['name']}/{parent['sectionName']} of its host"
        for entry in document["spec"]["rules"]:
            for backend in entry.get("backendRefs", []):
                if (backend["name"], backend.get("port")) not in ports:
                    yield f"{name_of(document)}: no Service {backend['name']}:{backend.get('port')}"
            timeout = find(entry, "timeouts/request")
            if (
                "backendRefs" in entry
                and int((timeout or "0s")[:-1]) < limits.send_seconds + limits.deadline_seconds
            ):
                yield f"{name_of(document)}: a request may take {timeout}, less than the service takes"


@rule
def terminates_tls(case: Case) -> Iterator[str]:
    """A gateway has a certificate; without TLS, it only redirects."""
    for document in of_kind(case.documents, "Gateway"):
        for listener in document["spec"]["listeners"]:
            certificates = find(listener, "tls/certificateRefs") or []
            known = [
                certificate["name"] for certificate in certificates if certificate["name"] in case.secrets
            ]
            if listener["protocol"] == "HTTPS" and not known:
                yield f"{name_of(document)}: {listener['name']} has no certificate that the docs name"
            routes = [
                route
                for route in of_kind(case.documents, "HTTPRoute")
                if listener["name"] in {parent["sectionName"] for parent in route["spec"]["parentRefs"]}
            ]
            backends = [
                entry for route in routes for entry in route["spec"]["rules"] if "backendRefs" in entry
            ]
            if listener["protocol"] == "HTTP" and backends:
                yield f"{name_of(document)}: {listener['name']} serves without TLS"


@rule
def has_jobs_that_end(case: Case) -> Iterator[str]:
    """A Job ends and is cleaned up, and its policy for failures is that of its container."""
    for document in of_kind(case.documents, "CronJob", "Job"):
        job = _job(document)
        for field in ("activeDeadlineSeconds", "ttlSecondsAfterFinished", "backoffLimit", "podFailurePolicy"):
            if field not in job:
                yield f"{name_of(document)}: no {field}"
        if find(job, "template/spec/restartPolicy") != "Never":
            yield f"{name_of(document)}: restartPolicy is not Never"
        names = {container["name"] for container in find(job, "template/spec/containers")}
        rules = find(job, "podFailurePolicy/rules") or []
        others = {find(entry, "onExitCodes/containerName") for entry in rules} - names - {None}
        if others:
            yield f"{name_of(document)}: podFailurePolicy of {sorted(others)}"


@rule
def calls_commands_that_exist(case: Case) -> Iterator[str]:
    """The arguments of a container are a command of ours; the image names the program."""
    for container in _ours(case, "CronJob", "Job"):
        command = container.spec["args"][0]
        if command not in case.commands:
            yield f"{container.name}: visiongate {command} does not exist"


@rule
def does_not_overlap(case: Case) -> Iterator[str]:
    """A CronJob waits for its last run, misses no more than a while, and keeps some history."""
    for document in of_kind(case.documents, "CronJob"):
        if document["spec"].get("concurrencyPolicy") != "Forbid":
            yield f"{name_of(document)}: concurrencyPolicy is not Forbid"
        fields = (
            "startingDeadlineSeconds",
            "successfulJobsHistoryLimit",
            "failedJobsHistoryLimit",
            "timeZone",
        )
        for field in fields:
            if field not in document["spec"]:
                yield f"{name_of(document)}: no {field}"


def _job(document: Document) -> Document:
    job: Document = find(document, "spec/jobTemplate/spec") or document["spec"]
    return job


def _selected(case: Case, selector: dict[str, str], *kinds: str) -> list[Workload]:
    return [workload for workload in workloads(case.documents, *kinds) if matches(selector, workload.labels)]


def _policy_ports(policy: Document, direction: str) -> list[Document]:
    return [port for entry in policy.get(direction, []) for port in entry.get("ports", [])]


def _references(node: object) -> Iterator[tuple[str, set[str]]]:
    """Yield the kind and name of each ConfigMap, Secret and claim below a node, with the keys that are read."""
    if isinstance(node, list):
        for entry in node:
            yield from _references(entry)
    elif isinstance(node, dict):
        for field, value in node.items():
            if field in REFERENCES and isinstance(value, dict) and not value.get("optional"):
                kind, name = REFERENCES[field]
                keys = {value["key"]} if "key" in value else {item["key"] for item in value.get("items", [])}
                yield f"{kind}/{value.get(name)}", keys
            yield from _references(value)
