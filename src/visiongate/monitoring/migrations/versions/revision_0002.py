"""Facts about images, embeddings, the question for the true class, and the tables of decisions and failures.

Columns are added at the end of a row, because SQLite would copy the table otherwise. Of what was recorded, only the
references of the check for drift are lost.
"""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"


def upgrade() -> None:
    """Add the columns and tables."""
    _describe_images()
    op.add_column("feedback", sa.Column("given_by", sa.Text))
    op.add_column("feedback", _asked())
    _separate_references()
    op.create_table(
        "decisions",
        sa.Column("decision_id", sa.Integer, primary_key=True),
        sa.Column("time_us", sa.BigInteger, nullable=False, index=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("report", sa.Text, nullable=False),
    )
    op.create_table(
        "failures",
        sa.Column("failure_id", sa.Integer, primary_key=True),
        sa.Column("time_us", sa.BigInteger, nullable=False, index=True),
        sa.Column("model_id", sa.Integer, sa.ForeignKey("models.model_id"), nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
    )


def _describe_images() -> None:
    columns: list[sa.Column[Any]] = [
        sa.Column("role", sa.Text),
        _asked(),
        sa.Column("image_sha256", sa.Text),
        sa.Column("image_bytes", sa.Integer),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("format", sa.Text),
        sa.Column("mode", sa.Text),
        sa.Column("brightness", sa.Float),
        sa.Column("contrast", sa.Float),
        sa.Column("kept", sa.Boolean),
        sa.Column("embedding", sa.LargeBinary),
    ]
    for column in columns:
        op.add_column("predictions", column)


def _separate_references() -> None:
    """Make a table of held-out images, and one of first predictions.

    The first predictions of before had neither embeddings nor probabilities. The check for drift takes others.
    """
    op.drop_table("drift_references")
    for name in ("drift_references", "first_predictions"):
        op.create_table(
            name,
            sa.Column("model_id", sa.Integer, sa.ForeignKey("models.model_id"), primary_key=True),
            sa.Column("content", sa.LargeBinary, nullable=False),
            sa.Column("time_us", sa.BigInteger, nullable=False),
        )
    op.add_column(
        "first_predictions", sa.Column("by_rollout", sa.Boolean, nullable=False, server_default=sa.false())
    )


def _asked() -> sa.Column[bool]:
    return sa.Column("asked", sa.Boolean, nullable=False, server_default=sa.false())
