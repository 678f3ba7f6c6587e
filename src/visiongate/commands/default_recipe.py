"""The recipe for a user's own images, if the user chooses neither a recipe nor a model."""

from collections.abc import Sequence
from dataclasses import dataclass

from visiongate.ingestion.inspection import Inspection
from visiongate.settings.dataset import Dataset
from visiongate.settings.model import Probe

GROUP, MODEL = "experiment", "model"
PHOTOS = "photos"
# `photos` keeps 300 kB of pixels per image, and two cores compute the features of some 50 images per second: this many take
# 1.5 GB and two minutes.
MAX_IMAGES = 5000
# In pixels. Learned from 600 images, the recipe has an accuracy of 94% on digits of 8 pixels, and a small network 99%. On the
# photographs of 32 pixels of CIFAR-10, it has 74%.
MIN_SIDE = 32


@dataclass(frozen=True, slots=True)
class RecipeChoice:
    """A recipe of ``conf/experiment``, None for none, and the reason in one line."""

    name: str | None
    reason: str


def choose_recipe(inspection: Inspection, dataset: Dataset, settings: Sequence[str]) -> RecipeChoice | None:
    """Choose a recipe by number and size of the images; return None if the user's settings choose a recipe or a model.

    Args:
        inspection: Of the images.
        dataset: Its limit bounds the number of the images.
        settings: The user's, such as ``transformation.size=96`` or ``model=resnet18``.
    """
    if any(_declines(setting.partition("=")[0].lstrip("+")) for setting in settings):
        return None
    images = count_images(inspection, dataset)
    if inspection.side is not None and inspection.side < MIN_SIDE:
        return _choose_none(f"the images have only {inspection.side} pixels a side")
    if images >= MAX_IMAGES:
        return _choose_none(f"there are {images:,} images")
    return RecipeChoice(
        PHOTOS,
        f"recipe: {GROUP}={PHOTOS}, a pretrained network, because there are fewer than {MAX_IMAGES:,} images; "
        f"{GROUP}=null trains the default network from random weights",
    )


def _choose_none(reason: str) -> RecipeChoice:
    text = f"recipe: none, the default network is trained from random weights, because {reason}; "
    return RecipeChoice(None, f"{text}{GROUP}={PHOTOS} takes a pretrained network")


def _declines(name: str) -> bool:
    """Return whether a setting chooses a recipe or a model, or belongs to another model than the recipe's."""
    section, _, key = name.partition(".")
    return name == GROUP or (section == MODEL and key.partition(".")[0] not in Probe.model_fields)


def count_images(inspection: Inspection, dataset: Dataset) -> int:
    """Return how many images of a source a data set has, which may be limited."""
    images = inspection.images.total()
    return min(images, dataset.limit or images)


def without_null(settings: Sequence[str]) -> list[str]:
    """Return the settings without ``experiment=null``, which Hydra's grammar does not allow and which means the default."""
    return [setting for setting in settings if setting != f"{GROUP}=null"]
