"""The tasks as pods: what the operator asks Kubernetes for; tests/deploy/test_airflow_manifests.py checks its schema."""

import copy
import json
from itertools import pairwise
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client import models as k8s
from rendered_pods import IMAGE, RUN_ID, Pod, load_dag, make_pods

from visiongate_dags.clone import run_name
from visiongate_dags.pod_task import FAILED, RUN, SETTINGS, TASKS, TEMPORARY
from visiongate_dags.pods import StagePodOperator
from visiongate_dags.stages import IMAGE_TRAINING


@pytest.fixture(scope="module")
def dag() -> DAG:
    """The DAG of the file."""
    return load_dag()


@pytest.fixture(scope="module")
def pods(dag: DAG) -> dict[str, Pod]:
    """The pods of a run without settings of its own."""
    return make_pods(dag)


def test_each_task_is_a_pod_that_follows_the_one_before(dag: DAG) -> None:
    order = [task.task_id for task in dag.topological_sort()]
    assert order == ["check_environment", *IMAGE_TRAINING, "generate_report"]
    assert set(order) == TASKS.keys()
    for before, after in pairwise(order):
        assert after in dag.get_task(before).downstream_task_ids
    assert [task.task_id for task in dag.tasks if task.is_teardown] == ["generate_report"]
    assert (dag.max_active_runs, dag.catchup) == (1, False)


def findings(pod: Pod, task: str) -> list[str]:
    """What is wrong with a pod."""
    [container] = pod["spec"]["containers"]
    expected = {
        "image": (container["image"], IMAGE),
        "command": ([*container["command"], *container["args"]], ["sh", "/etc/visiongate/task.sh", task]),
        "namespace": (pod["metadata"]["namespace"], "visiongate-airflow"),
        "token": (pod["spec"].get("automountServiceAccountToken"), False),
        "account": (pod["spec"].get("serviceAccountName"), "visiongate-airflow"),
        "restart": (pod["spec"].get("restartPolicy"), "Never"),
        "root": (pod["spec"].get("securityContext", {}).get("runAsNonRoot"), True),
        "privileges": (
            container.get("securityContext"),
            {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        ),
        "limits": (sorted(container["resources"].get("limits", {})), ["cpu", "ephemeral-storage", "memory"]),
        "volumes": (
            {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]},
            {
                "script": "/etc/visiongate",
                "workspace": "/work",
                "tmp": "/tmp",  # noqa: S108 - of the container
                "shared-memory": "/dev/shm",  # noqa: S108
            },
        ),
    }
    return [f"{name}: {found}" for name, (found, wanted) in expected.items() if found != wanted]


def test_the_operator_keeps_what_the_template_restricts(pods: dict[str, Pod]) -> None:
    assert {task: findings(pod, task) for task, pod in pods.items()} == {task: [] for task in TASKS}
    training, other = (
        pods[task]["spec"]["containers"][0]["resources"] for task in ("train_model", "register_model")
    )
    assert training["requests"]["cpu"] != other["requests"]["cpu"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.automountServiceAccountToken", True),
        ("spec.serviceAccountName", "default"),
        ("spec.securityContext", {}),
        ("spec.containers.0.securityContext", {}),
        ("spec.containers.0.resources", {}),
        ("spec.containers.0.args", ["train"]),
        ("spec.containers.0.volumeMounts.1.mountPath", "/workspace"),
        ("metadata.namespace", "default"),
    ],
)
def test_a_broken_pod_is_noticed(path: str, value: object, pods: dict[str, Pod]) -> None:
    pod: Any = copy.deepcopy(pods["train_model"])
    node = pod
    *parents, last = path.split(".")
    for key in parents:
        node = node[int(key) if key.isdigit() else key]
    node[last] = value
    assert len(findings(pod, "train_model")) == 1


def test_the_run_and_its_settings_are_variables_of_the_pod(dag: DAG) -> None:
    pod = make_pods(dag, overrides=["training.epochs=1"], accuracy_threshold=0.9)["check_environment"]
    variables = {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}
    assert variables[RUN] == run_name(RUN_ID)
    settings = json.loads(variables[SETTINGS])
    assert settings["overrides"][0] == "training.epochs=1"
    assert "threshold: 0.9" in settings["overrides"][1]


def test_an_unknown_name_fails_at_once(dag: DAG) -> None:
    with pytest.raises(AirflowFailException, match="unknown names: epochs"):
        make_pods(dag, epochs=1)


@pytest.mark.parametrize(
    ("status", "error"),
    [(FAILED, AirflowFailException), (TEMPORARY, AirflowException), (137, AirflowException)],
)
def test_the_exit_status_says_whether_to_try_again(
    dag: DAG, status: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = dag.get_task("train_model")
    assert isinstance(operator, StagePodOperator)

    def fail(*_: object, **__: object) -> None:
        raise AirflowException("Pod train returned a failure.")

    # What it does before asks the cluster.
    monkeypatch.setattr(KubernetesPodOperator, "cleanup", fail)
    ended = k8s.V1ContainerStatus(
        name="base",
        image=IMAGE,
        image_id=IMAGE,
        ready=False,
        restart_count=0,
        state=k8s.V1ContainerState(terminated=k8s.V1ContainerStateTerminated(exit_code=status)),
    )
    pod = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="train"),
        spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base")]),
        status=k8s.V1PodStatus(phase="Failed", container_statuses=[ended]),
    )
    with pytest.raises(AirflowException) as caught:
        operator.cleanup(pod, pod)
    assert type(caught.value) is error
