"""The committed settings of evaluation, with some changed."""

from pathlib import Path

from visiongate.settings.evaluation import Evaluation
from visiongate.settings.loading import load_settings

PARAMS = Path(__file__).parents[1] / "params.yaml"


def evaluation_settings(**changes: object) -> Evaluation:
    """Return the settings, validated."""
    values = load_settings(PARAMS).evaluation.model_dump()
    return Evaluation.model_validate({**values, **changes})
