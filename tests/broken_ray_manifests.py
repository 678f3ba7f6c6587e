"""One broken field at a time in the manifests of the Ray cluster, and what the rules say about it."""

from manifests import REMOVED

HEAD = "spec/headGroupSpec"
HEAD_POD = f"{HEAD}/template/spec"
WORKERS = "spec/workerGroupSpecs/0"
WORKER_POD = f"{WORKERS}/template/spec"
GPU = "spec/workerGroupSpecs/1"
SUBMITTER = "spec/submitterPodTemplate/spec"
CLUSTER, JOB = "RayCluster/visiongate", "RayJob/visiongate"
RAY_SETTINGS = "ConfigMap/visiongate-ray"
# By object: the path of a field, its value, and a part of the finding. The manifests have the pool of GPUs.
BROKEN_RAY: dict[str, list[tuple[str, object, str]]] = {
    CLUSTER: [
        ("spec/rayVersion", "2.52.0", "rayVersion is 2.52.0"),
        ("spec/authOptions", REMOVED, "'authOptions' is a required property"),
        ("spec/authOptions/mode", "disabled", "'token'"),
        ("spec/enableInTreeAutoscaling", True, "'enableInTreeAutoscaling' was unexpected"),
        (f"{HEAD}/serviceType", "LoadBalancer", "'ClusterIP' was expected"),
        (f"{HEAD}/enableIngress", True, "False was expected"),
        (f"{HEAD}/rayStartParams/num-cpus", REMOVED, "head: num-cpus is None"),
        (f"{HEAD}/rayStartParams/num-cpu", "0", "'num-cpu' was unexpected"),
        (f"{WORKERS}/rayStartParams/num-cpus", "0", "cpu: num-cpus is 0"),
        (f"{WORKERS}/rayStartParams/object-store-memory", 1073741824, "is not of type 'string'"),
        (f"{WORKERS}/rayStartParams/object-store-memory", "2147483648", "a store of 2147483648 bytes"),
        (f"{WORKERS}/maxReplicas", REMOVED, "'maxReplicas' is a required property"),
        (f"{WORKERS}/replicas", 9, "cpu: 9 replicas"),
        (f"{WORKER_POD}/volumes/2/emptyDir/medium", REMOVED, "shared memory is on a disk"),
        (f"{WORKER_POD}/volumes/2/emptyDir/sizeLimit", REMOVED, "volume shared-memory is unbounded"),
        (f"{WORKER_POD}/volumes/2/emptyDir/sizeLimit", "6Gi", "more than half of the memory"),
        (f"{WORKER_POD}/containers/0/volumeMounts/2", REMOVED, "a store of 1073741824 bytes"),
        (f"{WORKER_POD}/containers/0/volumeMounts/0/mountPath", "/workspace", "mounts the claims"),
        (
            f"{WORKER_POD}/volumes/0",
            {"name": "workspace", "emptyDir": {"sizeLimit": "1Gi"}},
            "mounts the claims",
        ),
        (f"{WORKER_POD}/containers/0/image", "ghcr.io/example/visiongate/train:latest", "has no digest"),
        (f"{WORKER_POD}/containers/0/resources/requests/memory", "4Gi", "memory 4Gi requested"),
        (
            f"{WORKER_POD}/containers/0/securityContext/readOnlyRootFilesystem",
            False,
            "readOnlyRootFilesystem",
        ),
        (f"{WORKER_POD}/containers/0/securityContext/capabilities", REMOVED, "capabilities is not"),
        (f"{WORKER_POD}/securityContext/runAsUser", 1000, "runs as 1000"),
        (f"{WORKER_POD}/automountServiceAccountToken", REMOVED, "automountServiceAccountToken is not false"),
        (f"{WORKER_POD}/serviceAccountName", "default", "no ServiceAccount/default"),
        (f"{WORKER_POD}/volumes/0/persistentVolumeClaim/claimName", "work", "no PersistentVolumeClaim/work"),
        (f"{WORKER_POD}/contaners", [], "contaners"),
        (f"{WORKER_POD}/containers/0/volumeMounts/1/mountPath", "/temp", "and DVC writes there"),
        (
            f"{HEAD_POD}/containers/0/envFrom/0/secretRef/name",
            "ray-secret",
            "the docs do not name Secret/ray-secret",
        ),
        (
            f"{HEAD_POD}/containers/0/volumeMounts/0/mountPath",
            "/etc/ray",
            "RayJob: runs sh /etc/visiongate/run.sh",
        ),
        (f"{GPU}/template/spec/tolerations", REMOVED, "gpu: tolerates []"),
        (f"{GPU}/template/spec/containers/0/resources/limits/nvidia.com~1gpu", REMOVED, "no worker has what"),
    ],
    JOB: [
        ("spec/clusterSelector/ray.io~1cluster", "ray", "the cluster is visiongate"),
        ("spec/entrypoint", "sh run.sh", "RayJob: runs sh run.sh"),
        (
            "spec/runtimeEnvYAML",
            "env_vars: {COMMIT: main, HOME: /work/home, PYTHONPATH: /work/src}",
            "RayJob: variables",
        ),
        ("spec/submissionMode", "HTTPMode", "'K8sJobMode' was expected"),
        ("spec/submitterConfig/backoffLimit", 2, "backoffLimit"),
        ("spec/activeDeadlineSeconds", REMOVED, "'activeDeadlineSeconds' is a required property"),
        ("spec/backoffLimit", 1, "'backoffLimit' was unexpected"),
        (f"{SUBMITTER}/securityContext/runAsNonRoot", REMOVED, "may run as root"),
        (
            f"{SUBMITTER}/containers/0/image",
            "ghcr.io/example/visiongate/train@sha256:" + "1" * 64,
            "RayJob: images",
        ),
        (f"{SUBMITTER}/restartPolicy", "Always", "restartPolicy is Always"),
        ("spec/submitterPodTemplate/metadata/labels/app.kubernetes.io~1component", "job", "reached by"),
    ],
    "PersistentVolumeClaim/visiongate-ray": [
        ("spec/accessModes", ["ReadWriteOnce"], "mounts the claims"),
        ("spec/accessMode", "ReadWriteMany", "accessMode"),
    ],
    RAY_SETTINGS: [
        ("data/settings.yaml", "engine: {kind: local}", "engine.kind is local"),
        ("data/settings.yaml", "engine: {kind: ray}", "the training asks for no GPU"),
        ("data/settings.yaml", "engine: {kind: dask}", "engine.kind"),
        (
            "data/settings.yaml",
            "engine: {kind: ray, resources: {training: {cpus: 16, gpus: 1}}}",
            "no worker has what a process of the training asks for",
        ),
        ("data/run.sh", "python -m visiongate repro --minimal", "does not read settings.yaml"),
    ],
    "ServiceAccount/visiongate-ray": [
        ("automountServiceAccountToken", REMOVED, "automountServiceAccountToken is not false"),
    ],
    "Namespace/visiongate-ray": [
        ("metadata/labels/pod-security.kubernetes.io~1enforce", "baseline", "enforce is baseline"),
    ],
    "NetworkPolicy/default-deny": [
        ("spec/policyTypes", ["Egress"], "isolated for ['Egress'] only"),
        ("spec/ingress", [{}], "allows everything"),
    ],
    "NetworkPolicy/nodes": [
        ("spec/ingress/0/from/0/podSelector/matchLabels", {"ray.io/cluster": "other"}, "head: reached by"),
        ("spec/ingress/0/from/0/podSelector", {}, "head: reached by"),
        ("spec/podSelector/matchLabels", {"ray.io/cluster": "other"}, "reached by"),
        ("spec/egress/0/to", [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "cpu: reaches"),
    ],
    "NetworkPolicy/head": [
        ("spec/ingress/0/from/1/namespaceSelector", {}, "head: reached by"),
        ("spec/ingress/0/ports/0/port", 6379, "head: reached by"),
        ("spec/ingress/0/ports", REMOVED, "head: reached by"),
        ("spec/podSelector/matchLabels/ray.io~1node-type", REMOVED, "cpu: reached by"),
        ("spec/egress/0/ports/0/port", 80, "head: reaches"),
    ],
    "NetworkPolicy/job": [
        (
            "spec/egress/0/to/0/podSelector/matchLabels/ray.io~1node-type",
            REMOVED,
            "RayJob/visiongate: reaches",
        ),
        ("spec/egress/0/ports/0/port", 10001, "RayJob/visiongate: reaches"),
    ],
}
