"""``visiongate registry``: the output and the errors of its commands."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from command_line import run_cli
from registering import aliases
from visiongate.adapters.mlflow.runs import MODEL_TAG, open_run
from visiongate.adapters.mlflow.store import Store, open_store
from visiongate.commands.registry import WORK_TREE
from visiongate.errors import DataError
from visiongate.records.files import sha256_of
from visiongate.records.registration import RecordedLineage, Registration, write_registration
from visiongate.registration import stage as register
from visiongate.registry.committed import describe_committed
from visiongate.serving.sources.model_sources import FolderSource
from visiongate.settings.loading import load_settings
from visiongate.settings.schema import Settings
from workspaces import (
    ROOT,
    commit_workspace,
    enter_copy,
    enter_workspace,
    tracked_settings,
    write_judged_model,
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    commit_workspace()
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    return load_settings()


def registered(settings: Settings, threshold: float, accuracy: float = 0.9, *, passed: bool = True) -> None:
    write_judged_model(threshold, accuracy=accuracy, passed=passed)
    register.run(settings)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the registry of `store`."""
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patched:
        workspace = enter_workspace(folder / "workspace", patched)
        patched.setenv("GIT_CEILING_DIRECTORIES", str(folder))
        commit_workspace()
        settings = tracked_settings()
        registered(settings, 140, 0.945)
        registered(settings, 127.5, 1.0)
        registered(settings, 200, 0.5, passed=False)
    return workspace


