"""The tables of databases that were made before migrations. What such a database has is left as it is."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None


def upgrade() -> None:
    """Make the tables that are missing."""
    op.create_table(
        "models",
        sa.Column("model_id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("classes", sa.Text, nullable=False),
        sa.UniqueConstraint("name", "version", "sha256"),
        if_not_exists=True,
    )
    _create_predictions()
    op.create_table(
        "feedback",
        sa.Column("prediction_id", sa.Text, primary_key=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "drift_references",
        sa.Column("model_id", sa.Integer, sa.ForeignKey("models.model_id"), primary_key=True),
        sa.Column("first_us", sa.BigInteger, nullable=False),
        sa.Column("last_us", sa.BigInteger, nullable=False),
        sa.Column("classes", sa.Text, nullable=False),
        sa.Column("confidences", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "drift_checks",
        sa.Column("check_id", sa.Integer, primary_key=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("report", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_drift_checks_time_us", "drift_checks", ["time_us"], if_not_exists=True)


def _create_predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("prediction_id", sa.Text, primary_key=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("model_id", sa.Integer, sa.ForeignKey("models.model_id"), nullable=False),
        sa.Column("predicted", sa.Text, nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("sure", sa.Boolean),
        sa.Column("out_of_distribution", sa.Boolean),
        sa.Column("decode_ms", sa.Float),
        sa.Column("wait_ms", sa.Float),
        sa.Column("inference_ms", sa.Float),
        sa.Column("total_ms", sa.Float, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("shadow_of", sa.Text),
        sa.Column("probabilities", sa.LargeBinary),
        if_not_exists=True,
    )
    op.create_index(
        "predictions_by_time", "predictions", ["time_us", "model_id", "shadow_of"], if_not_exists=True
    )
    given = sa.text("shadow_of IS NOT NULL")
    op.create_index(
        "predictions_by_answer",
        "predictions",
        ["shadow_of"],
        if_not_exists=True,
        sqlite_where=given,
        postgresql_where=given,
    )
