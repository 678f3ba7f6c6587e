"""Tasks as pods: the operator, and the pods that it makes from ``pods.yaml``. Imports Airflow."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from jinja2 import pass_context

from visiongate_dags.clone import run_name
from visiongate_dags.pod_task import FAILED, RUN, SETTINGS
from visiongate_dags.settings import read_run_settings
from visiongate_dags.tasks import airflow_errors

PODS = Path(__file__).with_name("pods.yaml")
IMAGE = "{{ var.value.visiongate_image }}"
CONTAINER = "base"
START_SECONDS = 900


class StagePodOperator(KubernetesPodOperator):
    """A pod whose exit status says whether a retry can help."""

    def cleanup(self, pod: Any, remote_pod: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - of the client
        """Clean up as the operator does.

        Raises:
            AirflowFailException: The task failed, and a retry gives the same result.
            AirflowException: It failed, and a retry may help.
        """
        try:
            super().cleanup(pod, remote_pod, *args, **kwargs)
        except AirflowException as error:
            if _exit_status(remote_pod) == FAILED:
                raise AirflowFailException(str(error)) from None
            raise


@pass_context
def run_settings(context: Mapping[str, Any]) -> str:
    """Return the settings of a run as JSON, for a template."""
    with airflow_errors():
        return json.dumps(asdict(read_run_settings(context)))


# What the templates of the pods call.
MACROS = {"run_name": run_name, "run_settings": run_settings}


def make_pod(task: str) -> StagePodOperator:
    """Return a task that runs in a pod of its own.

    Args:
        task: A task of `pod_task`.
    """
    pod = _describe_pod(task)
    return StagePodOperator(
        task_id=task,
        name=f"visiongate-{task.replace('_', '-')}",
        namespace=pod["metadata"]["namespace"],
        image=IMAGE,
        arguments=[task],
        env_vars={RUN: "{{ run_name(run_id) }}", SETTINGS: "{{ run_settings() }}"},
        pod_template_dict=pod,
        base_container_name=CONTAINER,
        startup_timeout_seconds=START_SECONDS,
        termination_message_policy="FallbackToLogsOnError",
        # A failed pod stays, to be read.
        on_finish_action="delete_succeeded_pod",
        log_events_on_failure=True,
        log_pod_spec_on_failure=False,
    )


def _describe_pod(task: str) -> dict[str, Any]:
    """Return the pod of a task as ``pods.yaml`` describes it, with the resources of the task."""
    pods = yaml.safe_load(PODS.read_text(encoding="utf-8"))
    pod: dict[str, Any] = pods["pod"]
    pod["spec"]["containers"][0]["resources"] = pods["resources"].get(task, pods["resources"]["default"])
    return pod


def _exit_status(pod: Any) -> int | None:  # noqa: ANN401 - of the client
    """Return the exit status of the container of the task; None if it did not end."""
    statuses = (pod.status and pod.status.container_statuses) or []
    ended = [each.state.terminated for each in statuses if each.name == CONTAINER and each.state]
    return int(ended[0].exit_code) if ended and ended[0] else None
