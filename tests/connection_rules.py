"""How what is deployed finds and reaches each other: selectors, autoscalers, network policies, routes, and monitoring."""

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from manifest_cases import COMPONENT, NAME, Case, ours, rule, selected, serving_of
from manifests import Document, Workload, find, matches, millicores, name_of, of_kind, port_names
from visiongate.settings.serving import Serving

CUSTOM_RESOURCES = yaml.safe_load((Path(__file__).parent / "custom_resources.yaml").read_text())
SELECTORS = {"Service": "spec/selector", "PodDisruptionBudget": "spec/selector/matchLabels"}
# Of names, and of databases.
DNS, POSTGRESQL, HTTPS = 53, 5432, 443
TAKES_OVER = "scaledobject.keda.sh~1transfer-hpa-ownership"
# A request waits for three others at most. More percent of the requested processors than all is no reserve.
REQUESTS_PER_CORE, MOST_CPU = 4, 100
NAME_SERVER = [
    {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
]


@rule
def selects_pods(case: Case) -> Iterator[str]:
    """A selector asks for name and component, and matches one workload: its own, or one that exists."""
    for document in of_kind(case.documents, "Deployment", "StatefulSet"):
        selector = find(document, "spec/selector/matchLabels")
        if not _is_whole(selector) or not matches(selector, find(document, "spec/template/metadata/labels")):
            yield f"{name_of(document)}: selector {selector} does not match its pods"
    for document in of_kind(case.documents, *SELECTORS):
        selector = find(document, SELECTORS[document["kind"]])
        found = selected(case, selector or {})
        if not _is_whole(selector) or len(found) != 1:
            yield f"{name_of(document)}: selector {selector} matches {len(found)} workloads"


@rule
def serves_ports_that_exist(case: Case) -> Iterator[str]:
    """The target of a Service is a port of the pods that it selects."""
    for document in of_kind(case.documents, "Service"):
        found = {
            name for workload in selected(case, document["spec"]["selector"]) for name in port_names(workload)
        }
        for port in document["spec"]["ports"]:
            if port.get("targetPort") not in found:
                yield f"{name_of(document)}: target port {port.get('targetPort')}"
            if port.get("appProtocol", "http") != "http":
                yield f"{name_of(document)}: protocol {port['appProtocol']}"
        kind = document["spec"].get("type", "ClusterIP")
        if kind not in {"ClusterIP", "NodePort", "LoadBalancer"}:
            yield f"{name_of(document)}: type {kind}"


@rule
def lets_private_networks_in(case: Case) -> Iterator[str]:
    """A load balancer passes on what comes from private networks, and the policies let the same ones in."""
    allowed = {
        find(peer, "ipBlock/cidr")
        for document in of_kind(case.documents, "NetworkPolicy")
        for entry in document["spec"].get("ingress", [])
        for peer in entry.get("from", [])
        if "ipBlock" in peer
    }
    for document in of_kind(case.documents, "Service"):
        ranges = document["spec"].get("loadBalancerSourceRanges", [])
        if document["spec"].get("type") != "LoadBalancer":
            if ranges:
                yield f"{name_of(document)}: ranges without effect, since there is no load balancer"
            continue
        if not ranges:
            yield f"{name_of(document)}: open to everybody"
        if set(ranges) != allowed:
            yield f"{name_of(document)}: for {sorted(ranges)}, and the policies let {sorted(allowed)} in"
        for network in ranges:
            yield from _check_network(document, network)


@rule
def has_one_autoscaler(case: Case) -> Iterator[str]:
    """One autoscaler for each Deployment, which owns the number of replicas and keeps at least two."""
    scalers = list(of_kind(case.documents, "HorizontalPodAutoscaler", "ScaledObject"))
    for document in of_kind(case.documents, "Deployment"):
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": document["metadata"]["name"]}
        fitting = [name_of(scaler) for scaler in scalers if find(scaler, "spec/scaleTargetRef") == target]
        if len(fitting) != 1 or len(scalers) != 1:
            yield f"{name_of(document)}: autoscalers {fitting} of {len(scalers)}"
        if "replicas" in document["spec"]:
            yield f"{name_of(document)}: replicas, which each apply would reset"
    for scaler in scalers:
        suffix = "Replicas" if scaler["kind"] == "HorizontalPodAutoscaler" else "ReplicaCount"
        least, most = (scaler["spec"].get(f"{bound}{suffix}", 1) for bound in ("min", "max"))
        if not 2 <= least < most:
            yield f"{name_of(scaler)}: {least} to {most} replicas"
        # Otherwise KEDA refuses the name of the autoscaler that was there before.
        if scaler["kind"] == "ScaledObject" and find(scaler, f"metadata/annotations/{TAKES_OVER}") != "true":
            yield f"{name_of(scaler)}: does not take over from the autoscaler of the base"


@rule
def scales_before_requests_wait(case: Case) -> Iterator[str]:
    """Replicas are added while their cores have something left, and long before requests are refused."""
    for container in ours(case, "Deployment"):
        cores = millicores(find(container.spec, "resources/limits/cpu")) // 1000
        most = min(REQUESTS_PER_CORE * cores, serving_of(case, container).limits.requests)
        for document in of_kind(case.documents, "ScaledObject"):
            requests, cpu = (
                find(document, f"spec/triggers/{place}")
                for place in ("0/metadata/threshold", "1/metadata/value")
            )
            if not 1 <= int(requests) <= most:
                yield f"{name_of(document)}: {requests} requests in flight for {cores} cores"
            if not 1 <= int(cpu) <= MOST_CPU:
                yield f"{name_of(document)}: {cpu}% of the processors"
        for document in of_kind(case.documents, "HorizontalPodAutoscaler"):
            cpu = find(document, "spec/metrics/0/resource/target/averageUtilization")
            if not 1 <= cpu <= MOST_CPU:
                yield f"{name_of(document)}: {cpu}% of the processors"


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
        yield from misfits(document, document["spec"].get("behavior"), "/$defs/behavior")
        kinds = {
            (metric["type"], find(metric, "resource/name")) for metric in document["spec"].get("metrics", [])
        }
        if kinds != {("Resource", "cpu")}:
            yield f"{name_of(document)}: metrics {sorted(map(str, kinds))}"


@rule
def has_the_fields_of_custom_resources(case: Case) -> Iterator[str]:
    """The custom resources have the fields of their definitions, as far as the manifests use them."""
    for document in of_kind(case.documents, *(kind for kind in CUSTOM_RESOURCES if kind != "$defs")):
        yield from misfits(document, document["spec"], f"/{document['kind']}")


def misfits(document: Document, value: object, place: str) -> Iterator[str]:
    """Yield where a part of a custom resource is not as its definition says."""
    validator = Draft202012Validator({**CUSTOM_RESOURCES, "$ref": f"#{place}"})
    for error in validator.iter_errors(value):
        yield f"{name_of(document)}: {error.json_path}: {error.message}"


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
    lookups = [
        {(port.get("port"), port.get("protocol")) for port in entry.get("ports", [])}
        for policy in everything
        for entry in policy.get("egress", [])
        if entry.get("to") == NAME_SERVER
    ]
    if lookups != [{(DNS, "UDP"), (DNS, "TCP")}]:
        yield f"NetworkPolicy: pods look up names at {lookups}"


@rule
def has_network_policies_that_take_effect(case: Case) -> Iterator[str]:
    """A policy is of the directions that it has entries for, and selects a workload, or everything on purpose."""
    for document in of_kind(case.documents, "NetworkPolicy"):
        policy, selector = document["spec"], find(document, "spec/podSelector/matchLabels")
        for direction in ("ingress", "egress"):
            if direction in policy and direction.capitalize() not in policy["policyTypes"]:
                yield f"{name_of(document)}: {direction} without effect"
        if set(policy["policyTypes"]) - {"Ingress", "Egress"}:
            yield f"{name_of(document)}: policyTypes {policy['policyTypes']}"
        found = selected(case, selector or {})
        if not found or selector == {}:
            yield f"{name_of(document)}: selects no pod, or all"
        if selector and "ingress" in policy and len(found) != 1:
            yield f"{name_of(document)}: lets requests in to {len(found)} workloads"


@rule
def allows_ports_and_peers_that_exist(case: Case) -> Iterator[str]:
    """Peers in the namespace are rendered, those elsewhere are in the docs, and ports are those of the pods."""
    for document in of_kind(case.documents, "NetworkPolicy"):
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for entry in document["spec"].get(direction, []):
                for peer in entry.get(side, []):
                    yield from _check_peer(case, document, peer)
                ports = {port.get("port") for port in entry.get("ports", [])}
                reached = _reached(case, document, direction, entry.get(side, []))
                unknown = ports - {number for workload in reached for number in port_names(workload).values()}
                outside = {DNS, POSTGRESQL, HTTPS} if direction == "egress" and not reached else set()
                if not ports or unknown - outside:
                    yield f"{name_of(document)}: {direction} at ports {sorted(map(str, unknown - outside))}"


def _check_peer(case: Case, document: Document, peer: Document) -> Iterator[str]:
    labels = find(peer, "podSelector/matchLabels") or {}
    if "namespaceSelector" in peer:
        namespace = (find(peer, "namespaceSelector/matchLabels") or {}).get("kubernetes.io/metadata.name")
        if namespace not in case.words | {"kube-system"}:
            yield f"{name_of(document)}: the docs do not name the namespace {namespace}"
    elif "podSelector" in peer and not (labels and selected(case, labels)):
        yield f"{name_of(document)}: pods that do not exist: {labels}"
    elif "ipBlock" in peer:
        yield from _check_network(document, peer["ipBlock"]["cidr"])
    elif "podSelector" not in peer:
        yield f"{name_of(document)}: peer {peer}"


def _check_network(document: Document, network: str) -> Iterator[str]:
    try:
        is_private = ipaddress.ip_network(network).is_private
    except ValueError:
        is_private = False
    if not is_private:
        yield f"{name_of(document)}: {network} is no private network"


def _reached(case: Case, document: Document, direction: str, peers: list[Document]) -> list[Workload]:
    """Return the workloads whose ports an entry of a policy is about; nothing for peers outside of the namespace."""
    if direction == "ingress":
        return selected(case, find(document, "spec/podSelector/matchLabels") or {})
    labels = [find(peer, "podSelector/matchLabels") for peer in peers if "namespaceSelector" not in peer]
    return [workload for found in filter(None, labels) for workload in selected(case, found)]


@rule
def reaches_its_database(case: Case) -> Iterator[str]:
    """What writes or reads the prediction log may connect to its database."""
    for container in ours(case):
        policies = [
            document["spec"]
            for document in of_kind(case.documents, "NetworkPolicy")
            if (labels := find(document, "spec/podSelector/matchLabels"))
            and matches(labels, container.workload.labels)
        ]
        ports = [port for policy in policies for entry in policy.get("egress", []) for port in entry["ports"]]
        if {"port": POSTGRESQL, "protocol": "TCP"} not in ports:
            yield f"{container.name}: no way to the database"


@rule
def lets_metrics_be_read(case: Case) -> Iterator[str]:
    """A ServiceMonitor selects a Service of ours and one of its ports; with API keys, it has one."""
    keys = any(serving_of(case, container).keys_file for container in ours(case, "Deployment"))
    for document in of_kind(case.documents, "ServiceMonitor"):
        selector = find(document, "spec/selector/matchLabels")
        found = [
            service
            for service in of_kind(case.documents, "Service")
            if _is_whole(selector) and matches(selector, service["metadata"].get("labels", {}))
        ]
        if len(found) != 1:
            yield f"{name_of(document)}: selector {selector} matches {len(found)} services"
        names = {port["name"] for service in found for port in service["spec"]["ports"]}
        for endpoint in document["spec"]["endpoints"]:
            path, port = endpoint.get("path", "/metrics"), endpoint.get("port")
            if port not in names or path not in case.routes:
                yield f"{name_of(document)}: endpoint {path} at port {port}"
            secret = find(endpoint, "authorization/credentials") or {}
            if keys and secret.get("key") not in case.secrets.get(secret.get("name", ""), set()):
                yield f"{name_of(document)}: /metrics requires a key"


@rule
def routes_requests_to_the_service(case: Case) -> Iterator[str]:
    """A route is of a listener of the gateway, and leads to a port of a Service, with time for a slow request."""
    ports = {
        (document["metadata"]["name"], port["port"])
        for document in of_kind(case.documents, "Service")
        for port in document["spec"]["ports"]
    }
    limits = Serving().limits
    for document in of_kind(case.documents, "HTTPRoute"):
        for parent in document["spec"]["parentRefs"]:
            hosts = [
                listener["hostname"] for listener in _listeners(case, parent["name"], parent["sectionName"])
            ]
            if hosts != document["spec"]["hostnames"]:
                yield f"{name_of(document)}: no listener {parent['name']}/{parent['sectionName']} of its host"
        for entry in document["spec"]["rules"]:
            for backend in entry.get("backendRefs", []):
                if (backend["name"], backend.get("port")) not in ports:
                    yield f"{name_of(document)}: no Service {backend['name']}:{backend.get('port')}"
            timeout = find(entry, "timeouts/request") or "0s"
            if "backendRefs" in entry and int(timeout[:-1]) < limits.send_seconds + limits.deadline_seconds:
                yield f"{name_of(document)}: a request may take {timeout}, less than the service takes"


@rule
def terminates_tls(case: Case) -> Iterator[str]:
    """A gateway has a certificate; without TLS, it only redirects."""
    for document in of_kind(case.documents, "Gateway"):
        if document["spec"]["gatewayClassName"] not in case.words:
            yield f"{name_of(document)}: the docs do not name the class {document['spec']['gatewayClassName']}"
        for listener in document["spec"]["listeners"]:
            certificates = find(listener, "tls/certificateRefs") or []
            if (
                listener["protocol"] == "HTTPS"
                and not {each["name"] for each in certificates} & case.secrets.keys()
            ):
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


def _listeners(case: Case, gateway: str, section: str) -> list[Document]:
    return [
        listener
        for document in of_kind(case.documents, "Gateway")
        for listener in document["spec"]["listeners"]
        if document["metadata"]["name"] == gateway and listener["name"] == section
    ]


def _is_whole(selector: dict[str, str] | None) -> bool:
    """Return whether a selector asks for the name and the component: half of it would match more one day."""
    return (selector or {}).keys() == {NAME, COMPONENT}
