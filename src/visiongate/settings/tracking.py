"""The section ``tracking``: where MLflow records runs."""

from pydantic import Field

from visiongate.settings.fields import Name, Section


class Tracking(Section):
    """Where MLflow records runs."""

    uri: str = Field(description="MLflow's address; a relative SQLite path starts at the main workspace.")
    experiment: Name = Field(description="Name of the experiment.")
