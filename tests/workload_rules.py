"""What pods must hold: probes, resources, rights, images, settings, and what they refer to."""

import re
from collections.abc import Iterator
from pathlib import Path

from database_rules import secret_files
from drift_looks import weekly_problems
from manifest_cases import COMPONENT, NAME, NONE, Case, ours, rule, serving_of
from manifests import (
    CPU,
    Document,
    containers,
    find,
    millicores,
    name_of,
    of_kind,
    port_names,
    variables,
    workloads,
)
from visiongate.errors import SettingsError
from visiongate.settings.serving_environment import PREFIX, PREFIXES, SHORT_NAMES, load_serving

DOCKERFILE = Path(__file__).parents[1] / "deploy/Dockerfile"
PROBES = {"startupProbe": "startup", "readinessProbe": "ready", "livenessProbe": "live"}
TIMES = ("periodSeconds", "timeoutSeconds", "failureThreshold")
START_SECONDS = 60
# With three replicas, they are not all on one host.
MAX_SKEW = 2
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
DIGEST = re.compile(r"[\w./:-]+@sha256:[0-9a-f]{64}")
BYTES = re.compile(r"(\d+)(Mi|Gi)")
FORMATS = {"cpu": CPU, "memory": BYTES, "ephemeral-storage": BYTES}
# How often each check of the prediction log looks.
WEEKLY = re.compile(r"[0-5]?\d (1?\d|2[0-3]) \* \* [0-6]")
DAILY = re.compile(r"[0-5]?\d (1?\d|2[0-3]) \* \* \*")
SCHEDULES = {"drift": WEEKLY, "retrain-check": WEEKLY, "rollout": DAILY}
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
# Of the service's shutdown, beside its settings: late connections, and what the prediction log still writes.
CLOSING_SECONDS = 5
# The schemas take any text for these.
WORDS = {
    "action": {"FailJob", "Ignore", "keep"},
    "concurrencyPolicy": {"Forbid"},
    "externalTrafficPolicy": {"Local"},
    "fsGroupChangePolicy": {"OnRootMismatch"},
    "nodeTaintsPolicy": {"Honor"},
    "operator": {"Exists", "In", "NotIn"},
    "protocol": {"TCP", "UDP", "HTTP", "HTTPS"},
    "restartPolicy": {"Never"},
    "selectPolicy": {"Max"},
    "unhealthyPodEvictionPolicy": {"AlwaysAllow"},
    "whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
}


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
def uses_words_that_exist(case: Case) -> Iterator[str]:
    """Fields with a fixed choice have one of it."""
    for document in case.documents:
        for field, value in _fields(document):
            if field in WORDS and isinstance(value, str) and value not in WORDS[field]:
                yield f"{name_of(document)}: {field} is {value}"


@rule
def runs_images_that_are_known(case: Case) -> Iterator[str]:
    """The service runs; a tag may move, so that only the local cluster, which pulls nothing, uses one."""
    if case.namespace == "visiongate" and not list(ours(case, "Deployment")):
        yield "Deployment: no container runs the image of the service"
    for container in containers(case.documents):
        image = container.spec["image"]
        if case.digests and not DIGEST.fullmatch(image):
            yield f"{container.name}: image {image} has no digest"
        if not re.search(r"(^|/)(visiongate|visiongate/serve|visiongate/train|library/postgres)[:@]", image):
            yield f"{container.name}: image {image} is not known"
        if container.spec.get("imagePullPolicy") != "IfNotPresent":
            yield f"{container.name}: imagePullPolicy is not IfNotPresent"


@rule
def has_probes(case: Case) -> Iterator[str]:
    """Whatever runs all the time has three probes, and a minute to start."""
    for container in containers(case.documents, "Deployment", "StatefulSet"):
        for probe in PROBES:
            if probe not in container.spec:
                yield f"{container.name}: no {probe}"
        startup = container.spec.get("startupProbe", {})
        if startup.get("periodSeconds", 0) * startup.get("failureThreshold", 0) < START_SECONDS:
            yield f"{container.name}: less than {START_SECONDS} s to start"


