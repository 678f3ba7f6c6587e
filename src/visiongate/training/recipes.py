"""The recipe of the classifier that ``model`` selects, for models that are fitted in one step."""

from visiongate.errors import SettingsError
from visiongate.records.transform import Transform
from visiongate.settings.model import Baseline, Probe
from visiongate.settings.schema import Settings
from visiongate.training.baselines import BaselineRecipe
from visiongate.training.one_step import ClassifierRecipe
from visiongate.training.probes import ProbeRecipe


def make_recipe(settings: Settings, transform: Transform) -> ClassifierRecipe:
    """Return the recipe of a baseline or a probe.

    Args:
        settings: The sections ``model`` and ``training``.
        transform: The preprocessing of the images.

    Raises:
        SettingsError: The model, an option or the pretrained weights are invalid, or the model is a network.
    """
    model = settings.model
    if isinstance(model, Probe):
        return ProbeRecipe(model, settings.training, transform)
    if isinstance(model, Baseline):
        return BaselineRecipe(model, transform, settings.training.seed)
    raise SettingsError(f"params.yaml: model.kind = {model.kind}: {model.name} is trained in epochs")
