from pathlib import Path

import pytest

from visiongate.errors import DataError, SettingsError
from visiongate.optimization.fingerprint import check_study, study_settings
from visiongate.optimization.space import search_space
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings

SETTINGS = load_settings(Path(__file__).parents[2] / "params.yaml")


def space(dimension: dict[str, object]) -> Settings:
    tree = SETTINGS.model_dump()
    tree["optimize"]["space"] = {"it": dimension}
    return Settings.model_validate(tree)


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
        "model.name",
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
        {"setting": "model.options", "kind": "choice", "choices": [1]},
    ],
)
def test_invalid_range_raises(dimension: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=rf"^optimize\.space\.it: .*{dimension['setting']}"):
        search_space(space(dimension))


def test_setting_searched_twice_raises() -> None:
    tree = SETTINGS.model_dump()
    tree["optimize"]["space"]["again"] = tree["optimize"]["space"]["lr"]
    with pytest.raises(SettingsError, match=r"model\.lr"):
        search_space(Settings.model_validate(tree))


def test_model_options_and_null_are_searchable() -> None:
    (width,) = search_space(space({"setting": "model.options.width", "kind": "int", "low": 40, "high": 50}))
    # The current value, 32, has no influence.
    assert (width.low, width.high) == (40, 50)
    (patience,) = search_space(
        space({"setting": "training.patience", "kind": "choice", "choices": [3, None]})
    )
    assert patience.choices == [3, None]
    assert search_space(space({"setting": "training.patience", "kind": "int", "low": 1, "high": 9}))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model.lr", 1e-4),
        ("training.seed", 7),
        ("training.epochs", 3),
        ("engine.workers", 4),
        ("optimize.confirm_seeds", 6),
    ],
)
def test_search_does_not_depend_on_what_it_searches_or_on_what_has_no_effect(
    setting: str, value: object
) -> None:
    assert study_settings(replace_settings(SETTINGS, {setting: value}, "test")) == study_settings(SETTINGS)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model.options.width", 8),
        ("training.loss", "focal"),
        ("optimize.trials", 3),
    ],
)
def test_search_depends_on_the_other_settings(setting: str, value: object) -> None:
    changed = study_settings(replace_settings(SETTINGS, {setting: value}, "test"))
    assert changed != study_settings(SETTINGS)
    with pytest.raises(DataError, match="dvc repro recommend"):
        check_study(SETTINGS, changed)


def test_one_to_four_fresh_seeds_are_rejected() -> None:
    with pytest.raises(SettingsError, match="fewer than 5 seeds cannot show a difference"):
        replace_settings(SETTINGS, {"optimize.confirm_seeds": 1}, "test")
    replace_settings(SETTINGS, {"optimize.confirm_seeds": 0}, "test")