@rule
def probes_ask_for_routes_of_the_service(case: Case) -> Iterator[str]:
    """Each probe asks its own question, at a port that the container has, and says how often."""
    for container in ours(case, "Deployment"):
        for probe, question in PROBES.items():
            path, port = (find(container.spec, f"{probe}/httpGet/{field}") for field in ("path", "port"))
            if path != f"/health/{question}" or path not in case.routes:
                yield f"{container.name}: {probe} asks for {path}"
            if port not in port_names(container.workload):
                yield f"{container.name}: {probe} asks at port {port}"
            missing = set(TIMES) - container.spec.get(probe, {}).keys()
            if missing:
                yield f"{container.name}: {probe} has no {sorted(missing)}"


@rule
def has_the_port_of_the_settings(case: Case) -> Iterator[str]:
    """The port of the container is the one that the service listens on."""
    for container in ours(case, "Deployment"):
        listens = serving_of(case, container).port
        if port_names(container.workload).get("http") != listens:
            yield f"{container.name}: ports {port_names(container.workload)}, and the service listens on {listens}"


@rule
def has_requests_and_limits(case: Case) -> Iterator[str]:
    """Processor, memory and storage are requested and limited; memory, which is not given back, by the same amount."""
    for container in containers(case.documents):
        for resource, form in FORMATS.items():
            for kind in ("requests", "limits"):
                amount = find(container.spec, f"resources/{kind}/{resource}")
                if amount is None:
                    yield f"{container.name}: no {kind} of {resource}"
                elif not form.fullmatch(str(amount)):
                    yield f"{container.name}: {kind} of {resource} are {amount}"
        requested, limited = (
            find(container.spec, f"resources/{kind}") or {} for kind in ("requests", "limits")
        )
        if requested.get("memory") != limited.get("memory"):
            yield f"{container.name}: memory {requested.get('memory')} requested, {limited.get('memory')} at most"
        if millicores(requested.get("cpu")) > millicores(limited.get("cpu")):
            yield f"{container.name}: {requested.get('cpu')} cores requested, {limited.get('cpu')} at most"


@rule
def limits_whole_cores(case: Case) -> Iterator[str]:
    """The service rounds its quota up, so that a part of a core would be a thread that is throttled."""
    for container in ours(case):
        limit = find(container.spec, "resources/limits/cpu")
        if not str(limit).isdecimal():
            yield f"{container.name}: {limit} cores"


