"""Train, judge and register a model, as ``image_training_pipeline`` does, with each task in a pod of its own.

The pods share a volume with the repository and the clone of the run: ``deploy/kubernetes/airflow``. Airflow itself needs
neither the repository nor the environment of the pipeline.
"""

from airflow.sdk import chain, dag

from visiongate_dags import tasks
from visiongate_dags.pods import MACROS, make_pod
from visiongate_dags.settings import make_params
from visiongate_dags.stages import IMAGE_TRAINING


@dag(
    schedule=None,
    catchup=False,
    # The tasks of one run use the volume at a time.
    max_active_runs=1,
    params=make_params(fetch=False),
    default_args=tasks.DEFAULTS,
    user_defined_macros=MACROS,
    doc_md=__doc__,
    tags=["visiongate", "kubernetes"],
)
def image_training_pipeline_kubernetes() -> None:
    """Run every stage of ``dvc.yaml``, each task in a pod, then write the report to the log."""
    # A teardown runs after a failure, too, and does not hide it.
    report = make_pod("generate_report").as_teardown()
    chain(make_pod("check_environment"), *map(make_pod, IMAGE_TRAINING), report)


image_training_pipeline_kubernetes()
