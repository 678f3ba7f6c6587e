import csv
import json
import re
import shlex
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from command_line import run_cli
from page_structure import check_page
from visiongate.errors import SettingsError
from visiongate.optimization import stage as optimize
from visiongate.optimization.confirmation import confirm
from visiongate.optimization.page import render_search
from visiongate.optimization.report import SearchReport, format_conclusion, format_report, summarize_search
from visiongate.optimization.space import search_space
from visiongate.optimization.study import SearchResult, TrialResult
from visiongate.settings.composition import compose_params
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings
from workspaces import write_arrays

ROOT = Path(__file__).parents[2]
SETTINGS = replace_settings(
    load_settings(ROOT / "params.yaml"),
    {
        "optimize.trials": 4,
        "optimize.epochs": 2,
        "optimize.startup_trials": 1,
        "optimize.reduction_factor": 2,
        "optimize.confirm_seeds": 2,
    },
    "test",
)
REPORT = Path("reports/optimize")
LR = 0.0012345678901234567


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pixel arrays of two classes that differ in where they are bright."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    generator, splits = np.random.default_rng(0), {}
    for split, count in (("train", 48), ("val", 24), ("test", 2)):
        labels = np.arange(count) % 2
        images = generator.integers(0, 100, (count, 8, 8, 1))
        images[labels == 1, :4] += 60
        splits[split] = images.astype(np.uint8), labels
    transform = {
        "size": 8,
        "mode": "L",
        "resize": "stretch",
        "mean": [0.3],
        "std": [0.2],
        "classes": ["a", "b"],
    }
    write_arrays(Path("data/transformed"), splits, transform)
    write_params(SETTINGS)
    return tmp_path


def write_params(settings: Settings) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(settings.model_dump()))


def read_rows(name: str) -> list[dict[str, str]]:
    with (REPORT / name).open() as file:
        return list(csv.DictReader(file))


def outputs() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()}


@pytest.mark.usefixtures("project")
def test_stage_writes_trials_summary_and_page(capsys: pytest.CaptureFixture[str]) -> None:
    optimize.run(SETTINGS)
    summary = json.loads(Path("reports/optimize.json").read_text())
    trials = read_rows("trials.csv")
    assert summary["trials"] == len(trials) == 4
    assert float(trials[0]["model.lr"]) == SETTINGS.model.lr
    assert summary["epochs"] == len(read_rows("curves.csv")) == sum(int(row["epochs"]) for row in trials)
    best = yaml.safe_load((REPORT / "best_params.yaml").read_text())
    assert {key: str(value) for key, value in best.items()} == {
        key: trials[summary["best_trial"]][key] for key in best
    }
    assert capsys.readouterr().out.startswith("4 trials, ")
    page = (REPORT / "index.html").read_text()
    assert page.count("data:image/png") == 3
    check_page(page)
    assert not list(Path("mlruns/optuna").glob("*.journal"))


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_interrupted_search_by_loss_writes_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace_settings(SETTINGS, {"optimize.metric": "val_loss"}, "test")
    optimize.run(settings)
    first = outputs()
    losses = [float(row["value"]) for row in read_rows("trials.csv") if row["value"]]
    assert json.loads(first["reports/optimize.json"])["best_value"] == min(losses) > 0
    shutil.rmtree("reports")
    # The second run is interrupted in the fourth training, and again during the confirmation.
    for trainings in (3, 5):
        with monkeypatch.context() as patched:
            patched.setattr(optimize, "prepare_task", InterruptedPreparation(trainings - count_trials()))
            with pytest.raises(KeyboardInterrupt):
                optimize.run(settings)
    optimize.run(settings)
    assert outputs() == first


@dataclass
class InterruptedPreparation:
    """Prepares some trainings, and raises KeyboardInterrupt at the next one."""

    left: int

    def __call__(self, *arguments: object) -> object:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return PREPARE(*arguments)  # type: ignore[arg-type]


PREPARE = optimize.prepare_task


