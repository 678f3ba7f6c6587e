import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from visiongate.errors import SettingsError
from visiongate.optimization.report import format_command
from visiongate.optimization.space import search_space
from visiongate.records.search import Value
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings

SETTINGS = load_settings(Path(__file__).parents[2] / "params.yaml")


def space(dimension: dict[str, object], **values: object) -> Settings:
    tree = SETTINGS.model_dump()
    tree["optimize"]["space"] = {"it": dimension}
    settings = Settings.model_validate(tree)
    return replace_settings(
        settings, {key.replace("__", "."): value for key, value in values.items()}, "test"
    )


@pytest.mark.parametrize(
    "setting",
    [
        "transformation.size",
        "transformation.split.seed",
        "dataset.limit",
        "preparation.min_side",
        "training.epochs",
        "training.seed",
        "training.device",
        "evaluation.calibration_bins",
        "optimize.trials",
    ],
)
def test_setting_that_a_trial_cannot_change_raises(setting: str) -> None:
    settings = space({"setting": setting, "kind": "choice", "choices": [1, 2]})
    with pytest.raises(SettingsError, match=rf"^optimize\.space\.it: {setting}"):
        search_space(settings)


@pytest.mark.parametrize(
    "dimension",
    [
        {"setting": "model.lr", "kind": "float", "low": -1.0, "high": 1.0},
        {"setting": "training.label_smoothing", "kind": "float", "low": 0.0, "high": 2.0},
        {"setting": "model.optimizer", "kind": "choice", "choices": ["adam", "best"]},
        {"setting": "model.optimizer", "kind": "int", "low": 0, "high": 2},
        {"setting": "training.patience", "kind": "int", "low": 1, "high": 9},
        {"setting": "model.lr", "kind": "int", "low": 1, "high": 9},
        {"setting": "model.options", "kind": "choice", "choices": [1]},
    ],
)
def test_invalid_range_raises(dimension: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=rf"^optimize\.space\.it: .*{dimension['setting']}"):
        search_space(space(dimension))


def test_log_range_cannot_include_zero() -> None:
    settings = space(
        {"setting": "model.weight_decay", "kind": "log", "low": 0.01, "high": 1.0}, model__weight_decay=0.0
    )
    with pytest.raises(SettingsError, match="log"):
        search_space(settings)


def test_setting_searched_twice_raises() -> None:
    tree = SETTINGS.model_dump()
    tree["optimize"]["space"]["again"] = tree["optimize"]["space"]["lr"]
    with pytest.raises(SettingsError, match=r"model\.lr"):
        search_space(Settings.model_validate(tree))


def test_model_options_and_null_are_searchable() -> None:
    (width,) = search_space(space({"setting": "model.options.width", "kind": "int", "low": 40, "high": 50}))
    # The range includes the current value.
    assert (width.low, width.high) == (32, 50)
    (patience,) = search_space(
        space({"setting": "training.patience", "kind": "choice", "choices": [3, None]})
    )
    assert patience.choices == [3, None]


VALUES: dict[str, Value] = {
    "a": 0.1234567890123456,
    "b": 1e-05,
    "c": 64,
    "d": True,
    "e": None,
    "f": "one_cycle",
    "g": "null",
    "h": "two words, and = more",
    "i": "12",
}


def test_command_keeps_every_digit() -> None:
    words = shlex.split(format_command(VALUES))
    assert words[:3] == ["dvc", "exp", "run"]
    overrides = OverridesParser.create().parse_overrides(words[4::2])
    assert {override.key_or_group: override.value() for override in overrides} == VALUES
