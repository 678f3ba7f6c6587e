"""One broken field at a time in the manifests and in the pods of Airflow's tasks, and what the rules say about it."""

from manifests import REMOVED

POD = "Pod/visiongate-train-model"
CONTAINER = "spec/containers/0"
NAME = "visiongate-airflow"
# By object: the path of a field, its value, and a part of the finding.
BROKEN_AIRFLOW: dict[str, list[tuple[str, object, str]]] = {
    POD: [
        ("metadata/namespace", "default", "namespace default"),
        (f"{CONTAINER}/image", "ghcr.io/example/visiongate/train:latest", "has no digest"),
        (f"{CONTAINER}/imagePullPolicy", "Always", "imagePullPolicy is not IfNotPresent"),
        (f"{CONTAINER}/resources/limits/memory", REMOVED, "no limits of memory"),
        (f"{CONTAINER}/resources/requests/memory", "1Gi", "memory 1Gi requested"),
        (f"{CONTAINER}/resources/requests/cpu", "32", "32 cores requested, 8 at most"),
        (f"{CONTAINER}/securityContext/readOnlyRootFilesystem", REMOVED, "readOnlyRootFilesystem"),
        (f"{CONTAINER}/securityContext/allowPrivilegeEscalation", True, "allowPrivilegeEscalation"),
        ("spec/securityContext/seccompProfile", REMOVED, "no seccompProfile"),
        ("spec/securityContext/runAsUser", 0, "may run as root"),
        ("spec/hostNetwork", True, "shares the host"),
        ("spec/automountServiceAccountToken", True, "automountServiceAccountToken is not false"),
        ("spec/serviceAccountName", "default", "no ServiceAccount/default"),
        ("spec/restartPolicy", "OnFailure", "restartPolicy is OnFailure"),
        ("spec/activeDeadlineSeconds", REMOVED, "may run for ever"),
        ("spec/terminationGracePeriodSeconds", 10, "10 s to stop"),
        ("spec/volumes/1/persistentVolumeClaim/claimName", "work", "no PersistentVolumeClaim/work"),
        ("spec/volumes/0/configMap/name", "scripts", "no ConfigMap/scripts"),
        ("spec/volumes/2/emptyDir/sizeLimit", REMOVED, "volume tmp is unbounded"),
        ("spec/volumes/3/emptyDir/medium", REMOVED, "shared memory is on a disk"),
        (f"{CONTAINER}/env/0/valueFrom/configMapKeyRef/key", "URL", "has no ['URL']"),
        (
            f"{CONTAINER}/envFrom/0/secretRef/name",
            "mlflow-secret",
            "the docs do not name Secret/mlflow-secret",
        ),
        (f"{CONTAINER}/command/1", "task.sh", "runs sh task.sh"),
        (f"{CONTAINER}/workingDir", "/tmp", "works in /tmp"),  # noqa: S108 - of the container
        (f"{CONTAINER}/livenessprobe", {}, "livenessprobe"),
        (f"{CONTAINER}/volumeMounts/2/mountPath", "/temp", "and DVC writes there"),
    ],
    f"Role/{NAME}": [
        ("rules/0/verbs", ["*"], "may ['*'] pods"),
        ("rules/0/resources", ["pods", "pods/exec"], "pods/exec"),
        ("rules/1", {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}, "secrets"),
        ("rules/2/verbs", ["list"], "may ['list'] events"),
        ("rules/0/verb", ["get"], "verb"),
    ],
    f"RoleBinding/{NAME}": [
        ("roleRef/kind", "ClusterRole", "is bound to"),
        ("roleRef/name", "admin", "is bound to"),
        ("subjects/0/namespace", "default", "the docs do not name the account airflow-worker of default"),
        ("subjects/0", {"kind": "Group", "name": "system:authenticated"}, "is bound for"),
    ],
    f"ResourceQuota/{NAME}": [
        ("spec/hard/requests.cpu", "2", "a quota of 2 cores"),
        ("spec/hard/requests.memory", "4Gi", "a quota of 4Gi"),
        ("spec/hard/pods", REMOVED, "no quota of pods"),
    ],
    f"ServiceAccount/{NAME}": [
        ("automountServiceAccountToken", REMOVED, "automountServiceAccountToken is not false"),
    ],
    f"ConfigMap/{NAME}": [
        ("data/COMMIT", REMOVED, "has no ['COMMIT']"),
        ("data/task.sh", "python -m visiongate_dags.tasks", "does not run pod_task"),
    ],
    f"Namespace/{NAME}": [
        ("metadata/labels/pod-security.kubernetes.io~1enforce", "privileged", "enforce is privileged"),
    ],
    "NetworkPolicy/tasks": [
        ("spec/policyTypes", ["Egress"], "isolated for ['Egress'] only"),
        ("spec/egress/1/ports/0/port", 22, "egress at ports ['22']"),
    ],
}
