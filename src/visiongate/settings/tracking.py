"""The section ``tracking``: where MLflow records runs."""

from typing import Annotated

from pydantic import Field

from visiongate.settings.fields import Section

# Any text on one line, also with blanks inside.
Title = Annotated[str, Field(pattern=r"^\S(.*\S)?$", max_length=250)]


class Tracking(Section):
    """Where MLflow records runs."""

    uri: str = Field(description="MLflow's address; a relative SQLite path starts at the main workspace.")
    experiment: Title = Field(description="Name of the experiment.")
    run_name: Title | None = Field(
        default=None, description="Name of the training's run; null for `train` and the model's name."
    )
