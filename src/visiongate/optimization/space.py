"""The search space of a study: which settings are searched, and over which values."""

from visiongate.errors import SettingsError
from visiongate.settings.loading import replace_settings
from visiongate.settings.optimize import SearchRange
from visiongate.settings.schema import Settings

# Settings that a trial cannot change, and why.
NOT_SEARCHABLE = {
    "model.kind": "each model has options of its own; run `visiongate sweep model=...`",
    "model.name": "each model has options of its own; run `visiongate sweep model=...`",
    "training.epochs": "every trial trains for optimize.epochs",
    "training.seed": "a lucky seed is not a better setting",
    "training.device": "it does not change the model",
    "training.launch": "a trial is trained by one process; set engine.workers to train several trials at once",
    "dataset": "the images are prepared before the search",
    "validation": "the images are prepared before the search",
    "preparation": "the images are prepared before the search",
    "transformation": "the pixel arrays are made before the search; run `dvc exp run -S transformation.size=...` for each size",
}
SEARCHABLE = ("model.", "training.")


def search_space(settings: Settings) -> list[SearchRange]:
    """Return the dimensions of the search, checked.

    Raises:
        SettingsError: A setting cannot be searched or is searched twice, or a bound of its range is invalid.
    """
    seen: set[str] = set()
    for name, dimension in settings.optimize.space.items():
        key = f"optimize.space.{name}"
        _check_searchable(key, dimension.setting)
        if dimension.setting in seen:
            raise SettingsError(f"{key}: {dimension.setting} is searched twice; remove one of them")
        seen.add(dimension.setting)
        if isinstance(settings.value(dimension.setting), list | dict):
            raise SettingsError(f"{key}: {dimension.setting} cannot be searched: it has several values")
        for value in dimension.choices or bounds(dimension):
            replace_settings(settings, {dimension.setting: value}, key)
    return list(settings.optimize.space.values())


def _check_searchable(key: str, setting: str) -> None:
    for prefix, reason in NOT_SEARCHABLE.items():
        if f"{setting}.".startswith(f"{prefix}."):
            raise SettingsError(f"{key}: {setting} cannot be searched: {reason}")
    if not setting.startswith(SEARCHABLE):
        raise SettingsError(f"{key}: {setting} cannot be searched: it does not affect training")


def bounds(dimension: SearchRange) -> list[int] | list[float]:
    """Return both ends of a range: integers if its values are."""
    ends = [float(dimension.low or 0), float(dimension.high or 0)]
    return [int(end) for end in ends] if dimension.kind == "int" else ends
