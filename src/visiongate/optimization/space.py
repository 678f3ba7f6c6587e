"""The space of a study: settings by dotted name, where to look, and what may be searched at all."""

import re
from typing import TYPE_CHECKING, Any

from visiongate.errors import SettingsError
from visiongate.settings.loading import replace_settings
from visiongate.settings.optimize import SearchRange
from visiongate.settings.schema import Settings

if TYPE_CHECKING:
    from optuna import Trial

Value = bool | int | float | str | None
Values = dict[str, Value]  # by the setting's dotted name
# What a trial cannot try, and why; the longest name that fits counts.
CLOSED = {
    "training.epochs": "every trial trains for optimize.epochs",
    "training.seed": "a lucky seed is no better setting; optimize.confirm_seeds tells the two apart",
    "training.device": "where a model is trained does not make it better",
    "training.launch": "a trial is trained by one process; optimize.workers has several trained at once",
    "dataset": "the images are read already",
    "validation": "the images are judged already",
    "preparation": "the images are chosen already",
    "transformation": "the pixel arrays are made already, and trials only train on them; to compare sizes, run the line for "
    "each: `dvc exp run -S transformation.size=...`",
}
OPEN = ("model.", "training.")


def search_space(settings: Settings) -> list[SearchRange]:
    """Return the dimensions, each wide enough for the current value, which trial 0 tries.

    Raises:
        SettingsError: A setting cannot be searched, or an end of its range is not allowed.
    """
    for name, dimension in settings.optimize.space.items():
        _check_open(name, dimension.setting)
    names = [dimension.setting for dimension in settings.optimize.space.values()]
    for name, dimension in settings.optimize.space.items():
        if names.count(dimension.setting) > 1:
            raise SettingsError(f"optimize.space.{name}: {dimension.setting} is searched twice")
    space = {
        name: _reach(name, dimension, settings.value(dimension.setting))
        for name, dimension in settings.optimize.space.items()
    }
    for name, dimension in space.items():
        for value in dimension.choices or _ends(dimension):
            replace_settings(settings, {dimension.setting: value}, f"optimize.space.{name}")
    return list(space.values())


def suggest(trial: "Trial", dimension: SearchRange) -> Value:
    """Have the study's sampler draw a value."""
    if dimension.choices is not None:
        chosen: Any = trial.suggest_categorical(dimension.setting, dimension.choices)
        return chosen  # type: ignore[no-any-return] # one of the choices
    low, high = _ends(dimension)
    if dimension.kind == "int":
        return trial.suggest_int(dimension.setting, int(low), int(high))
    return trial.suggest_float(dimension.setting, low, high, log=dimension.kind == "log")


def override(setting: str, value: Value) -> str:
    """Write a setting as Hydra and DVC take it after ``-S``, with all its digits."""
    if value is None or isinstance(value, bool):
        return f"{setting}={str(value).lower().replace('none', 'null')}"
    if isinstance(value, str) and not re.fullmatch(
        r"(?!null$|true$|false$|inf$|nan$)[a-z_][\w-]*", value, re.IGNORECASE
    ):
        return f'{setting}="{value}"'
    return f"{setting}={value}"


def _check_open(name: str, setting: str) -> None:
    closed = [prefix for prefix in CLOSED if f"{setting}.".startswith(f"{prefix}.")]
    if closed:
        raise SettingsError(f"optimize.space.{name}: {setting} cannot be searched: {CLOSED[closed[0]]}")
    if not setting.startswith(OPEN):
        raise SettingsError(f"optimize.space.{name}: {setting} cannot be searched: no training reads it")


def _ends(dimension: SearchRange) -> list[int] | list[float]:
    """Return the lower and the upper end of a range, whole where its values are."""
    ends = [float(dimension.low or 0), float(dimension.high or 0)]
    return [int(end) for end in ends] if dimension.kind == "int" else ends


def _reach(name: str, dimension: SearchRange, current: Any) -> SearchRange:  # noqa: ANN401 - whatever the setting holds
    """Widen a range to the current value: ``-S model.lr=1e-4`` must not break the search."""
    if dimension.choices is not None:
        if isinstance(current, list | dict):
            raise SettingsError(
                f"optimize.space.{name}: {dimension.setting} is a list, which cannot be searched"
            )
        missing = [] if current in dimension.choices else [current]
        return dimension.model_copy(update={"choices": [*dimension.choices, *missing]})
    fits = (int,) if dimension.kind == "int" else (int, float)
    if isinstance(current, bool) or not isinstance(current, fits):
        raise SettingsError(
            f"optimize.space.{name}: {dimension.setting} is {current!r} now, which no range of kind {dimension.kind} "
            "holds, and trial 0 tries it: set it to a number, or use kind choice"
        )
    if dimension.kind == "log" and current <= 0:
        raise SettingsError(
            f"optimize.space.{name}: {dimension.setting} is {current:g} now, which no range of kind log holds, and "
            "trial 0 tries it: use kind float, or set it above 0"
        )
    ends = [*_ends(dimension), float(current)]
    return dimension.model_copy(update={"low": min(ends), "high": max(ends)})
