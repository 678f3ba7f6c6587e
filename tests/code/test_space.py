import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from visiongate.errors import SettingsError
from visiongate.optimization.outcome import command
from visiongate.optimization.space import Value, search_space
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
    ("setting", "why"),
    [
        ("transformation.size", "the pixel arrays are made already, .*dvc exp run -S transformation.size"),
        ("transformation.split.seed", "the pixel arrays are made already"),
        ("dataset.limit", "the images are read already"),
        ("preparation.min_side", "the images are chosen already"),
        ("training.epochs", r"every trial trains for optimize\.epochs"),
        ("training.seed", "a lucky seed"),
        ("training.device", "where a model is trained"),
        ("evaluation.calibration_bins", "no training reads it"),
        ("optimize.trials", "no training reads it"),
    ],
)
def test_what_no_trial_can_try_is_refused_with_the_reason(setting: str, why: str) -> None:
    settings = space({"setting": setting, "kind": "choice", "choices": [1, 2]})
    with pytest.raises(SettingsError, match=rf"^optimize\.space\.it: {setting} cannot be searched: {why}"):
        search_space(settings)


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ({"setting": "model.lr", "kind": "float", "low": -1.0, "high": 1.0}, "model.lr = -1.0: must be"),
        ({"setting": "training.label_smoothing", "kind": "float", "low": 0.0, "high": 2.0}, "less than 1"),
        (
            {"setting": "model.optimizer", "kind": "choice", "choices": ["adam", "best"]},
            "'best': must be one of",
        ),
        (
            {"setting": "model.optimizer", "kind": "int", "low": 0, "high": 2},
            "is 'adamw' now, .* use kind choice",
        ),
        (
            {"setting": "training.patience", "kind": "int", "low": 1, "high": 9},
            "is None now, which no range of kind int",
        ),
        (
            {"setting": "model.lr", "kind": "int", "low": 1, "high": 9},
            "is 0.01 now, which no range of kind int",
        ),
        ({"setting": "model.options", "kind": "choice", "choices": [1]}, "is a list"),
    ],
)
def test_a_range_that_no_training_takes_is_refused_before_one_starts(
    dimension: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=rf"^optimize\.space\.it: .*{message}"):
        search_space(space(dimension))


def test_a_log_range_cannot_hold_a_current_zero() -> None:
    settings = space(
        {"setting": "model.weight_decay", "kind": "log", "low": 0.01, "high": 1.0}, model__weight_decay=0.0
    )
    with pytest.raises(SettingsError, match="is 0 now, which no range of kind log holds"):
        search_space(settings)


def test_a_setting_is_searched_once() -> None:
    tree = SETTINGS.model_dump()
    tree["optimize"]["space"]["again"] = tree["optimize"]["space"]["lr"]
    with pytest.raises(SettingsError, match=r"model\.lr is searched twice"):
        search_space(Settings.model_validate(tree))


def test_options_of_the_network_and_null_can_be_searched() -> None:
    (width,) = search_space(space({"setting": "model.options.width", "kind": "int", "low": 40, "high": 50}))
    assert (width.low, width.high) == (32, 50)  # the current value is within
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


def test_the_command_gives_back_every_value_with_all_its_digits() -> None:
    words = shlex.split(command(VALUES))
    assert words[:3] == ["dvc", "exp", "run"]
    overrides = OverridesParser.create().parse_overrides(words[4::2])
    assert {override.key_or_group: override.value() for override in overrides} == VALUES
