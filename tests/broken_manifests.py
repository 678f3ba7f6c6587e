"""One broken field at a time in the rendered manifests, and what the rules say about it."""

from manifests import REMOVED

POD = "spec/template/spec"
CONTAINER = f"{POD}/containers/0"
DRIFT = "spec/jobTemplate/spec"
DRIFT_CONTAINER = f"{DRIFT}/template/spec/containers/0"
# The ConfigMap, whose name ends with a hash.
SETTINGS = "ConfigMap/visiongate-settings"
NAME, COMPONENT = "app.kubernetes.io~1name", "app.kubernetes.io~1component"
# By overlay and object: the path of a field, its value, and a part of the finding.
BROKEN: dict[tuple[str, str], list[tuple[str, object, str]]] = {
    ("kind", "Deployment/visiongate"): [
        (f"{CONTAINER}/livenessProbe", REMOVED, "no livenessProbe"),
        (f"{CONTAINER}/startupProbe/httpGet/path", "/healthz", "startupProbe asks for /healthz"),
        (f"{CONTAINER}/livenessProbe/httpGet/path", "/health/ready", "livenessProbe asks for /health/ready"),
        (f"{CONTAINER}/readinessProbe/httpGet/port", "web", "readinessProbe asks at port web"),
        (f"{CONTAINER}/ports/0/containerPort", 80, "the service listens on 8000"),
        (f"{CONTAINER}/resources/limits/memory", REMOVED, "no limits of memory"),
        (f"{CONTAINER}/resources/requests/memory", "1Gi", "memory 1Gi requested, 512Mi at most"),
        (f"{CONTAINER}/resources/limits/cpu", "1500m", "1500m cores"),
        (f"{POD}/securityContext/runAsNonRoot", False, "may run as root"),
        (f"{POD}/securityContext/runAsUser", 0, "may run as root"),
        (f"{POD}/securityContext/seccompProfile", REMOVED, "no seccompProfile"),
        (f"{POD}/automountServiceAccountToken", True, "automountServiceAccountToken is not false"),
        (f"{POD}/enableServiceLinks", REMOVED, "enableServiceLinks is not false"),
        (f"{POD}/hostNetwork", True, "shares the host"),
        (f"{CONTAINER}/securityContext/readOnlyRootFilesystem", False, "readOnlyRootFilesystem is not True"),
        (f"{CONTAINER}/securityContext/capabilities/drop", [], "capabilities is not"),
        (
            f"{CONTAINER}/securityContext/allowPrivilegeEscalation",
            REMOVED,
            "allowPrivilegeEscalation is not False",
        ),
        (f"{POD}/volumes/0/emptyDir/sizeLimit", REMOVED, "volume tmp is unbounded"),
        (f"{POD}/volumes/0/emptyDir/sizeLimit", "4Gi", "and 2Gi of storage"),
        (f"{POD}/volumes/0", {"name": "tmp", "hostPath": {"path": "/"}}, "of the host"),
        (f"{CONTAINER}/volumeMounts/0", REMOVED, "tmp is read-only"),
        (f"{CONTAINER}/imagePullPolicy", "Always", "imagePullPolicy is not IfNotPresent"),
        (f"spec/selector/matchLabels/{NAME}", "other", "does not match its pods"),
        (f"{POD}/topologySpreadConstraints/0", REMOVED, "not spread over hosts and zones"),
        ("spec/replicas", 2, "replicas, which each apply would reset"),
        ("spec/strategy/rollingUpdate/maxUnavailable", 1, "makes replicas unavailable"),
        (f"{POD}/terminationGracePeriodSeconds", 30, "terminationGracePeriodSeconds is 30"),
        (f"{POD}/topologySpreadConstraints/0/maxSkew", 3, "allows a skew of 3"),
        (f"{CONTAINER}/lifecycle", REMOVED, "no preStop sleep"),
        (f"{CONTAINER}/env", REMOVED, "replicas share no prediction log"),
        (f"{CONTAINER}/envFrom/0/configMapRef/name", "settings", "no ConfigMap/settings"),
        (f"{POD}/serviceAccountName", "default", "no ServiceAccount/default"),
    ],
    ("kind", "StatefulSet/visiongate-postgres"): [
        (f"{CONTAINER}/readinessProbe", REMOVED, "no readinessProbe"),
        (f"{CONTAINER}/volumeMounts/0/mountPath", "/var/lib/postgresql/data", "is not"),
        ("spec/persistentVolumeClaimRetentionPolicy/whenDeleted", "Delete", "deleted with it"),
        (f"{POD}/terminationGracePeriodSeconds", REMOVED, "terminationGracePeriodSeconds is 30"),
        (f"{CONTAINER}/env/2/name", "POSTGRES_PASSWORDFILE", "POSTGRES_PASSWORD_FILE is None"),
        (f"{CONTAINER}/env/2/value", "/run/secrets/password", "no secret is there"),
    ],
    ("production", "CronJob/visiongate-drift"): [
        (f"{DRIFT_CONTAINER}/resources/requests/cpu", REMOVED, "no requests of cpu"),
        (
            f"{DRIFT_CONTAINER}/image",
            "serve@sha256:0",
            "has no digest",
        ),
    ],
    ("production", "Deployment/visiongate"): [
        (f"{CONTAINER}/image", "ghcr.io/example/visiongate/serve:latest", "has no digest"),
        (
            f"{POD}/topologySpreadConstraints/2/labelSelector/matchLabels/{NAME}",
            "web",
            "does not match its pods",
        ),
        (f"{CONTAINER}/volumeMounts/0", REMOVED, "and mounted at ['keys']"),
        (f"{CONTAINER}/env/1/valueFrom/secretKeyRef/name", "database", "no Secret/database"),
        (f"{POD}/volumes/0/secret/items/0/key", "key", "Secret/visiongate-keys has no ['key']"),
    ],
    ("kind", "Service/visiongate"): [
        (f"spec/selector/{COMPONENT}", "web", "matches 0 workloads"),
        (f"spec/selector/{COMPONENT}", REMOVED, "matches 4 workloads"),
        ("spec/ports/0/targetPort", "web", "target port web"),
        ("metadata/namespace", "default", "namespace default"),
    ],
    ("kind", "PodDisruptionBudget/visiongate"): [
        (f"spec/selector/matchLabels/{NAME}", "web", "matches 0 workloads"),
        ("spec/maxUnavailable", 2, "disruption budgets [2]"),
    ],
    ("kind", "HorizontalPodAutoscaler/visiongate"): [
        ("spec/scaleTargetRef/name", "web", "autoscalers []"),
        ("spec/minReplicas", 1, "1 to 10 replicas"),
        ("spec/metrics/0/resource/name", "memory", "metrics"),
        ("spec/metrics/0/resource/target/averageUtilization", 700, "700% of the processors"),
    ],
    ("production", "ScaledObject/visiongate"): [
        (
            "spec/triggers/0/metadata/query",
            'sum(visiongate_in_flight{namespace="visiongate"})',
            "exports no ['visiongate_in_flight']",
        ),
        ("spec/triggers/0/metadata/query", "sum(visiongate_requests_in_flight)", "of all namespaces"),
        ("spec/minReplicaCount", REMOVED, "1 to 20 replicas"),
    ],
    ("kind", SETTINGS): [
        ("data/VISIONGATE_SERVING__LIMITS__DRAIN_SECONDS", "60", "stopping takes 100"),
        ("data/VISIONGATE_SERVING__LIMITS__DRAIN", "5", "unknown key"),
        ("data/VISIONGATE_SERVNG__BATCH", "5", "VISIONGATE_SERVNG__BATCH is no setting"),
        ("data/LOG_LEVEL", "LOUD", "serving.log_level"),
        ("data/VISIONGATE_SERVING__LOG__IMAGES__KEEP", "all", "are lost with a pod"),
    ],
    ("kind", "Namespace/visiongate"): [
        ("metadata/labels/pod-security.kubernetes.io~1enforce", "baseline", "enforce is baseline"),
        ("metadata/labels/pod-security.kubernetes.io~1warn-version", "latest", "version latest"),
    ],
    ("kind", "NetworkPolicy/default-deny"): [
        ("spec/policyTypes", ["Egress"], "isolated for ['Egress'] only"),
        ("spec/ingress", [{}], "allows everything"),
    ],
    ("kind", "NetworkPolicy/names"): [
        ("spec/egress/0/ports", [], "look up names at [set()]"),
    ],
    ("kind", "NetworkPolicy/visiongate-from-monitoring"): [
        (f"spec/podSelector/matchLabels/{NAME}", "web", "selects no pod"),
        ("spec/ingress/0/ports/0/port", 80, "ingress at ports ['80']"),
    ],
    ("kind", "NetworkPolicy/visiongate-to-postgres"): [
        (f"spec/egress/0/to/0/podSelector/matchLabels/{NAME}", "db", "pods that do not exist"),
        ("spec/egress/0/ports/0/port", 5433, "egress at ports ['5433']"),
    ],
    ("production", "HTTPRoute/visiongate"): [
        ("spec/parentRefs/0/sectionName", "tls", "no listener visiongate/tls"),
        ("spec/hostnames", ["other.example.com"], "no listener"),
        ("spec/rules/0/backendRefs/0/port", 8000, "no Service visiongate:8000"),
        ("spec/rules/0/timeouts", REMOVED, "may take 0s"),
        ("spec/parentRefs/0/sectionName", "http", "serves without TLS"),
    ],
    ("production", "Gateway/visiongate"): [
        ("spec/gatewayClassName", "nginx", "the docs do not name the class nginx"),
        ("spec/listeners/0/tls/mode", "Passthrough", "listeners[0]"),
        ("spec/listeners/1/hostName", "visiongate.example.com", "listeners[1]"),
        ("spec/listeners/0/tls/certificateRefs/0/name", "tls", "no certificate"),
    ],
    ("kind", "CronJob/visiongate-drift"): [
        ("spec/concurrencyPolicy", "Allow", "concurrencyPolicy is not Forbid"),
        ("spec/startingDeadlineSeconds", REMOVED, "no startingDeadlineSeconds"),
        (f"{DRIFT}/activeDeadlineSeconds", REMOVED, "no activeDeadlineSeconds"),
        (f"{DRIFT_CONTAINER}/args", ["drift", "--hours"], "drift ['--hours'] does not exist"),
        (f"{DRIFT_CONTAINER}/args", ["drift", "--window", "24"], "a window of 24 hours"),
        (f"{DRIFT_CONTAINER}/args", ["drift", "--yearly-level", "0.5"], "false alarms of 0.5 a year"),
        (f"{DRIFT}/podFailurePolicy/rules/0/onExitCodes/values", [2], "podFailurePolicy ["),
        ("spec/schedule", "17 5 * * *", "schedule 17 5 * * *"),
        (f"{DRIFT_CONTAINER}/args", ["drfit"], "visiongate drfit [] does not exist"),
    ],
    ("kind", "CronJob/visiongate-rollout"): [
        (f"{DRIFT_CONTAINER}/args", ["rollout", "--apply"], "moves aliases"),
        (f"{DRIFT_CONTAINER}/args", ["drift"], "nothing runs ['rollout']"),
        ("spec/schedule", "47 5 * * 1", "schedule 47 5 * * 1"),
    ],
    ("line", "Job/visiongate-line"): [
        ("spec/podFailurePolicy/rules/1/onExitCodes/containerName", "train", "podFailurePolicy ["),
        (f"{POD}/restartPolicy", "OnFailure", "restartPolicy is not Never"),
        (f"{CONTAINER}/volumeMounts/2/mountPath", "/temp", "and DVC writes there"),
        (f"{CONTAINER}/envFrom/0/secretRef/name", "mlflow", "the docs do not name Secret/mlflow"),
        (f"{POD}/volumes/3/emptyDir/medium", "", "shared memory is on a disk"),
    ],
    ("kind", "ServiceAccount/visiongate"): [
        ("automountServiceAccountToken", REMOVED, "automountServiceAccountToken is not false"),
    ],
    ("staging", "Service/visiongate"): [
        ("spec/loadBalancerSourceRanges", REMOVED, "open to everybody"),
        ("spec/loadBalancerSourceRanges/0", "0.0.0.0/0", "0.0.0.0/0 is no private network"),
        ("spec/loadBalancerSourceRanges/1", REMOVED, "and the policies let"),
        ("spec/type", "LoadBalancr", "type LoadBalancr"),
        ("spec/type", "ClusterIP", "ranges without effect"),
    ],
    ("staging", "ScaledObject/visiongate"): [
        ("spec/minReplicas", 2, "'minReplicas' was unexpected"),
        ("spec/triggers/0/metadata/threshold", 8, "is not of type 'string'"),
        ("spec/triggers/0/metadata/threshold", "800", "800 requests in flight"),
        ("spec/triggers/0/metadata/serverAddress", "http://prometheus.monitoring.svc:9090", "was expected"),
        ("spec/triggers/1/metadata/value", "7000", "7000% of the processors"),
        ("metadata/annotations", REMOVED, "does not take over"),
        ("spec/triggers/0/type", "promtheus", "'prometheus' was expected"),
    ],
    ("production", "HTTPRoute/visiongate-redirect"): [
        ("spec/rules/0/filters/0/requestRedirect/scheme", "http", "rules[0]"),
    ],
    ("production", "NetworkPolicy/visiongate-to-database"): [
        ("spec/egress/0/ports/0/port", 5433, "egress at ports ['5433']"),
        ("spec/egress/0/ports/0/protocol", "UDP", "no way to the database"),
        ("spec/policyTypes", ["Ingress"], "egress without effect"),
        ("spec/egress/0/to/0/ipBlock/cidr", "0.0.0.0/0", "0.0.0.0/0 is no private network"),
        (f"spec/podSelector/matchLabels/{NAME}", REMOVED, "selects no pod, or all"),
    ],
    ("production", "NetworkPolicy/visiongate-from-gateway"): [
        ("spec/ingress/0/from/0/namespaceSelector", REMOVED, "peer {}"),
        (
            "spec/ingress/0/from/0/namespaceSelector/matchLabels/kubernetes.io~1metadata.name",
            "ingress-nginx",
            "the docs do not name the namespace ingress-nginx",
        ),
        (f"spec/podSelector/matchLabels/{COMPONENT}", REMOVED, "lets requests in to 4 workloads"),
    ],
    ("production", "ServiceMonitor/visiongate"): [
        (f"spec/selector/matchLabels/{COMPONENT}", "web", "matches 0 services"),
        ("spec/endpoints/0/port", "web", "endpoint /metrics at port web"),
        ("spec/endpoints/0/path", "/metric", "endpoint /metric at port http"),
        ("spec/endpoints/0/authorization", REMOVED, "/metrics requires a key"),
    ],
}
