"""The pods that the tasks of `image_training_pipeline_kubernetes` ask for; as a script, print them as JSON."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.definitions.param import ParamsDict
from kubernetes.client import ApiClient

from visiongate_dags.settings import make_params

FILE = Path(__file__).parents[2] / "dags/image_training_pipeline_kubernetes.py"
IMAGE = "ghcr.io/example/visiongate/train@sha256:" + "0" * 64
RUN_ID = "manual__2026-01-01T00:00:00+00:00"
Pod = dict[str, Any]


def load_dag() -> DAG:
    """Return the DAG."""
    bag = DagBag(FILE)
    assert not bag.import_errors
    dag: DAG = bag.dags["image_training_pipeline_kubernetes"]
    return dag


def make_pods(dag: DAG, **conf: object) -> dict[str, Pod]:
    """Return what each task asks Kubernetes for, in a run with this configuration."""
    params = ParamsDict(make_params(fetch=False))
    params.update({name: value for name, value in conf.items() if name in params})
    context: dict[str, Any] = {
        "dag": dag,
        "run_id": RUN_ID,
        "params": params.validate(),
        "dag_run": SimpleNamespace(conf=conf),
        "triggering_asset_events": {},
        "var": {"value": SimpleNamespace(visiongate_image=IMAGE)},
    }
    made = {}
    for task in dag.topological_sort():
        operator = copy.deepcopy(task)
        operator.render_template_fields(context, dag.get_template_env())
        pod = operator.build_pod_request_obj(dry_run=True)
        made[task.task_id] = ApiClient().sanitize_for_serialization(pod)
    return made


if __name__ == "__main__":
    print(json.dumps(make_pods(load_dag())))
