import csv
import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from command_line import run_cli
from visiongate.errors import SettingsError
from visiongate.optimization import stage as optimize
from visiongate.optimization.confirmation import judge
from visiongate.optimization.outcome import Outcome, explain, summarize_outcome, tell
from visiongate.optimization.study import SearchResult, TrialResult
from visiongate.settings.composition import compose_params
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings

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


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a few images, two classes told apart by where they are bright, as pixel arrays."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    directory = Path("data/transformed")
    directory.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for split, count in (("train", 48), ("val", 24)):
        labels = np.arange(count) % 2
        images = draw.integers(0, 100, (count, 8, 8, 1))
        images[labels == 1, :4] += 60
        np.save(directory / f"{split}.npy", images.astype(np.uint8))
        np.save(directory / f"{split}_labels.npy", labels.astype(np.int64))
    transform = {
        "size": 8,
        "mode": "L",
        "resize": "stretch",
        "mean": [0.3],
        "std": [0.2],
        "classes": ["a", "b"],
    }
    (directory / "transform.json").write_text(json.dumps(transform))
    (directory / "manifest.parquet").write_bytes(b"what images there are")
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
def test_the_stage_reports_trials_verdict_and_page(capsys: pytest.CaptureFixture[str]) -> None:
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
    told = capsys.readouterr().out
    assert told.startswith("4 trials, ")
    page = (REPORT / "index.html").read_text()
    assert "https://" not in page.replace("http://www.w3.org", "")
    assert not re.search(r"<(script|link|img)", page)
    assert page.count("<svg") == 2 + len(SETTINGS.optimize.space)
    assert not list(Path("mlruns/optuna").glob("*.journal"))


@pytest.mark.usefixtures("project")
def test_two_runs_write_the_same_bytes_also_by_loss_and_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace_settings(SETTINGS, {"optimize.metric": "val_loss"}, "test")
    optimize.run(settings)
    first = outputs()
    losses = [float(row["value"]) for row in read_rows("trials.csv") if row["value"]]
    summary = json.loads(first["reports/optimize.json"])
    assert all(loss > 0 for loss in losses)
    assert summary["best_value"] == min(losses)
    shutil.rmtree("reports")
    # The second run is cut off in the middle of the fourth training, and again while confirming.
    for trainings in (3, 5):
        with monkeypatch.context() as patched:
            patched.setattr(optimize, "prepare_task", Interrupted(trainings - len(read_journal())))
            with pytest.raises(KeyboardInterrupt):
                optimize.run(settings)
    optimize.run(settings)
    assert outputs() == first


@dataclass
class Interrupted:
    """Prepares so many trainings, then is interrupted as by Ctrl-C."""

    left: int

    def __call__(self, *arguments: object) -> object:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return PREPARE(*arguments)  # type: ignore[arg-type]


PREPARE = optimize.prepare_task


def read_journal() -> list[str]:
    """The trials that ended so far."""
    (journal,) = list(Path("mlruns/optuna").glob("*.journal")) or [None]
    lines = journal.read_text().splitlines() if journal else []
    return [
        line for line in lines if (entry := json.loads(line)).get("op_code") == 6 and entry["state"] in (1, 2)
    ]


@pytest.mark.usefixtures("project")
def test_trials_are_runs_within_the_studys_run() -> None:
    optimize.run(replace_settings(SETTINGS, {"optimize.workers": 2, "optimize.confirm_seeds": 1}, "test"))
    with closing(sqlite3.connect("mlruns/mlflow.db")) as store:
        names = dict(store.execute("select run_uuid, name from runs"))
        parents = dict(store.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'"))
        statuses = {status for (status,) in store.execute("select status from runs")}
    assert {"trial 0", "trial 3"} <= set(names.values())
    assert {names[parent] for parent in parents.values()} == {"optimize small_cnn"}
    assert len(parents) == len(names) - 1
    assert statuses <= {"FINISHED", "FAILED"}


@pytest.mark.usefixtures("project")
def test_what_cannot_be_searched_is_refused_before_anything_is_trained() -> None:
    tree = SETTINGS.model_dump()
    tree["optimize"]["space"] = {
        "size": {"setting": "transformation.size", "kind": "int", "low": 8, "high": 16}
    }
    with pytest.raises(SettingsError, match="the pixel arrays are made already"):
        optimize.run(Settings.model_validate(tree))
    assert not Path("mlruns").exists()


# What is said


def outcome(values: list[float | None], gains: list[float] | None, metric: str = "val_accuracy") -> Outcome:
    trials = [
        TrialResult(
            place, "pruned" if value is None else "complete", value, [0.5], {"model.lr": 0.1 * (place + 1)}
        )
        for place, value in enumerate(values)
    ]
    complete = [trial for trial in trials if trial.value is not None]
    best = max(complete, key=lambda trial: trial.value or 0)
    verdict = (
        None
        if gains is None
        else judge(range(len(gains)), [0.5] * len(gains), [0.5 + gain for gain in gains])
    )
    return Outcome(metric, SearchResult(trials, best, best.value or 0.0, {}), verdict)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (outcome([0.9, 0.8], None), "no trial beats the current settings"),
        (outcome([0.8, 0.9], None), "not known: optimize.confirm_seeds is 0"),
        (
            outcome([0.8, 0.9], [0.1] * 5),
            "p = 0.031: better than the current settings by more than seed noise",
        ),
        (outcome([0.8, 0.9], [0.1] * 3), "p = 0.125: so few seeds cannot tell it from seed noise"),
        (outcome([0.8, 0.9], [0.1, -0.1] * 3), "not shown to be better than the current settings"),
    ],
)
def test_the_verdict_in_words(found: Outcome, words: str) -> None:
    assert words in explain(found)
    assert summarize_outcome(found)["beats_current"] == ("by more than seed noise" in words)


