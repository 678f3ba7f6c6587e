"""The settings of the service: defaults, ``params.yaml``, the environment and the command line."""

import math
from pathlib import Path

import pytest
import yaml

from visiongate.commands.serve import url_of
from visiongate.errors import SettingsError
from visiongate.settings.monitoring import Monitoring
from visiongate.settings.serving import Serving
from visiongate.settings.serving_environment import load_serving
from workspaces import ROOT

PARAMS, NONE = ROOT / "params.yaml", Path("no such file")


def test_the_defaults_are_those_of_conf() -> None:
    configured = yaml.safe_load((ROOT / "conf/serving/default.yaml").read_text())

    assert Serving().model_dump() == configured


def test_the_registry_is_that_of_the_pipeline_unless_another_is_given() -> None:
    deployment = load_serving(PARAMS, {})
    other = load_serving(PARAMS, {"MLFLOW_TRACKING_URI": "http://mlflow:5000"})

    assert deployment.serving.registry.uri == "sqlite:///mlruns/mlflow.db"
    assert deployment.registered_name == "digits-classifier"
    assert other.serving.registry.uri == "http://mlflow:5000"


def test_without_params_the_defaults_hold() -> None:
    deployment = load_serving(NONE, {})

    assert deployment.serving == Serving()
    assert deployment.registered_name is None


def test_long_names_precede_short_ones_and_options_precede_both() -> None:
    environment = {"PORT": "1", "VISIONGATE_SERVING__PORT": "2", "HOST": "0.0.0.0", "LOG_LEVEL": "debug"}  # noqa: S104

    serving = load_serving(NONE, environment).serving
    given = load_serving(NONE, environment, {"serving.port": 3}).serving

    assert (serving.port, given.port) == (2, 3)
    assert (serving.host, serving.log_level) == ("0.0.0.0", "DEBUG")  # noqa: S104


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("MODEL", "models:/pets@champion", "models:/pets@champion"),
        ("MODEL", "", None),
        ("MODELS", "{cats: 'a.onnx'}", {"cats": "a.onnx"}),
        ("THRESHOLD", "0.3", 0.3),
        ("CORS_ORIGINS", "[https://a.example]", ["https://a.example"]),
    ],
)
def test_a_variable_has_the_type_of_its_setting(variable: str, text: str, value: object) -> None:
    serving = load_serving(NONE, {f"VISIONGATE_SERVING__{variable}": text}).serving

    assert getattr(serving, variable.lower()) == value


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PORT": "many"}, "PORT: serving.port = 'many' is invalid"),
        ({"VISIONGATE_SERVING__LIMITS__FILS": "3"}, "unknown key; did you mean files?"),
        ({"VISIONGATE_SERVING__LIMITS__FILES": "0"}, "greater than or equal to 1"),
        (
            {"VISIONGATE_SERVING__MODEL__PATH": "a"},
            "VISIONGATE_SERVING__MODEL__PATH: model in serving.model.path is not a section",
        ),
        ({"VISIONGATE_SERVING__MODELS": "{"}, "VISIONGATE_SERVING__MODELS = '{': invalid value"),
        ({"VISIONGATE_SERVING__LIMITS__BYTES": "1"}, "must be at least limits.body_bytes"),
        (
            {"VISIONGATE_SERVING__LOG__ENABLED": "false", "VISIONGATE_SERVING__LOG__IMAGES__KEEP": "all"},
            "images.keep = all needs the prediction log",
        ),
    ],
)
def test_an_invalid_variable_is_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_serving(NONE, environment)

    assert message in str(error.value)


@pytest.mark.parametrize(
    ("variable", "advice"),
    [
        ("SERVING_LOG_IMAGES_KEEP", "; did you mean VISIONGATE_SERVING__LOG__IMAGES__KEEP?"),
        ("SERVING_LOG__IMAGES_KEPT", "; did you mean VISIONGATE_SERVING__LOG__IMAGES__KEEP?"),
        ("MONITORING_DRIFT_WINDOW", "; did you mean VISIONGATE_MONITORING__DRIFT__WINDOW_HOURS?"),
    ],
)
def test_a_variable_that_is_no_setting_has_a_warning(
    caplog: pytest.LogCaptureFixture, variable: str, advice: str
) -> None:
    deployment = load_serving(NONE, {f"VISIONGATE_{variable}": "all", "VISIONGATE_SERVING__LOG__DAYS": "9"})

    assert deployment.serving.log.images == Serving().log.images
    assert caplog.messages == [f"VISIONGATE_{variable} is not a setting, and is ignored{advice}"]


def test_an_invalid_option_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^--window: monitoring\.drift\.window_hours = nan is invalid"):
        load_serving(NONE, {}, {"monitoring.drift.window_hours": math.nan})


def test_the_name_of_the_first_model_is_taken() -> None:
    with pytest.raises(
        SettingsError, match=r"VISIONGATE_SERVING__MODELS.*serving\.models.*`default` is that of"
    ):
        load_serving(NONE, {"VISIONGATE_SERVING__MODELS": "{default: a.onnx}"})


@pytest.mark.parametrize(
    ("host", "url"), [("::1", "http://[::1]:8000"), ("127.0.0.1", "http://127.0.0.1:8000")]
)
def test_the_address_in_the_log_is_valid(host: str, url: str) -> None:
    assert url_of(host, 8000) == url


def test_the_defaults_of_monitoring_are_those_of_conf() -> None:
    folder = ROOT / "conf/monitoring"
    configured = yaml.safe_load((folder / "default.yaml").read_text())
    configured |= {
        group.name: yaml.safe_load((group / "default.yaml").read_text())
        for group in folder.iterdir()
        if group.is_dir()
    }

    assert Monitoring().model_dump() == configured


def test_a_variable_switches_a_test_for_drift_off() -> None:
    rules = load_serving(NONE, {"VISIONGATE_MONITORING__RULES__ASPECT__ENABLED": "false"}).monitoring.rules

    assert [test for test in rules if not rules[test].enabled] == ["aspect"]


def test_a_test_for_drift_without_a_rule_is_rejected() -> None:
    with pytest.raises(SettingsError, match=r"monitoring\.rules: the tests format, .* are missing"):
        load_serving(NONE, {"VISIONGATE_MONITORING__RULES": "{flood: {}}"})
