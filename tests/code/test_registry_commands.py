"""``make registry``, ``rollback``, ``compare`` and ``trace``: what they print, and what they say no to."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from command_line import run_cli
from visiongate.adapters.mlflow.runs import MODEL_TAG, open_run
from visiongate.adapters.mlflow.store import Store, open_store
from visiongate.records.files import sha256_of
from visiongate.registration import stage as register
from visiongate.settings.loading import load_settings
from visiongate.settings.schema import Settings
from workspaces import ROOT, enter_workspace, write_judged_model


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    return load_settings()


def registered(settings: Settings, threshold: float, accuracy: float = 0.9, *, passed: bool = True) -> None:
    write_judged_model(threshold, accuracy=accuracy, passed=passed)
    register.run(settings)


@pytest.fixture
def store(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Store:
    """Two champions, one after the other, and a model that the gate refused."""
    registered(settings, 140, 0.945)
    registered(settings, 127.5, 1.0)
    registered(settings, 200, 0.5, passed=False)
    capsys.readouterr()
    return open_store(settings.tracking)


# make registry


@pytest.mark.usefixtures("store")
def test_versions_are_listed_the_latest_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "version",
        "aliases",
        "decision",
        "accuracy",
        "date",
        "(UTC)",
        "commit",
        "reason",
    ]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["3", "-", "rejected", "0.5000"],
        ["2", "champion", "promoted", "1.0000"],
        ["1", "-", "promoted", "0.9450"],
    ]
    assert all(len(line) <= 100 for line in lines)
    assert lines[2].endswith("…")
    # The columns are aligned.
    start = lines[0].index("reason")
    assert [line[start:][:9] for line in lines[1:]] == ["the gate ", "better: a", "it passed"]


def test_a_rolled_back_version_says_so(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "rollback", "--reason", "slow") == 0
    run_cli("registry", "list")
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "digits-classifier: version 1 is champion"
    assert "rolled back 20" in told[3]
    version = store.client.get_model_version("digits-classifier", "2")
    store.client.delete_run(version.run_id)
    assert run_cli("registry", "list") == 0


@pytest.mark.usefixtures("settings")
def test_an_empty_registry_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "list") == 0
    assert "no version yet; `make register` registers the model at hand" in capsys.readouterr().out


@pytest.mark.usefixtures("store")
def test_a_rollback_that_is_refused_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "rollback", "--to", "3") == 2
    assert capsys.readouterr().err == (
        "rollback: registered model digits-classifier: version 3 never passed the gate; FORCE=1 puts it into service all the "
        "same\n"
    )
    assert run_cli("registry", "rollback", "--to", "3", "--force") == 0


def test_a_bad_setting_is_one_line(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["registry"]["alpha"] = settings.registry.alpha + 1
    Path("params.yaml").write_text(yaml.safe_dump(content))
    assert run_cli("registry", "list") == 2
    assert capsys.readouterr().err.startswith("show: params.yaml: registry.alpha = 1.05: must be ")


# make compare


def log(settings: Settings, name: str, params: dict[str, object], metrics: dict[str, float]) -> None:
    with open_run(settings.tracking, name, params, {MODEL_TAG: name}) as run:
        run.log_metrics(metrics, 0)


def test_the_best_runs_stand_side_by_side(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert "model.name" not in lines  # it is the same in all
    assert "training.epochs" not in lines


def test_of_losses_the_lowest_are_best_and_many_runs_are_split(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(6):
        log(settings, f"run {index}", {}, {"val_loss": 1 - index / 10})
    assert run_cli("registry", "compare", "--top", "6", "--metric", "val_loss") == 0
    told = capsys.readouterr().out
    assert all(len(line) <= 100 for line in told.splitlines())
    names = [line.split("run ")[1:] for line in told.splitlines() if line.startswith("name")]
    assert [name.strip() for row in names for name in row] == ["5", "4", "3", "2", "1", "0"]
    assert len(names) == 2


@pytest.mark.usefixtures("store")
def test_a_run_names_the_version_made_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli("registry", "compare")
    told = capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if line.startswith("version")]
    assert line.split()[1:] == ["2", "champion", "1", "3"]


def test_a_metric_that_no_run_has_is_named(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "compare") == 2
    assert capsys.readouterr().err == (
        "compare: METRIC=test/accuracy: no run of the experiment has it; there is no run yet; `make repro` makes one\n"
    )
    log(settings, "one", {}, {"val_loss": 1.0})
    assert run_cli("registry", "compare", "--metric", "nonsense") == 2
    assert capsys.readouterr().err.endswith("no run of the experiment has it; there are val_loss\n")


@pytest.mark.parametrize("top", ["0", "many"])
def test_a_number_of_runs_must_be_one(top: str) -> None:
    with pytest.raises(SystemExit):
        run_cli("registry", "compare", "--top", top)


# make trace: what it tells


@pytest.mark.usefixtures("store")
def test_a_trace_tells_what_the_version_was_made_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "trace") == 0
    told = capsys.readouterr().out
    assert told.startswith("models:/digits-classifier/2 (champion)\n")
    words = [line.split() for line in told.splitlines()]
    assert ["commit", "unknown", "(clean", "or", "not:", "unknown)"] in words
    assert ["data/raw", "md5", "unknown"] in words
    assert ["python", "unknown"] in words
    assert "It cannot be made again: it was registered outside of a git commit." in told
    assert run_cli("registry", "trace", "models:/digits-classifier/1") == 0
    assert capsys.readouterr().out.startswith("models:/digits-classifier/1\n")


@pytest.mark.usefixtures("store")
def test_what_has_no_commit_cannot_be_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "trace", "--verify") == 1
    assert "trace: models:/digits-classifier/2: its commit or its md5 is not known" in capsys.readouterr().err


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("models:/digits-classifier/9", "there is no such version; `make registry` lists"),
        ("models:/digits-classifier@nobody", "there is no such version"),
        ("models:/other@champion", "there is no such version"),
        ("digits", "a version is named models:/NAME/3 or models:/NAME@champion"),
    ],
)
def test_a_version_that_is_not_there_is_told(uri: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "trace", uri) == 2
    assert capsys.readouterr().err.startswith(f"trace: VERSION={uri}: {told}")


def test_a_training_s_environment_is_told(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    write_judged_model()
    sha256 = sha256_of(Path("models/model.onnx"))
    with open_run(settings.tracking, "train tiny", {"model": {"lr": 0.1}}, {MODEL_TAG: sha256}):
        pass
    register.run(settings)
    capsys.readouterr()
    run_cli("registry", "trace")
    told = capsys.readouterr().out
    assert ["python", sys.version.split()[0]] in [line.split() for line in told.splitlines()]
    assert "onnxruntime 1." in told
    assert "1 of them in run" in told


def test_the_commands_load_nothing_heavy() -> None:
    code = "import sys, visiongate.commands.registry; print({'torch', 'mlflow', 'optuna'} & set(sys.modules))"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); {code}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"
