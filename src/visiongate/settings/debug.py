"""The section ``debug``: help for finding errors."""

from pydantic import Field

from visiongate.settings.fields import Section


class Debug(Section):
    """Help for finding errors; it changes no output."""

    tracebacks: bool = Field(description="Show full tracebacks instead of one-line errors.")