def count_trials() -> int:
    """Return the number of finished trials in the journal."""
    lines = [
        line for path in Path("mlruns/optuna").glob("*.journal") for line in path.read_text().splitlines()
    ]
    entries = [json.loads(line) for line in lines]
    return sum(entry.get("op_code") == 6 and entry["state"] in (1, 2) for entry in entries)


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_trials_of_two_workers_are_runs_within_the_run_of_the_study() -> None:
    optimize.run(replace_settings(SETTINGS, {"optimize.workers": 2, "optimize.confirm_seeds": 0}, "test"))
    with closing(sqlite3.connect("mlruns/mlflow.db")) as store:
        names = dict(store.execute("select run_uuid, name from runs"))
        parents = dict(store.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'"))
    assert {"trial 0", "trial 3"} <= set(names.values())
    assert {names[parent] for parent in parents.values()} == {"optimize small_cnn"}
    assert len(parents) == len(names) - 1


@pytest.mark.usefixtures("project")
def test_baseline_is_searched() -> None:
    composed = yaml.safe_load(compose_params(ROOT / "conf", ["model=random_forest"]))
    settings = replace_settings(
        Settings.model_validate(composed), {"optimize.trials": 2, "optimize.confirm_seeds": 1}, "test"
    )
    optimize.run(settings)
    assert len(read_rows("trials.csv")) == 2


@pytest.mark.usefixtures("project")
def test_invalid_space_raises_before_training() -> None:
    tree = SETTINGS.model_dump()
    tree["optimize"]["space"] = {
        "size": {"setting": "transformation.size", "kind": "int", "low": 8, "high": 16}
    }
    with pytest.raises(SettingsError, match=r"optimize\.space\.size"):
        optimize.run(Settings.model_validate(tree))
    assert not Path("mlruns").exists()


# The report


def make_report(
    values: list[float | None], gains: list[float] | None, metric: str = "val_accuracy"
) -> SearchReport:
    trials = [
        TrialResult(
            index, "pruned" if value is None else "complete", value, [0.5], {"model.lr": 0.1 * (index + 1)}
        )
        for index, value in enumerate(values)
    ]
    best = max((trial for trial in trials if trial.value is not None), key=lambda trial: trial.value or 0)
    confirmation = (
        None
        if gains is None
        else confirm(range(len(gains)), [0.5] * len(gains), [0.5 + gain for gain in gains])
    )
    return SearchReport(metric, SearchResult(trials, best, best.value or 0.0, {}), confirmation)


@pytest.mark.parametrize(
    ("report", "conclusion"),
    [
        (make_report([0.9, 0.8], None), "No trial beats"),
        (make_report([0.8, 0.9], None), "was not confirmed"),
        (make_report([0.8, 0.9], [0.1] * 5), "is better"),
        (make_report([0.8, 0.9], [0.1] * 3), "Too few seeds"),
        (make_report([0.8, 0.9], [0.1, -0.1] * 3), "is not shown to be better"),
        (make_report([0.8, 0.9], [-0.5] * 5), "is not shown to be better"),
    ],
)
def test_settings_are_recommended_only_if_they_are_better(report: SearchReport, conclusion: str) -> None:
    assert conclusion in format_conclusion(report)
    better = conclusion == "is better"
    assert summarize_search(report).beats_current == better
    assert ("dvc exp run" in format_report(report)) == better


def test_report_shows_losses_with_their_own_sign() -> None:
    summary = summarize_search(make_report([-0.3, -0.2], None, "val_loss"))
    assert (summary.best_value, summary.current_value) == (0.2, 0.3)
    assert summarize_search(make_report([None, 0.9], None)).current_value is None


# adopt


def make_full_report() -> SearchReport:
    """Return a report whose best trial is trial 2."""
    made = make_report([0.8, None, 0.9], [0.1] * 5)
    trials = [
        TrialResult(trial.trial, trial.state, trial.value, trial.curve, values(LR * (1 + trial.trial)))
        for trial in made.result.trials
    ]
    result = SearchResult(trials, trials[2], 0.9, {"model.lr": 0.75, "model.batch_size": 0.25})
    return SearchReport("val_accuracy", result, made.confirmation)


@pytest.fixture
def report(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the report, but without its page, which takes a second to draw."""
    monkeypatch.setattr(optimize, "render_search", lambda *_: "")
    optimize._write(make_full_report(), optimize.plan_search(SETTINGS, "test"), SETTINGS)  # noqa: SLF001 - `run` trains
    shutil.copytree(ROOT / "conf", project / "conf")
    return project


def values(lr: float) -> dict[str, bool | int | float | str | None]:
    return {
        "model.lr": lr,
        "model.weight_decay": 0.1,
        "training.label_smoothing": 0.0,
        "model.batch_size": 32,
    }


def run_adopt(name: str, *options: str) -> int:
    return run_cli("adopt", f"--name={name}", *options)


@pytest.mark.usefixtures("report")
def test_recipe_composes_to_the_current_settings_with_the_best_values() -> None:
    assert run_adopt("tuned") == 0
    text = Path("conf/experiment/tuned.yaml").read_text()
    assert text.startswith("# @package _global_\n# Cost: ")
    assert "# Score: val_accuracy 0.9000 in a trial of 2 epochs; 0.8000 " in text
    composed = yaml.safe_load(compose_params(Path("conf"), ["experiment=tuned"]))
    assert composed["model"]["lr"] == LR * 3
    assert composed["model"]["batch_size"] == 32
    assert composed["training"]["label_smoothing"] == 0
    # An experiment had set it with -S.
    assert composed["optimize"]["trials"] == SETTINGS.optimize.trials
    assert (
        composed["optimize"]["trials"] != yaml.safe_load(compose_params(Path("conf")))["optimize"]["trials"]
    )


def test_page_shows_the_command_with_all_digits() -> None:
    page = render_search(make_full_report(), search_space(SETTINGS), SETTINGS)
    command = re.search(r"<code>(dvc exp run .*?)</code>", page)
    assert command
    assert f"model.lr={LR * 3}" in shlex.split(command[1])


@pytest.mark.usefixtures("report")
def test_existing_recipe_is_overwritten_only_with_force() -> None:
    path = Path("conf/experiment/mine.yaml")
    path.write_text("# @package _global_\n")
    assert run_adopt("mine") == 2
    assert path.read_text() == "# @package _global_\n"
    assert run_adopt("mine", "--force") == 0
    # The content is the same.
    assert run_adopt("mine") == 0


@pytest.mark.usefixtures("report")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda: shutil.rmtree(REPORT), r"reports/optimize/study\.json"),
        (
            lambda: write_params(replace_settings(SETTINGS, {"model.options.width": 8}, "test")),
            r"model\.options\.width",
        ),
        (lambda: Path("data/transformed/train.npy").write_bytes(b"other images"), "the images changed"),
        (lambda: Path("data/transformed/train.npy").unlink(), r"data/transformed/train\.npy"),
        (
            lambda: (REPORT / "study.json").write_text(
                json.dumps(json.loads((REPORT / "study.json").read_text()) | {"beaten": False})
            ),
            "nothing to adopt",
        ),
        (lambda: (REPORT / "best_params.yaml").write_text("- 1"), r"best_params\.yaml"),
        ((REPORT / "best_params.yaml").unlink, r"best_params\.yaml"),
    ],
)
def test_result_of_other_settings_or_images_is_not_adopted(
    change: Callable[[], object], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change()
    assert run_adopt("tuned") == 2
    message = capsys.readouterr().err
    assert re.search(named, message)
    assert message.count("\n") == 1
    assert not Path("conf/experiment/tuned.yaml").exists()


@pytest.mark.usefixtures("report")
def test_workers_and_storage_do_not_change_the_study() -> None:
    write_params(
        replace_settings(SETTINGS, {"optimize.workers": 4, "optimize.storage": "sqlite:///a.db"}, "test")
    )
    assert run_adopt("tuned") == 0


@pytest.mark.usefixtures("report")
def test_path_as_name_is_invalid(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_adopt("../mine") == 2
    assert "--name ../mine" in capsys.readouterr().err
