"""Where the settings of a run come from, and what is refused."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowSkipException, ParamValidationError
from airflow.utils.types import DagRunType

from visiongate_dags.errors import RunError
from visiongate_dags.feedback import ADDRESS, IMAGES
from visiongate_dags.project import Project
from visiongate_dags.settings import (
    KEEP_RUNS,
    RunSettings,
    make_params,
    read_project,
    read_run_settings,
    read_workspace,
)
from visiongate_dags.tasks import RETRAIN, find_feedback

RULE = '++gate.rules.accuracy={{metric: accuracy, comparison: ">=", threshold: {}}}'


def settings(conf: dict[str, Any] | None = None, extra: dict[str, Any] | None = None) -> RunSettings:
    """Read the settings of a run by hand, or of one that an event with this extra started."""
    params = ParamsDict(make_params(fetch=False))
    params.update({name: value for name, value in (conf or {}).items() if name in params})
    event = SimpleNamespace(extra=extra, timestamp=datetime.now(UTC))
    events = {} if extra is None else {Asset("visiongate_data"): [event]}
    context = {
        "params": params.validate(),
        "dag_run": SimpleNamespace(conf=conf),
        "triggering_asset_events": events,
    }
    return read_run_settings(context)


def test_without_settings_the_pipeline_is_that_of_the_repository() -> None:
    assert settings() == RunSettings(None, (), fetch=False, emails=(), keep_runs=KEEP_RUNS)
    assert (read_project().folder / "dvc.yaml").exists()
    assert read_workspace(read_project()).is_relative_to(read_project().folder)


def test_the_configuration_counts_before_the_event_and_that_before_the_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_VISIONGATE_ACCURACY_THRESHOLD", "0.5")
    monkeypatch.setenv("AIRFLOW_VAR_VISIONGATE_OVERRIDES", "training.epochs=1 'dataset.name=my pets'")
    monkeypatch.setenv("AIRFLOW_VAR_VISIONGATE_EMAILS", '["a@example.org"]')
    monkeypatch.setenv("AIRFLOW_VAR_VISIONGATE_KEEP_RUNS", "9")
    made = settings()
    assert made.overrides == ("training.epochs=1", "dataset.name=my pets", RULE.format(0.5))
    assert (made.emails, made.keep_runs, made.fetch) == (("a@example.org",), 9, False)
    event = settings(extra={"accuracy_threshold": 0.6, "data": "digits", "from_rest_api": True})
    assert event.overrides[-1] == RULE.format(0.6)
    assert (event.data, event.fetch) == ("digits", True)
    by_hand = settings(
        {"accuracy_threshold": 0.7, "overrides": ["model.lr=1e-4"]}, {"accuracy_threshold": 0.6}
    )
    assert by_hand.overrides == ("model.lr=1e-4", RULE.format(0.7))
    assert settings({"accuracy_threshold": 0}).overrides[-1] == RULE.format(0)


@pytest.mark.parametrize(
    "conf",
    [
        {"data": "--help"},
        {"data": "-y"},
        {"data": ""},
        {"data": "a\n--help"},
        {"overrides": ["training.epochs=60\ntraining.seed: 7"]},
        {"overrides": ["training.seed=${oc.env:HOME}"]},
        {"overrides": ["--config=/etc/passwd"]},
        {"overrides": "training.epochs=1"},
        {"accuracy_threshold": 1.5},
        {"accuracy_threshold": "high"},
        {"keep_runs": 0},
        {"emails": ["nobody"]},
        {"fetch": "yes"},
    ],
)
def test_the_form_refuses_invalid_values(conf: dict[str, Any]) -> None:
    with pytest.raises(ParamValidationError):
        settings(conf)


@pytest.mark.parametrize(
    ("name", "text"),
    [("DATA", "--help"), ("ACCURACY_THRESHOLD", "high"), ("KEEP_RUNS", "0"), ("OVERRIDES", "--help")],
)
def test_invalid_variables_are_named(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"AIRFLOW_VAR_VISIONGATE_{name}", text)
    with pytest.raises(RunError, match=rf"the Variable visiongate_{name.lower()} = .* is invalid"):
        settings()


def test_unknown_and_invalid_names_of_a_configuration_or_an_event_are_named() -> None:
    with pytest.raises(
        RunError, match=r"the run's configuration has unknown names: treshold; choose from accuracy"
    ):
        settings({"treshold": 0.9})
    with pytest.raises(RunError, match=r"the event's extra has unknown names: shell"):
        settings(extra={"shell": "rm"})
    with pytest.raises(RunError, match=r"data in the event's extra = '--help' is invalid"):
        settings(extra={"data": "--help"})


# Whether a run asks for a new model, and collects labels


def find(project: Project, run_type: DagRunType, *assets: str) -> bool:
    """Return whether a run collects the labels of the log."""
    context = {
        "dag_run": SimpleNamespace(run_type=run_type),
        "triggering_asset_events": {Asset(name): [] for name in assets},
    }
    return find_feedback(context, project) is not None


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a log, and an interpreter that answers as `visiongate retrain-check` with the verdict in a file."""
    monkeypatch.setenv(ADDRESS, "sqlite:///predictions.sqlite")
    monkeypatch.setenv(IMAGES, "images")
    (tmp_path / "predictions.sqlite").touch()
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nprintf \'{{"verdict": "%s"}}\' "$(cat {tmp_path}/verdict)" > "$5"\n')
    python.chmod(0o755)
    return Project(tmp_path, python)


def test_a_scheduled_run_trains_if_a_model_is_due(project: Project) -> None:
    (project.folder / "verdict").write_text("retrain")
    assert find(project, DagRunType.SCHEDULED)
    for verdict in ("no need", "cannot say"):
        (project.folder / "verdict").write_text(verdict)
        with pytest.raises(AirflowSkipException, match="no new model is due"):
            find(project, DagRunType.SCHEDULED)


def test_a_scheduled_run_without_a_log_trains_on_the_data(project: Project) -> None:
    (project.folder / "predictions.sqlite").unlink()
    assert not find(project, DagRunType.SCHEDULED)


def test_a_run_by_hand_or_by_an_event_is_not_questioned(project: Project) -> None:
    (project.folder / "verdict").write_text("no need")
    assert not find(project, DagRunType.MANUAL)
    assert not find(project, DagRunType.ASSET_TRIGGERED, "visiongate_data")
    assert find(project, DagRunType.ASSET_TRIGGERED, RETRAIN)