def test_the_command_to_try_is_told_only_where_there_is_something_to_try() -> None:
    assert tell(outcome([0.9, 0.8, None], None)) == (
        "3 trials, 1 pruned; val_accuracy 0.9000 at best, with the current settings, which no trial beats"
    )
    assert tell(outcome([0.8, 0.9], None)).endswith("to try it: dvc exp run -S model.lr=0.2")
    assert "none with the current settings" in tell(outcome([None, 0.9], None))
    assert "val_loss 0.2000 at best, 0.3000 with" in tell(outcome([-0.3, -0.2], None, "val_loss"))


# make adopt


@pytest.fixture
def report(project: Path) -> Path:
    """A report in which trial 2 was best."""
    found = outcome([0.8, None, 0.9], [0.1] * 5)
    trials = [
        TrialResult(
            trial.trial, trial.state, trial.value, trial.curve, values(0.012345678901234567 + trial.trial)
        )
        for trial in found.found.trials
    ]
    complete = [trials[0], trials[2]]
    plan = optimize.plan_search(SETTINGS, "test")
    result = SearchResult(trials, complete[-1], 0.9, {"model.lr": 0.75, "model.batch_size": 0.25})
    optimize._write(plan, Outcome("val_accuracy", result, found.verdict), SETTINGS)  # noqa: SLF001 - the way to it trains
    return project


def values(lr: float) -> dict[str, bool | int | float | str | None]:
    return {
        "model.lr": lr,
        "model.weight_decay": 0.1,
        "training.label_smoothing": 0.0,
        "model.batch_size": 32,
    }


def run_adopt(*arguments: str) -> int:
    name, *options = arguments
    return run_cli("adopt", f"--name={name}", *options)


def test_a_recipe_composes_to_the_best_values(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "conf", report / "conf")
    assert run_adopt("tuned") == 0
    assert (
        capsys.readouterr().out
        == "conf/experiment/tuned.yaml written; to run it: dvc exp run -S experiment=tuned\n"
    )
    text = Path("conf/experiment/tuned.yaml").read_text()
    assert text.startswith("# @package _global_\n# Cost: ")
    assert (
        "# Score: val_accuracy 0.9000 in a trial of 2 epochs, 0.8000 with the settings as they were;\n"
        in text
    )
    assert (
        "better than the current settings by more than seed noise.\n#   dvc exp run -S experiment=tuned\n"
        in text
    )
    composed = yaml.safe_load(compose_params(Path("conf"), ["experiment=tuned"]))
    assert composed["model"]["lr"] == 2.012345678901234567
    assert composed["model"]["batch_size"] == 32
    assert composed["training"]["label_smoothing"] == 0


def test_the_page_shows_the_command_and_the_verdict(report: Path) -> None:
    page = (report / REPORT / "index.html").read_text()
    assert "better than the current settings by more than seed noise" in page
    command = re.search(r"<code>(dvc exp run .*?)</code>", page)
    assert command
    assert "model.lr=2.0123456789012346" in shlex.split(command[1])


@pytest.mark.usefixtures("report")
def test_another_recipe_is_not_overwritten_without_force(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("conf/experiment/mine.yaml")
    path.parent.mkdir(parents=True)
    path.write_text("# @package _global_\n")
    assert run_adopt("mine") == 1
    assert "there is a recipe of this name" in capsys.readouterr().err
    assert path.read_text() == "# @package _global_\n"
    assert run_adopt("mine", "--force") == 0
    assert run_adopt("mine") == 0  # it is the same


@pytest.mark.usefixtures("report")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda: shutil.rmtree(REPORT),
            r"reports/optimize/study\.json: no such file; `dvc repro optimize` makes it",
        ),
        (
            lambda: write_params(replace_settings(SETTINGS, {"model.options.width": 8}, "test")),
            r"found with other settings: model\.options\.width was 32 and is 8 in params\.yaml",
        ),
        (
            lambda: Path("data/transformed/train.npy").write_bytes(b"other images"),
            "found on other images",
        ),
        (
            lambda: Path("data/transformed/train.npy").unlink(),
            r"data/transformed/train\.npy: no such file; `dvc repro` makes it",
        ),
        (
            lambda: (REPORT / "study.json").write_text(
                json.dumps(json.loads((REPORT / "study.json").read_text()) | {"beaten": False})
            ),
            "there is nothing to adopt",
        ),
    ],
)
def test_what_does_not_belong_to_these_settings_is_not_adopted(
    spoil: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil()  # type: ignore[operator]
    assert run_adopt("tuned") == 1
    told = capsys.readouterr().err
    assert re.search(rf"^adopt: .*{message}", told)
    assert told.count("\n") == 1
    assert not Path("conf").exists()


@pytest.mark.usefixtures("report")
def test_who_and_where_makes_no_other_study() -> None:
    write_params(
        replace_settings(SETTINGS, {"optimize.workers": 4, "optimize.storage": "sqlite:///a.db"}, "test")
    )
    assert run_adopt("tuned") == 0


@pytest.mark.usefixtures("report")
def test_a_name_that_is_a_path_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_adopt("../mine") == 2
    assert "a recipe's name is made of letters" in capsys.readouterr().err


def test_adopting_loads_nothing_heavy() -> None:

    code = "import sys, visiongate.commands.adopt; print({'torch', 'mlflow', 'optuna'} & set(sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "set()\n"
