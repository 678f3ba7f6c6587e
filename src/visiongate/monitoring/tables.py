"""The tables of the prediction log.

A change of them needs a migration in `monitoring/migrations`, and `REVISION` names the last one.

Times are whole microseconds since 1970 in UTC, and no type is of one database only, so that SQLite and PostgreSQL run the same
statements. Importing SQLAlchemy takes 0.2 s; only the thread that writes the log imports this module.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.dialects import postgresql, sqlite

# The migration that leads to these tables.
REVISION: Final = "0002"

metadata = MetaData()

# Alembic's, under a name of its own: MLflow or Airflow may keep theirs in the same database.
schema_version = Table(
    "prediction_log_version", MetaData(), Column("version_num", String(32), primary_key=True)
)

# A file of a model under the name and version that it is served as. `classes` is a JSON list.
models = Table(
    "models",
    metadata,
    Column("model_id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    # Empty for a file without a registry: null would not be unique.
    Column("version", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("classes", Text, nullable=False),
    UniqueConstraint("name", "version", "sha256"),
)

predictions = Table(
    "predictions",
    metadata,
    Column("prediction_id", Text, primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("model_id", ForeignKey("models.model_id"), nullable=False),
    Column("predicted", Text, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("sure", Boolean),
    Column("out_of_distribution", Boolean),
    Column("decode_ms", Float),
    Column("wait_ms", Float),
    Column("inference_ms", Float),
    Column("total_ms", Float, nullable=False),
    Column("request_id", Text),
    Column("shadow_of", Text),
    # How the version was chosen: active, canary or shadow. Null in rows of older versions.
    Column("role", Text),
    # Whether the client was asked for the true class.
    Column("asked", Boolean, nullable=False, server_default=false()),
    # What describes the image; null where no file was sent, and in rows of older versions. An index of random hashes would
    # double the cost of a row.
    Column("image_sha256", Text),
    Column("image_bytes", Integer),
    Column("width", Integer),
    Column("height", Integer),
    Column("format", Text),
    Column("mode", Text),
    # Mean and standard deviation of the model's input, 0 to 1.
    Column("brightness", Float),
    Column("contrast", Float),
    # Whether the file is stored.
    Column("kept", Boolean),
    # A `sketch`: float16, little-endian.
    Column("embedding", LargeBinary),
    # Last, because SQLite reads a row from its start: statistics need not read the probabilities of a thousand classes.
    Column("probabilities", LargeBinary),
    Index("predictions_by_time", "time_us", "model_id", "shadow_of"),
)
_shadow_of = predictions.c.shadow_of
Index(
    "predictions_by_answer",
    _shadow_of,
    sqlite_where=_shadow_of.is_not(None),
    postgresql_where=_shadow_of.is_not(None),
)

# The last feedback for a prediction. It has no foreign key: a backup or an export may hold it without the prediction.
feedback = Table(
    "feedback",
    metadata,
    Column("prediction_id", Text, primary_key=True),
    Column("label", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    # The name of the API key; null without keys.
    Column("given_by", Text),
    # As in the prediction: whether the client was asked, or volunteered.
    Column("asked", Boolean, nullable=False, server_default=false()),
)

# What a version's held-out images look like to it: the bytes of its reference file. Retention does not delete them.
drift_references = Table(
    "drift_references",
    metadata,
    Column("model_id", ForeignKey("models.model_id"), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("time_us", BigInteger, nullable=False),
)

# The first predictions of a version whose reference lacks outputs of the served model, or those by which a rollout promoted it:
# the bytes of a `Sample`. Retention does not delete them.
first_predictions = Table(
    "first_predictions",
    metadata,
    Column("model_id", ForeignKey("models.model_id"), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    # Whether the version made them beside the champion, and was promoted by them.
    Column("by_rollout", Boolean, nullable=False, server_default=false()),
)

# What `visiongate drift` found. `report` is a `DriftReport` in JSON, so that a further check needs no other table.
drift_checks = Table(
    "drift_checks",
    metadata,
    Column("check_id", Integer, primary_key=True),
    Column("time_us", BigInteger, nullable=False, index=True),
    Column("verdict", Text, nullable=False),
    Column("report", Text, nullable=False),
)

# What retrain checks, rollouts and drift checks decided. `report` is JSON.
decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Integer, primary_key=True),
    Column("time_us", BigInteger, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("report", Text, nullable=False),
)

# Images that a version could not answer, counted by minute and replica. `kind` is one of `FailureKind`.
failures = Table(
    "failures",
    metadata,
    Column("failure_id", Integer, primary_key=True),
    # The start of the minute.
    Column("time_us", BigInteger, nullable=False, index=True),
    Column("model_id", ForeignKey("models.model_id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("count", Integer, nullable=False),
)


def insert_into(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an insertion that can say what happens to a row that exists, because another process has just added it."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
