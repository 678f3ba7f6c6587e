"""The search space of a study: which settings are searched, and over which values."""

import re
from typing import TYPE_CHECKING, Any

from visiongate.errors import SettingsError
from visiongate.records.search import Value
from visiongate.settings.loading import replace_settings
from visiongate.settings.optimize import SearchRange
from visiongate.settings.schema import Settings

if TYPE_CHECKING:
    from optuna import Trial

# Settings that a trial cannot change, and why.
NOT_SEARCHABLE = {
    "training.epochs": "every trial trains for optimize.epochs",
    "training.seed": "a lucky seed is not a better setting; optimize.confirm_seeds tests that",
    "training.device": "it does not change the model",
    "training.launch": "a trial is trained by one process; set optimize.workers to train several trials at once",
    "dataset": "the images are prepared before the search",
    "validation": "the images are prepared before the search",
    "preparation": "the images are prepared before the search",
    "transformation": "the pixel arrays are made before the search; run `dvc exp run -S transformation.size=...` for each size",
}
SEARCHABLE = ("model.", "training.")
# Text that Hydra reads as text without quotes.
_PLAIN_TEXT = re.compile(r"(?!null$|true$|false$|inf$|nan$)[a-z_][\w-]*", re.IGNORECASE)


def search_space(settings: Settings) -> list[SearchRange]:
    """Return the dimensions of the search, each widened to include the current value, which trial 0 tries.

    Raises:
        SettingsError: A setting cannot be searched or is searched twice, or a bound of its range is invalid.
    """
    seen: set[str] = set()
    space = []
    for name, dimension in settings.optimize.space.items():
        key = f"optimize.space.{name}"
        _check_searchable(key, dimension.setting)
        if dimension.setting in seen:
            raise SettingsError(f"{key}: {dimension.setting} is searched twice; remove one of them")
        seen.add(dimension.setting)
        widened = _include_current(key, dimension, settings.value(dimension.setting))
        for value in widened.choices or _bounds(widened):
            replace_settings(settings, {dimension.setting: value}, key)
        space.append(widened)
    return space


def suggest(trial: "Trial", dimension: SearchRange) -> Value:
    """Return the value that the study's sampler suggests."""
    if dimension.choices is not None:
        choice: Any = trial.suggest_categorical(dimension.setting, dimension.choices)
        return choice  # type: ignore[no-any-return] # one of the choices
    low, high = _bounds(dimension)
    if dimension.kind == "int":
        return trial.suggest_int(dimension.setting, int(low), int(high))
    return trial.suggest_float(dimension.setting, low, high, log=dimension.kind == "log")


def format_override(setting: str, value: Value) -> str:
    """Return an override as Hydra and ``dvc exp run -S`` read it, with all digits of the value."""
    if value is None or isinstance(value, bool):
        return f"{setting}={str(value).lower().replace('none', 'null')}"
    if isinstance(value, str) and not _PLAIN_TEXT.fullmatch(value):
        return f'{setting}="{value}"'
    return f"{setting}={value}"


def _check_searchable(key: str, setting: str) -> None:
    for prefix, reason in NOT_SEARCHABLE.items():
        if f"{setting}.".startswith(f"{prefix}."):
            raise SettingsError(f"{key}: {setting} cannot be searched: {reason}")
    if not setting.startswith(SEARCHABLE):
        raise SettingsError(f"{key}: {setting} cannot be searched: it does not affect training")


def _bounds(dimension: SearchRange) -> list[int] | list[float]:
    bounds = [float(dimension.low or 0), float(dimension.high or 0)]
    return [int(bound) for bound in bounds] if dimension.kind == "int" else bounds


def _include_current(key: str, dimension: SearchRange, current: Any) -> SearchRange:  # noqa: ANN401 - a setting's value
    """Widen a range to the current value, so that ``-S model.lr=1e-4`` does not break the search."""
    if dimension.choices is not None:
        if isinstance(current, list | dict):
            raise SettingsError(f"{key}: {dimension.setting} cannot be searched: it is a list")
        missing = [] if current in dimension.choices else [current]
        return dimension.model_copy(update={"choices": [*dimension.choices, *missing]})
    number = int if dimension.kind == "int" else int | float
    if isinstance(current, bool) or not isinstance(current, number):
        raise SettingsError(
            f"{key}: kind {dimension.kind} cannot include the current value {dimension.setting} = {current!r}; "
            "use kind choice, or change the value"
        )
    if dimension.kind == "log" and current <= 0:
        raise SettingsError(
            f"{key}: kind log cannot include the current value {dimension.setting} = {current:g}; use kind float, or change "
            "the value"
        )
    bounds = [*_bounds(dimension), float(current)]
    return dimension.model_copy(update={"low": min(bounds), "high": max(bounds)})