@rule
def has_no_privileges(case: Case) -> Iterator[str]:
    """Pods fulfill the restricted level, and more: a read-only root, no token, no part of the host."""
    for workload in workloads(case.documents):
        security = workload.spec.get("securityContext", {})
        if find(security, "seccompProfile/type") != "RuntimeDefault":
            yield f"{workload.name}: no seccompProfile"
        if any(workload.spec.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{workload.name}: shares the host"
    for container in containers(case.documents):
        for field, expected in RESTRICTED.items():
            if find(container.spec, f"securityContext/{field}") != expected:
                yield f"{container.name}: securityContext.{field} is not {expected}"


@rule
def gets_no_token_and_no_variables_of_services(case: Case) -> Iterator[str]:
    """Nothing calls the API of the cluster, and the variables of a Service named like ours look like settings."""
    for document in of_kind(case.documents, "ServiceAccount"):
        if document.get("automountServiceAccountToken") is not False:
            yield f"{name_of(document)}: automountServiceAccountToken is not false"
    for workload in workloads(case.documents):
        for field in ("automountServiceAccountToken", "enableServiceLinks"):
            if workload.spec.get(field) is not False:
                yield f"{workload.name}: {field} is not false"


@rule
def runs_as_the_user_of_its_image(case: Case) -> Iterator[str]:
    """A pod has a user with a number, and its volumes the group of that user."""
    images = {workload.name: "database" for workload in workloads(case.documents, "StatefulSet")}
    for workload in workloads(case.documents):
        security = workload.spec.get("securityContext", {})
        numbers = {security.get(field) for field in ("runAsUser", "runAsGroup", "fsGroup")}
        if not security.get("runAsNonRoot") or numbers & {None, 0} or len(numbers) != 1:
            yield f"{workload.name}: may run as root, or its user and groups differ"
        if workload.name not in images and security.get("runAsUser") != case.user:
            yield f"{workload.name}: runs as {security.get('runAsUser')}, and the image as {case.user}"


@rule
def has_bounded_volumes(case: Case) -> Iterator[str]:
    """What is writable is bounded, declared and mounted; nothing of the host is mounted."""
    for workload in workloads(case.documents):
        volumes = {volume["name"]: volume for volume in workload.spec.get("volumes", [])}
        for name, volume in volumes.items():
            size = find(volume, "emptyDir/sizeLimit")
            if "hostPath" in volume or ("emptyDir" in volume and not BYTES.fullmatch(size or "")):
                yield f"{workload.name}: volume {name} is unbounded, or of the host"
        sizes = sum(
            _mebibytes(find(volume, "emptyDir/sizeLimit")) for volume in volumes.values() if _is_disk(volume)
        )
        limit = find(workload.spec, "containers/0/resources/limits/ephemeral-storage")
        if sizes > _mebibytes(limit):
            yield f"{workload.name}: volumes of {sizes} MiB, and {limit} of storage"
        claims = {"data"} if workload.kind == "StatefulSet" else set()
        mounts = [mount for spec in workload.spec["containers"] for mount in spec.get("volumeMounts", [])]
        mounted = {mount["name"] for mount in mounts}
        if mounted != volumes.keys() | claims:
            yield f"{workload.name}: volumes {sorted(volumes)}, mounted {sorted(mounted)}"
        for mount in mounts:
            if mount["mountPath"] == "/dev/shm" and _is_disk(volumes[mount["name"]]):  # noqa: S108 - of the container
                yield f"{workload.name}: shared memory is on a disk"
            fixed = {"secret", "configMap"} & volumes.get(mount["name"], {}).keys()
            if fixed and mount.get("readOnly") is not True:
                yield f"{workload.name}: volume {mount['name']} is not mounted read-only"


@rule
def can_write_where_the_service_writes(case: Case) -> Iterator[str]:
    """The root is read-only, but for these folders of the image's contract."""
    for container in ours(case):
        mounted = {mount["mountPath"] for mount in container.spec.get("volumeMounts", [])}
        for folder in sorted({"/tmp", "/var/lib/visiongate"} - mounted):  # noqa: S108 - of the container
            yield f"{container.name}: {folder} is read-only"


@rule
def can_write_where_dvc_writes(case: Case) -> Iterator[str]:
    """The image of the pipeline has DVC keep its databases in a folder that each pod mounts: the root is read-only."""
    [folder] = re.findall(r"site_cache_dir = (/\w+)/", DOCKERFILE.read_text(encoding="utf-8"))
    for container in containers(case.documents):
        mounted = {mount["mountPath"] for mount in container.spec.get("volumeMounts", [])}
        if "visiongate/train" in container.spec["image"] and folder not in mounted:
            yield f"{container.name}: {folder} is read-only, and DVC writes there"


@rule
def spreads_its_replicas(case: Case) -> Iterator[str]:
    """Replicas of one version are spread over hosts and zones, by the labels that they have."""
    for workload in workloads(case.documents, "Deployment"):
        constraints = workload.spec.get("topologySpreadConstraints", [])
        labels = {key: workload.labels[key] for key in (NAME, COMPONENT) if key in workload.labels}
        if {constraint["topologyKey"] for constraint in constraints} != {HOST, ZONE}:
            yield f"{workload.name}: not spread over hosts and zones"
        for constraint in constraints:
            place = f"topology spread of {constraint['topologyKey']}"
            if find(constraint, "labelSelector/matchLabels") != labels:
                yield f"{workload.name}: {place} does not match its pods"
            if constraint.get("matchLabelKeys") != ["pod-template-hash"]:
                yield f"{workload.name}: {place} counts other versions"
            if constraint["maxSkew"] > MAX_SKEW:
                yield f"{workload.name}: {place} allows a skew of {constraint['maxSkew']}"
            strict = constraint["whenUnsatisfiable"] == "DoNotSchedule"
            if strict != ("nodeTaintsPolicy" in constraint):
                yield f"{workload.name}: {place} counts hosts that take no pods"


@rule
def survives_updates_and_drains(case: Case) -> Iterator[str]:
    """An update takes no replica away before another is ready; draining nodes takes one at a time."""
    for document in of_kind(case.documents, "Deployment"):
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        if find(document, "spec/strategy") != strategy:
            yield f"{name_of(document)}: an update makes replicas unavailable"
        budgets = [
            find(budget, "spec/maxUnavailable") for budget in of_kind(case.documents, "PodDisruptionBudget")
        ]
        if budgets != [1]:
            yield f"{name_of(document)}: disruption budgets {budgets}"


@rule
def has_time_to_stop(case: Case) -> Iterator[str]:
    """The grace period covers the handler, draining, a request that arrives slowly, and its answer."""
    for container in ours(case, "Deployment"):
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
    for container in ours(case):
        try:
            load_serving(NONE, variables(case.documents, container.spec))
        except SettingsError as error:
            yield f"{container.name}: {error}"
        for name in variables(case.documents, container.spec):
            if name not in SHORT_NAMES and not name.startswith(PREFIXES):
                yield f"{container.name}: {name} is no setting"
        if f"{PREFIX}SERVING__LOG__ADDRESS" not in variables(case.documents, container.spec):
            yield f"{container.name}: replicas share no prediction log"


@rule
def reads_the_keys_that_are_mounted(case: Case) -> Iterator[str]:
    """The file of the API keys is the one in the volume of their Secret."""
    for container in ours(case, "Deployment"):
        files = secret_files(container)
        file = serving_of(case, container).keys_file
        if files != ({file} if file else set()):
            yield f"{container.name}: keys are read from {file}, and mounted at {sorted(files)}"


@rule
def keeps_images_in_a_claim(case: Case) -> Iterator[str]:
    """The images that the service keeps outlive its pod, are shared by all replicas, and fit."""
    claims = {
        name_of(document): document["spec"] for document in of_kind(case.documents, "PersistentVolumeClaim")
    }
    for container in ours(case, "Deployment"):
        images = serving_of(case, container).log.images
        if images.keep == "none" or "://" in images.folder:
            continue
        names = {
            mount["name"]
            for mount in container.spec["volumeMounts"]
            if Path(images.folder).is_relative_to(mount["mountPath"]) and mount["name"] != "state"
        }
        kept = [
            claims.get(f"PersistentVolumeClaim/{find(volume, 'persistentVolumeClaim/claimName')}", {})
            for volume in container.workload.spec["volumes"]
            if volume["name"] in names
        ]
        if [claim.get("accessModes") for claim in kept] != [["ReadWriteMany"]]:
            yield f"{container.name}: the images in {images.folder} are lost with a pod, or not those of all replicas"
        for claim in kept:
            size = _mebibytes(find(claim, "resources/requests/storage")) * 1024**2
            if images.max_bytes > size:
                yield f"{container.name}: images of {images.max_bytes} bytes in a claim of {size}"


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
        for name, _ in _references(workload.spec, optional=True):
            if name.partition("/")[2] not in case.words:
                yield f"{workload.name}: the docs do not name {name}, and its absence is not noticed"


@rule
def has_jobs_that_end(case: Case) -> Iterator[str]:
    """A Job ends and is cleaned up, and its policy for failures is that of its container."""
    for document in of_kind(case.documents, "CronJob", "Job"):
        job: Document = find(document, "spec/jobTemplate/spec") or document["spec"]
        for field in ("activeDeadlineSeconds", "ttlSecondsAfterFinished", "backoffLimit", "podFailurePolicy"):
            if field not in job:
                yield f"{name_of(document)}: no {field}"
        if find(job, "template/spec/restartPolicy") != "Never":
            yield f"{name_of(document)}: restartPolicy is not Never"
        [name] = [container["name"] for container in find(job, "template/spec/containers")]
        # A lost node is a reason for another attempt. Status 1 is an answer.
        exits = {"CronJob": ("In", [1]), "Job": ("NotIn", [0])}[document["kind"]]
        status = dict(zip(("containerName", "operator", "values"), (name, *exits), strict=True))
        expected = [
            {"action": "FailJob", "onExitCodes": status},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        ]
        rules = find(job, "podFailurePolicy/rules") or []
        if sorted(rules, key=str) != sorted(expected, key=str):
            yield f"{name_of(document)}: podFailurePolicy {rules}"


@rule
def calls_commands_that_exist(case: Case) -> Iterator[str]:
    """The arguments of a container are a command of ours with its options; the image names the program."""
    for container in ours(case, "CronJob", "Job"):
        command, *arguments = container.spec["args"]
        options = {argument for argument in arguments if argument.startswith("--")}
        if options - case.commands.get(command, set()) or command not in case.commands:
            yield f"{container.name}: visiongate {command} {sorted(options)} does not exist"


@rule
def runs_on_schedule_and_alone(case: Case) -> Iterator[str]:
    """A CronJob waits for its last run, misses no more than a while, and keeps some history."""
    for document in of_kind(case.documents, "CronJob"):
        schedule, zone = document["spec"]["schedule"], document["spec"].get("timeZone")
        [command] = [container.spec["args"][0] for container in containers([document])]
        if not SCHEDULES.get(command, WEEKLY).fullmatch(schedule) or zone != "Etc/UTC":
            yield f"{name_of(document)}: schedule {schedule}, time zone {zone}"
        if document["spec"].get("concurrencyPolicy") != "Forbid":
            yield f"{name_of(document)}: concurrencyPolicy is not Forbid"
        for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
            if field not in document["spec"]:
                yield f"{name_of(document)}: no {field}"


@rule
def makes_each_check(case: Case) -> Iterator[str]:
    """With the service run the checks of its log. They look at the time since the last look, and change no registry."""
    jobs = {container.spec["args"][0]: container for container in ours(case, "CronJob")}
    if case.namespace == "visiongate" and (missing := sorted(SCHEDULES.keys() - jobs)):
        yield f"CronJob: nothing runs {missing}"
    if "drift" in jobs:
        for problem in weekly_problems(jobs["drift"].spec["args"]):
            yield f"{jobs['drift'].name}: {problem}"
    if "rollout" in jobs and "--apply" in jobs["rollout"].spec["args"]:
        yield f"{jobs['rollout'].name}: moves aliases that a person has not looked at"


# What also holds for pods that an operator makes, in which the service does not run.
OF_ANY_PODS = (
    is_in_its_namespace,
    uses_words_that_exist,
    runs_images_that_are_known,
    has_requests_and_limits,
    has_no_privileges,
    gets_no_token_and_no_variables_of_services,
    runs_as_the_user_of_its_image,
    has_bounded_volumes,
    can_write_where_dvc_writes,
    refers_to_what_exists,
)


def _mebibytes(amount: object) -> int:
    found = BYTES.fullmatch(str(amount))
    return int(found[1]) * (1024 if found[2] == "Gi" else 1) if found else 0


def _is_disk(volume: Document) -> bool:
    return find(volume, "emptyDir/medium") != "Memory"


def _fields(node: object) -> Iterator[tuple[str, object]]:
    """Yield each field below a node, with its value."""
    if isinstance(node, list):
        for entry in node:
            yield from _fields(entry)
    elif isinstance(node, dict):
        for field, value in node.items():
            yield field, value
            yield from _fields(value)


def _references(node: object, *, optional: bool = False) -> Iterator[tuple[str, set[str]]]:
    """Yield the kind and name of each ConfigMap, Secret and claim below a node, with the keys that are read."""
    for field, value in _fields(node):
        if field in REFERENCES and isinstance(value, dict) and value.get("optional", False) == optional:
            kind, name = REFERENCES[field]
            keys = {value["key"]} if "key" in value else {item["key"] for item in value.get("items", [])}
            yield f"{kind}/{value.get(name)}", keys
