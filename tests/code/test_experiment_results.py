"""The results of experiments, read from a stub of DVC's cache, and the commands that show them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clones import ROOT, call
from command_line import run_cli
from made_experiments import READER, make_experiment
from visiongate.adapters.git import Repository
from visiongate.commands import experiments as command
from visiongate.commands import selection
from visiongate.commands.experiments import RESULTS
from visiongate.experiments.listing import Baseline, Experiment
from visiongate.experiments.results import ResultReader

if TYPE_CHECKING:
    from visiongate.experiments.cache import Cache

OUTS = {RESULTS.gate.as_posix(): "0a"}


class StubCache:
    """A cache that reads files of a folder, whatever the outputs are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, _outs: Mapping[str, str], path: Path) -> bytes | None:
        file = self._folder / path
        return file.read_bytes() if file.exists() else None


class StubRepository:
    """A repository whose only file is the gate's verdict."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def read(self, _revision: str, _path: Path) -> str | None:
        return self._text


def make_reader(folder: Path, gate: str | None = None) -> ResultReader:
    return ResultReader(cast("Repository", StubRepository(gate)), cast("Cache", StubCache(folder)), RESULTS)


def write_results(folder: Path) -> None:
    for path in (RESULTS.intervals, RESULTS.predictions, RESULTS.manifest, RESULTS.transform):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / RESULTS.intervals).write_text('{"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}')
    transform = {
        "size": 4,
        "mode": "L",
        "resize": "stretch",
        "mean": [0.5],
        "std": [0.3],
        "classes": ["a", "b"],
    }
    (folder / RESULTS.transform).write_text(json.dumps(transform))
    predictions = {
        "sha256": ["1", "2"],
        "label": ["a", "b"],
        "predicted": ["b", "b"],
        "probabilities": pa.array([[0.4, 0.6], [0.1, 0.9]], pa.list_(pa.float64(), 2)),
    }
    pq.write_table(pa.table(predictions), folder / RESULTS.predictions)
    manifest = {"split": ["train", "test", "test"], "group": ["x", "y", None]}
    pq.write_table(pa.table(manifest), folder / RESULTS.manifest)


def test_predictions_and_intervals_are_read(tmp_path: Path) -> None:
    write_results(tmp_path)
    reader, experiment = make_reader(tmp_path), make_experiment("a", 0.5)
    model = reader.read_predictions(experiment)
    assert model is not None
    assert model.sha256 == ("1", "2")
    assert list(model.truth.groups) == ["y", None]
    assert np.array_equal(model.truth.labels, [0, 1])
    assert np.array_equal(model.predictions.predicted, [1, 1])
    assert reader.read_intervals(experiment)["accuracy"].low == 0.4


def test_missing_files_have_no_results(tmp_path: Path) -> None:
    reader, experiment = make_reader(tmp_path), make_experiment("a", 0.5)
    assert reader.read_predictions(experiment) is None
    assert reader.read_intervals(experiment) == {}


def test_gate_verdict_is_read(tmp_path: Path) -> None:
    experiment = replace(make_experiment("a", 0.5), outs=OUTS)
    assert make_reader(tmp_path, '{"passed": true}').read_gate(experiment) is True
    assert make_reader(tmp_path, '{"passed": false}').read_gate(experiment) is False
    for text in ("{", "[]", None):
        assert make_reader(tmp_path, text).read_gate(experiment) is None


def test_gate_of_another_run_does_not_count(tmp_path: Path) -> None:
    assert make_reader(tmp_path, '{"passed": true}').read_gate(make_experiment("a", 0.5)) is None


# The commands


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose experiments are made up."""
    monkeypatch.chdir(tmp_path)
    call(tmp_path, "git", "init", "-q", "-b", "main")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    call(tmp_path, "git", *identity, "commit", "-qm", "Start", "--allow-empty")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    commit = Repository(tmp_path).commit("HEAD")
    base = replace(make_experiment(commit[:7], 0.6, lr=0.1), rev=commit)
    experiments = (
        make_experiment("good", 0.9, lr=0.2),
        make_experiment("waiting", None, "queued"),
        make_experiment("broken", None, "failed"),
    )
    monkeypatch.setattr(command, "list_experiments", lambda *_: [Baseline(base, experiments)])
    monkeypatch.setattr(command, "ResultReader", lambda *_: READER)
    monkeypatch.setattr(command, "Cache", type("NoCache", (), {"of": staticmethod(lambda _: None)}))
    return tmp_path


def test_table_and_page_are_shown(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("experiments") == 0
    output = capsys.readouterr().out
    assert output.startswith("experiment")
    assert {"waiting: queued", "broken: failed"} <= set(output.splitlines())
    assert "visiongate adopt good" in output
    assert "good" in (repository / command.PAGE).read_text()


@pytest.mark.usefixtures("repository")
def test_json_has_the_ranking(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("experiments", "--json", "--metric=log_loss") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["experiments"] == [{"name": "good", "value": pytest.approx(0.1), "changes": {"lr": 0.2}}]
    assert content["better"]


@pytest.mark.usefixtures("repository")
def test_best_is_selected_and_described() -> None:
    best: Experiment = selection.find_selected(selection.Selection("best", "accuracy"), Path.cwd())
    assert best.name == "good"
    trained = replace(best, metrics={**best.metrics, "epochs": 3, "parameters": 1000, "images": 60})
    comment = selection.describe(trained, "accuracy", "mine")
    assert (
        "Cost: 3 epochs of 1,000 parameters. Score: accuracy 0.9000 (0.8000 to 1.0000), 60 test images."
        in comment
    )
    assert comment.endswith("#   dvc exp run -S experiment=mine\n")
    assert "accuracy is unknown" in selection.describe(make_experiment("bare", None), "accuracy", "mine")