@pytest.fixture
def store(settings: Settings, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A registry with two champions, one after the other, and a model that failed the gate."""
    enter_copy(registry, tmp_path / "copy", monkeypatch)
    return open_store(settings.tracking)


# List


@pytest.mark.usefixtures("store")
def test_versions_are_listed_latest_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        ["3", "-", "rejected", "0.5000"],
        ["2", "champion", "promoted", "1.0000"],
        ["1", "-", "promoted", "0.9450"],
    ]
    # Only a terminal's width cuts the reasons.
    assert not any(line.endswith("…") for line in lines)
    # The columns are aligned.
    start = lines[0].index("reason")
    assert all(line[start - 1] == " " and line[start] != " " for line in lines)


def test_rolled_back_version_is_marked(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "rollback", "--reason", "slow") == 0
    run_cli("registry", "list")
    lines = capsys.readouterr().out.splitlines()
    assert "version 1" in lines[0]
    assert "rolled back 20" in lines[3]
    version = store.client.get_model_version("digits-classifier", "2")
    store.client.delete_run(version.run_id)
    assert run_cli("registry", "list") == 0


@pytest.mark.usefixtures("settings")
def test_empty_registry_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "list") == 0
    assert "`visiongate registry register`" in capsys.readouterr().out


@pytest.mark.usefixtures("store")
def test_rollback_to_a_rejected_version_needs_force(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "rollback", "--to", "3") == 2
    error = capsys.readouterr().err
    assert "--force" in error
    assert error.count("\n") == 1
    assert run_cli("registry", "rollback", "--to", "3", "--force") == 0


# Promote


def test_version_is_promoted_by_hand_with_force_only(
    store: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("registry", "promote", "1") == 2
    assert "--force" in capsys.readouterr().err
    assert run_cli("registry", "promote", "1", "--force", "--reason", "smaller") == 0
    assert aliases(store, settings) == {"champion": "1"}
    run_cli("registry", "list")
    assert "promoted by hand 20" in capsys.readouterr().out


def test_uncommitted_model_is_not_promoted(
    store: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "add", "params.yaml"], check=True)
    assert run_cli("registry", "promote") == 2
    error = capsys.readouterr().err
    assert "params.yaml" in error
    assert "`visiongate registry promote`" in error
    assert aliases(store, settings) == {"champion": "2"}


def test_invalid_setting_is_an_error(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["registry"]["alpha"] = settings.registry.alpha + 1
    Path("params.yaml").write_text(yaml.safe_dump(content))
    assert run_cli("registry", "list") == 2
    assert "registry.alpha" in capsys.readouterr().err


# Compare


def log(settings: Settings, name: str, params: dict[str, object], metrics: dict[str, float]) -> None:
    with open_run(settings.tracking, name, params, {MODEL_TAG: name}) as run:
        run.log_metrics(metrics, 0)


def test_best_runs_are_compared(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(6):
        params = {"model": {"lr": index / 10, "name": "small"}, "training": {"epochs": 5 if index else 6}}
        log(
            settings, f"run {index}", params, {"test/accuracy": 0.9 + index / 100, "val_loss": 1 - index / 10}
        )
    log(settings, "cut off", {}, {"val_loss": 0.01})
    assert run_cli("registry", "compare", "--top", "3") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["name"].split()[1:] == ["run", "5", "run", "4", "run", "3"]
    assert lines["test/accuracy"].split()[1:] == ["0.95", "0.94", "0.93"]
    assert lines["model.lr"].split()[1:] == ["0.5", "0.4", "0.3"]
    assert lines["version"].split()[1:] == ["-", "-", "-"]
    # Parameters that are equal in all runs are left out.
    assert "model.name" not in lines
    assert "training.epochs" not in lines


def test_kept_epoch_is_shown_beside_the_test(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    log(settings, "one", {}, {"test/accuracy": 0.9, "val_loss": 0.8, "kept/val_loss": 0.5, "speed": 3.0})
    assert run_cli("registry", "compare") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["kept/val_loss", "0.5"] in rows
    assert ["speed", "3"] in rows
    assert not [row for row in rows if row[:1] == ["val_loss"]]


def test_lowest_loss_is_best_and_many_runs_are_split(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(6):
        log(settings, f"run {index}", {}, {"val_loss": 1 - index / 10})
    assert run_cli("registry", "compare", "--top", "6", "--metric", "val_loss") == 0
    output = capsys.readouterr().out
    assert all(len(line) <= 100 for line in output.splitlines())
    names = [line.split("run ")[1:] for line in output.splitlines() if line.startswith("name")]
    assert [name.strip() for row in names for name in row] == ["5", "4", "3", "2", "1", "0"]
    assert len(names) == 2


@pytest.mark.usefixtures("store")
def test_run_has_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli("registry", "compare")
    output = capsys.readouterr().out
    (line,) = [line for line in output.splitlines() if line.startswith("version")]
    assert line.split()[1:] == ["2", "champion", "1", "3"]


def test_unknown_metric_is_an_error(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "compare") == 2
    assert "test/accuracy" in capsys.readouterr().err
    log(settings, "one", {}, {"val_loss": 1.0})
    assert run_cli("registry", "compare", "--metric", "nonsense") == 2
    assert "val_loss" in capsys.readouterr().err


@pytest.mark.parametrize("top", ["0", "many"])
def test_number_of_runs_must_be_positive(top: str) -> None:
    assert run_cli("registry", "compare", "--top", top) == 2


# Trace


@pytest.mark.usefixtures("store")
def test_trace_shows_what_the_version_was_made_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "trace") == 0
    output = capsys.readouterr().out
    assert output.startswith("models:/digits-classifier/2 (champion)\n")
    words = [line.split() for line in output.splitlines()]
    assert ["data/raw", "md5", "unknown"] in words
    # A run that was created from the records has the environment that `train` wrote.
    assert ["python", "3.11.0"] in words
    assert ["packages", "torch", "2.13.0"] in words


def test_version_without_commit_cannot_be_rebuilt(
    store: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    store.client.set_model_version_tag(settings.registry.name, "2", "mlflow.source.git.commit", "unknown")
    assert run_cli("registry", "trace", "--verify") == 2
    assert "models:/digits-classifier/2" in capsys.readouterr().err


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "uri",
    [
        "models:/digits-classifier/9",
        "models:/digits-classifier@nobody",
        "models:/other@champion",
        "digits",
    ],
)
def test_missing_version_is_an_error(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "trace", uri) == 2
    assert uri in capsys.readouterr().err


# Export


@pytest.mark.usefixtures("store")
def test_a_version_is_exported_for_the_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "to serve"
    assert run_cli("registry", "export", "--to", str(folder)) == 0
    assert f"serve it with `visiongate serve '{folder}'`" in capsys.readouterr().out
    champion = FolderSource(folder).current()
    assert (champion.version, champion.aliases) == ("2", ("champion",))
    assert sha256_of(champion.path) == champion.sha256
    assert str(champion.card).startswith("# ")
    assert champion.lineage["git_dirty"] == "false"
    assert "registered_at" in champion.lineage

    assert run_cli("registry", "export", "1", "--to", str(folder)) == 0
    first = FolderSource(folder).current()
    assert first.version == "1"
    assert sha256_of(first.path) == first.sha256 != champion.sha256

    # A missing version leaves the folder as it is.
    assert run_cli("registry", "export", "9", "--to", str(folder)) == 2
    assert "9: no such version or alias of" in capsys.readouterr().err
    assert FolderSource(folder).current() == first


@pytest.fixture
def committed(settings: Settings) -> Registration:
    """A promoted model in a work tree whose registry is empty, as in a fresh clone."""
    write_judged_model(127.5, accuracy=1.0, passed=True)
    sha256, name = sha256_of(WORK_TREE.model), settings.registry.name
    lineage = RecordedLineage(
        "e6e5f73", git_dirty=False, data_md5={}, model_md5="", params_sha256=None, differences=[]
    )
    registration = Registration(
        decision="promoted",
        reason="there was no champion",
        name=name,
        version="7",
        aliases=["champion"],
        model_sha256=sha256,
        gate_passed=True,
        previous_champion=None,
        comparison=None,
        lineage=lineage,
    )
    write_registration(WORK_TREE.registration, registration)
    return registration


def test_without_a_champion_the_committed_model_is_exported(
    committed: Registration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "to serve"
    assert run_cli("registry", "export", "--to", str(folder)) == 0
    file = FolderSource(folder).current()
    assert (file.name, file.version, file.aliases) == (committed.name, "7", ("champion",))
    assert sha256_of(file.path) == file.sha256 == committed.model_sha256
    assert file.lineage["git_commit"] == "e6e5f73"

    # Other versions are in a registry only.
    assert run_cli("registry", "export", "7", "--to", str(folder)) == 2
    assert "7: no such version or alias of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.unlink(), "no such file; run: dvc pull models/model.onnx"),
        (lambda model: model.write_bytes(b"another"), "reports/registration.json promoted"),
    ],
)
def test_the_committed_model_must_be_the_promoted_one(
    committed: Registration, change: Callable[[Path], object], message: str
) -> None:
    change(WORK_TREE.model)
    with pytest.raises(DataError, match=message):
        describe_committed(WORK_TREE, committed.name)


def test_a_model_that_was_not_promoted_under_this_name_is_not_described(committed: Registration) -> None:
    assert describe_committed(WORK_TREE, "another") is None
    write_registration(WORK_TREE.registration, replace(committed, decision="registered"))
    assert describe_committed(WORK_TREE, committed.name) is None
