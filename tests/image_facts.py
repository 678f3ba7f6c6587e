"""What the images of `deploy` require, by their documentation: where they listen, keep data, and read passwords."""

from typing import NamedTuple

# Of the service, by the contract of its image.
STATE = "/var/lib/visiongate"
# Since PostgreSQL 18, a folder of the version is below it. The mount of before, `/var/lib/postgresql/data`, stays empty.
POSTGRES_DATA = "/var/lib/postgresql"
POSTGRES_PASSWORD = "POSTGRES_PASSWORD_FILE"  # noqa: S105 - the name of a variable
# The entrypoint of PostgreSQL's image runs what is there, when there is no data yet.
POSTGRES_SCRIPTS = "/docker-entrypoint-initdb.d"
# What a checkpoint may take, when PostgreSQL stops.
POSTGRES_STOP_SECONDS = 60


class Facts(NamedTuple):
    """What an image requires.

    Attributes:
        port: That it listens on.
        listens_by: The option of its command before the port; empty if the port is the default.
        data: The folder of its data, which is lost with the container unless it is a volume.
        keeps_by: The option of its command before the folder; empty if the folder is the default.
        secrets: The names of the secrets by the variables that take their paths.
    """

    port: int | None
    listens_by: str = ""
    data: str = ""
    keeps_by: str = ""
    secrets: dict[str, str] = {}  # noqa: RUF012 - not changed


IMAGES = {
    "visiongate": Facts(8000, data=STATE),
    "checks": Facts(None, data=STATE),
    "prometheus": Facts(9090, data="/prometheus", keeps_by="--storage.tsdb.path="),
    "alertmanager": Facts(9093, data="/alertmanager", keeps_by="--storage.path="),
    "grafana": Facts(
        3000,
        data="/var/lib/grafana",
        secrets={"GF_SECURITY_ADMIN_PASSWORD__FILE": "grafana_admin_password"},
    ),
    "loki": Facts(3100, data="/loki"),
    "alloy": Facts(12345, "--server.http.listen-addr=0.0.0.0:", data="/data", keeps_by="--storage.path="),
    "mlflow": Facts(
        5000,
        "--port=",
        secrets={"PGSERVICEFILE": "mlflow_database", "AWS_SHARED_CREDENTIALS_FILE": "s3_credentials"},
    ),
    "postgres": Facts(5432, data=POSTGRES_DATA, secrets={POSTGRES_PASSWORD: "postgres_password"}),
    "s3": Facts(7070, "--port :", data="/data", keeps_by="posix "),
    "develop": Facts(8888, secrets={"JUPYTER_TOKEN_FILE": "jupyter_token"}),
}
# Who calls whom.
CALLS = {
    "prometheus": {"visiongate", "alertmanager", "grafana", "loki", "alloy"},
    "grafana": {"prometheus", "loki", "alertmanager"},
    "alloy": {"loki"},
    "mlflow": {"postgres", "s3"},
    "visiongate": {"mlflow"},
    "train": {"mlflow"},
    "evaluate": {"mlflow"},
    "develop": {"mlflow"},
    "airflow-scheduler": {"airflow-api-server", "airflow-postgres"},
    "airflow-dag-processor": {"airflow-api-server", "airflow-postgres"},
    "airflow-triggerer": {"airflow-api-server", "airflow-postgres"},
}
