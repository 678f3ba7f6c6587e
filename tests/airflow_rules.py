"""What the namespace of Airflow's tasks and their pods must hold."""

import re
from collections.abc import Iterator
from typing import Any

from manifest_cases import Case, Rule
from manifests import find, millicores, name_of, of_kind, workloads

# What the operator calls to start, follow and delete a pod; nothing that runs a program in one, or reads a secret.
RIGHTS: dict[str, list[str]] = {
    "pods": ["create", "delete", "get", "list", "patch", "watch"],
    "pods/log": ["get"],
    "events": ["list", "watch"],
}
SCRIPT = "task.sh"
# For DVC and the stage to remove their locks: dags/visiongate_dags/guard.py.
STOP_SECONDS = 15
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """List a rule."""
    RULES[function.__name__] = function
    return function


@rule
def grants_what_the_operator_calls(case: Case) -> Iterator[str]:
    """Airflow may do what its operator does in this namespace, and no other account may do anything."""
    for role in of_kind(case.documents, "Role", "ClusterRole"):
        granted: dict[str, list[str]] = {}
        for entry in role["rules"]:
            for resource in entry["resources"]:
                granted.setdefault(resource, []).extend(entry["verbs"])
        for resource in sorted(granted.keys() | RIGHTS):
            if sorted(granted.get(resource, [])) != RIGHTS.get(resource):
                yield f"{name_of(role)}: may {granted.get(resource)} {resource}"
    for binding in of_kind(case.documents, "RoleBinding", "ClusterRoleBinding"):
        reference = binding["roleRef"]
        if f"{reference['kind']}/{reference['name']}" not in map(name_of, of_kind(case.documents, "Role")):
            yield f"{name_of(binding)}: is bound to {reference['kind']}/{reference['name']}"
        for subject in binding["subjects"]:
            yield from _check_subject(case, name_of(binding), subject)


def _check_subject(case: Case, binding: str, subject: dict[str, Any]) -> Iterator[str]:
    if subject["kind"] != "ServiceAccount":
        yield f"{binding}: is bound for {subject['kind']} {subject['name']}"
    elif {subject["name"], subject["namespace"]} - case.words:
        yield f"{binding}: the docs do not name the account {subject['name']} of {subject['namespace']}"


@rule
def fits_into_its_quota(case: Case) -> Iterator[str]:
    """The pods are few, and each fits."""
    for quota in of_kind(case.documents, "ResourceQuota"):
        hard = quota["spec"]["hard"]
        if "pods" not in hard:
            yield f"{name_of(quota)}: no quota of pods"
        for pod in workloads(case.documents, "Pod"):
            requests = find(pod.spec, "containers/0/resources/requests") or {}
            if millicores(requests.get("cpu")) > millicores(hard["requests.cpu"]):
                yield f"{pod.name}: a quota of {hard['requests.cpu']} cores"
            if _gibibytes(requests.get("memory")) > _gibibytes(hard["requests.memory"]):
                yield f"{pod.name}: a quota of {hard['requests.memory']}"


@rule
def runs_the_script_and_ends(case: Case) -> Iterator[str]:
    """A pod runs the script of the ConfigMap in the workspace, for a time, and has some to stop."""
    for pod in workloads(case.documents, "Pod"):
        [container] = pod.spec["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        if container["command"] != ["sh", f"{mounts.get('script')}/{SCRIPT}"]:
            yield f"{pod.name}: runs {' '.join(container['command'])}"
        if container.get("workingDir") != mounts.get("workspace"):
            yield f"{pod.name}: works in {container.get('workingDir')}"
        if "activeDeadlineSeconds" not in pod.spec:
            yield f"{pod.name}: may run for ever"
        if pod.spec.get("terminationGracePeriodSeconds", 30) < STOP_SECONDS:
            yield f"{pod.name}: {pod.spec['terminationGracePeriodSeconds']} s to stop"
    for config in of_kind(case.documents, "ConfigMap"):
        if not re.search(r'python -m visiongate_dags\.pod_task "\$1"$', config["data"][SCRIPT].strip()):
            yield f"{name_of(config)}: does not run pod_task"


def _gibibytes(amount: object) -> int:
    found = re.fullmatch(r"(\d+)Gi", str(amount))
    return int(found[1]) if found else 0
