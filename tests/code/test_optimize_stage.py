import csv
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from command_line import run_cli
from page_structure import check_page
from visiongate.errors import DataError, SettingsError, TrainingError
from visiongate.optimization import measuring, trainer
from visiongate.optimization import stage as optimize
from visiongate.optimization.fingerprint import current_values, study_settings
from visiongate.optimization.fresh_seeds import PairedScores, SeedScores
from visiongate.recommendation import stage as recommend
from visiongate.recommendation.comparison import (
    Recommendation,
    format_conclusion,
    format_recommendation,
    summarize_recommendation,
)
from visiongate.recommendation.page import render_recommendation
from visiongate.records.search import (
    RecommendationRecord,
    SearchSummary,
    StudyRecord,
    write_best,
    write_comparison,
    write_study,
    write_summary,
)
from visiongate.records.transform import read_transform
from visiongate.settings.composition import compose_params
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings
from visiongate.study import stage as study
from visiongate.training.fingerprint import data_sha256
from workspaces import write_arrays

ROOT = Path(__file__).parents[2]
SETTINGS = replace_settings(
    load_settings(ROOT / "params.yaml"),
    {
        "optimize.trials": 4,
        "optimize.epochs": 2,
        "optimize.min_images": 0,
        "optimize.folds": 1,
        "optimize.startup_trials": 1,
        "optimize.reduction_factor": 2,
        "optimize.confirm_seeds": 0,
    },
    "test",
)
REPORT = Path("reports/optimize")
PAGE = Path("reports/recommendation/index.html")
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


def search(settings: Settings) -> None:
    study.run(settings)
    optimize.run(settings)


def changed(**values: object) -> Settings:
    return replace_settings(
        SETTINGS, {key.replace("__", "."): value for key, value in values.items()}, "test"
    )


def read_rows(name: str) -> list[dict[str, str]]:
    with (REPORT / name).open() as file:
        return list(csv.DictReader(file))


def outputs() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()}


@pytest.mark.usefixtures("project")
def test_stages_write_the_search_and_the_recommendation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = changed(optimize__confirm_seeds=5, optimize__epochs=1)
    with caplog.at_level("INFO", logger="visiongate"):
        search(settings)
    assert re.search(r"search 1: .*; 2 of 4 done, .*best val_accuracy .* left", caplog.text)
    summary = json.loads(Path("reports/optimize.json").read_text())
    trials = read_rows("trials.csv")
    assert summary["trials"] == len(trials) == 4
    assert summary["epochs"] == len(read_rows("curves.csv")) == sum(int(row["epochs"]) for row in trials)
    best = yaml.safe_load((REPORT / "best_params.yaml").read_text())
    assert {key: str(value) for key, value in best.items()} == {
        key: trials[summary["best_trial"]][key] for key in best
    }
    assert capsys.readouterr().out.startswith("4 trials, ")
    page = (REPORT / "index.html").read_text()
    assert page.count("data:image/png") == 3
    assert "it takes 10 complete trials, and 4 of 4 are" in check_page(page).text
    # What it compares has been trained.
    monkeypatch.setitem(sys.modules, "visiongate.optimization.paired_training", None)
    recommend.run(settings)
    assert capsys.readouterr().out.startswith("The best settings are ")
    result = json.loads(Path("reports/recommendation.json").read_text())
    assert 1 <= result["seeds"] <= 5
    # An undecided test has all seeds.
    assert (result["seeds"] == 5) == ("gain" in result)
    assert "over 1 fresh seed" in check_page(PAGE.read_text()).text
    assert not list(Path("mlruns/optuna").glob("*.journal"))


@pytest.mark.usefixtures("project")
def test_few_validation_images_are_judged_on_folds() -> None:
    settings = changed(optimize__folds=3, optimize__epochs=1, optimize__confirm_seeds=5)
    search(settings)
    epochs = [int(row["epochs"]) for row in read_rows("trials.csv")]
    assert epochs[0] == 3
    assert set(epochs) <= {1, 2, 3}
    assert "measured on 72 images in 3 folds" in check_page((REPORT / "index.html").read_text()).text
    recommend.run(settings)
    compared = json.loads(Path("reports/recommendation.json").read_text())
    # A fresh seed is judged on one fold of 24 images.
    for name in ("best_value", "current_value"):
        assert round(24 * compared["seeds"] * compared[name], 6).is_integer()


@pytest.mark.usefixtures("project")
def test_search_that_only_guesses_says_so_and_recommends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nothing tells the classes of equal images apart.
    for split in ("train", "val"):
        file = Path(f"data/transformed/{split}.npy")
        np.save(file, np.full_like(np.load(file), 7))
    monkeypatch.setattr(optimize, "check_arrays", read_transform)
    monkeypatch.setattr(recommend, "check_arrays", read_transform)
    settings = changed(optimize__confirm_seeds=5, optimize__trials=1, optimize__epochs=2)
    search(settings)
    words = "No trial is better than guessing the most frequent class (val_accuracy 0.5000)"
    assert words in capsys.readouterr().out
    page = (REPORT / "index.html").read_text()
    assert words in check_page(page).text
    # A single trial has a learning curve, and nothing to compare.
    assert page.count("data:image/png") == 1
    recommend.run(settings)
    assert capsys.readouterr().out.startswith(words)
    assert json.loads(Path("reports/recommendation.json").read_text()) == {"better": False, "seeds": 0}
    assert not json.loads((Path("reports/recommendation/comparison.json")).read_text())["adoptable"]


@pytest.mark.usefixtures("project")
def test_only_the_comparison_depends_on_the_current_values() -> None:
    study.run(SETTINGS)
    before, current = Path("reports/study.json").read_bytes(), Path("reports/current.json").read_bytes()
    study.run(changed(training__epochs=3, training__seed=1))
    assert (Path("reports/study.json").read_bytes(), Path("reports/current.json").read_bytes()) == (
        before,
        current,
    )
    study.run(changed(model__lr=1e-4))
    assert Path("reports/study.json").read_bytes() == before
    assert json.loads(Path("reports/current.json").read_text())["model.lr"] == 1e-4
    with pytest.raises(DataError, match="dvc repro recommend"):
        optimize.run(changed(model__options__width=8))


@pytest.mark.usefixtures("project")
def test_current_settings_that_are_the_best_are_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "visiongate.optimization.paired_training", None)
    write_study(REPORT, StudyRecord({}, ""))
    study.run(SETTINGS)
    write_best(REPORT, json.loads(Path("reports/current.json").read_text()))
    recommend.run(SETTINGS)
    assert "The current settings are the best ones" in PAGE.read_text()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("scores", "trained", "words"),
    [
        # Best and current by seed; a single loss decides a test of five seeds.
        (["+", "-"], "bc bc", "over 2 fresh seeds"),
        (["+"] * 5, "bc bc bc bc bc", "are better than the current ones"),
        (["+", "best fails"], "bc b", "with a fresh seed, their training failed"),
        # The best settings win only if all their trainings succeed.
        (["current fails", "+", "+", "+", "+"], "bc b b b b", "with all 5 fresh seeds"),
        (["current fails", "+", "best fails", "+", "+"], "bc b b b b", "not recommended"),
    ],
)
def test_seeds_are_trained_in_pairs_until_the_comparison_is_decided(
    scores: list[str], trained: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, runs = changed(optimize__confirm_seeds=5), list[str]()
    study.run(settings)
    write_study(REPORT, StudyRecord({}, ""))
    write_best(REPORT, values(0.05))

    def measure(trial: Settings, *_arguments: object, is_fresh: bool) -> float:
        assert is_fresh
        seed, is_best = trial.training.seed, trial.network.lr == 0.05
        runs.append("b" if is_best else "c")
        if scores[seed - 1] == ("best fails" if is_best else "current fails"):
            raise TrainingError("the loss is nan")
        return 0.5 + 0.1 * (is_best if scores[seed - 1] == "+" else not is_best)

    monkeypatch.setattr(trainer, "measure_trial", measure)
    recommend.run(settings)
    assert "".join(runs) == trained.replace(" ", "")
    assert words in check_page(PAGE.read_text()).text
    # A failure may not happen again.
    is_kept = bool([*Path("mlruns/optuna").glob("*.json")])
    assert is_kept == (not any("fails" in each for each in scores))


@pytest.mark.usefixtures("project")
def test_interrupted_comparison_resumes_and_writes_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, seeds = changed(optimize__confirm_seeds=5), list[int]()
    study.run(settings)
    write_study(REPORT, StudyRecord({}, ""))
    write_best(REPORT, values(0.05))

    def measure(trial: Settings, *_arguments: object, is_fresh: bool) -> float:
        if is_fresh and len(seeds) == 3:
            raise KeyboardInterrupt
        seeds.append(trial.training.seed)
        return trial.training.seed * trial.network.lr

    monkeypatch.setattr(trainer, "measure_trial", measure)
    with pytest.raises(KeyboardInterrupt):
        recommend.run(settings)
    seeds.append(0)
    recommend.run(settings)
    assert seeds == [1, 1, 2, 0, 2, 3, 3, 4, 4, 5, 5]
    resumed = outputs()
    # The scores of a finished comparison are kept.
    recommend.run(settings)
    assert len(seeds) == 11
    (scores,) = Path("mlruns/optuna").glob("*.json")
    for damage in (lambda: scores.write_bytes(scores.read_bytes()[:40]), scores.unlink):
        damage()
        recommend.run(settings)
        assert seeds[-10:] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
        assert outputs() == resumed


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_interrupted_search_by_loss_writes_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = changed(optimize__metric="val_loss", optimize__confirm_seeds=5)
    study.run(settings)
    optimize.run(settings)
    first = outputs()
    losses = [float(row["value"]) for row in read_rows("trials.csv") if row["value"]]
    assert json.loads(first["reports/optimize.json"])["best_value"] == min(losses) > 0
    shutil.rmtree(REPORT)
    shutil.rmtree("mlruns/optuna")
    # The second run is interrupted in the fourth trial, and the third one in the second training with a fresh seed.
    for trainings in (3, 2):
        with monkeypatch.context() as patched:
            patched.setattr(measuring, "build_task", InterruptedPreparation(trainings))
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


PREPARE = measuring.build_task


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_trials_of_two_workers_are_runs_within_the_run_of_the_study() -> None:
    search(changed(engine__workers=2, optimize__trials_per_round=2))
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
        Settings.model_validate(composed), {"optimize.trials": 2, "optimize.confirm_seeds": 0}, "test"
    )
    search(settings)
    assert [row["state"] for row in read_rows("trials.csv")] == ["complete", "complete"]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("metric", ["val_roc_auc", "val_top3"])
def test_metric_that_a_fold_does_not_have_raises_before_training(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimize, "check_arrays", read_transform)
    labels = np.arange(24) == 0
    # One of the images of the second class validates in a fold, and none in the others.
    np.save("data/transformed/val_labels.npy", labels.astype(np.int64))
    np.save("data/transformed/train_labels.npy", np.zeros(48, np.int64))
    settings = changed(optimize__folds=3, optimize__metric=metric)
    with pytest.raises(SettingsError, match=rf"optimize\.metric = {metric} needs"):
        search(settings)
    assert not Path("mlruns").exists()


@pytest.mark.usefixtures("project")
def test_invalid_space_raises_before_training() -> None:
    tree = SETTINGS.model_dump()
    tree["optimize"]["space"] = {
        "size": {"setting": "transformation.size", "kind": "int", "low": 8, "high": 16}
    }
    with pytest.raises(SettingsError, match=r"optimize\.space\.size"):
        study.run(Settings.model_validate(tree))
    assert not Path("reports").exists()


# The recommendation


def values(lr: float) -> dict[str, bool | int | float | str | None]:
    return {
        "model.lr": lr,
        "model.weight_decay": 0.1,
        "training.label_smoothing": 0.0,
        "model.batch_size": 32,
    }


def recommendation(
    gains: list[float],
    seeds: int = 5,
    metric: str = "val_accuracy",
    failure: str = "",
    best_failure: str = "",
) -> Recommendation:
    """Return a recommendation whose best settings have these gains on the first seeds."""
    start = 0.5 if metric == "val_accuracy" else -0.5
    best = SeedScores([start + gain for gain in gains], best_failure)
    current = SeedScores([start] * len(gains), failure)
    return Recommendation(metric, 8, values(0.1), values(0.2), seeds, PairedScores(best, current))


@pytest.mark.parametrize(
    ("made", "conclusion", "better", "adoptable"),
    [
        (recommendation([0.1] * 5), "are better than the current ones", True, True),
        (recommendation([0.1, -0.1, 0.1, 0.1, 0.1]), "not shown to be better", False, True),
        (recommendation([-0.5]), "The other 4 seeds could not change that", False, False),
        (recommendation([], seeds=0), "set it to 5 to compare them", False, True),
        (
            recommendation([], failure="the loss is nan"),
            "current settings failed: the loss is nan",
            True,
            True,
        ),
        (recommendation([], best_failure="the loss is nan"), "not recommended", False, False),
        (
            replace(recommendation([]), current=values(0.1)),
            "The current settings are the best ones of the search",
            False,
            False,
        ),
    ],
)
def test_settings_are_recommended_only_if_they_are_better(
    made: Recommendation, conclusion: str, *, better: bool, adoptable: bool
) -> None:
    assert conclusion in format_conclusion(made)
    assert (made.better, made.adoptable) == (better, adoptable)
    assert summarize_recommendation(made).better == better
    assert ("visiongate adopt" in format_recommendation(made)) == better
    page = check_page(render_recommendation(made, SETTINGS))
    assert conclusion in page.text
    assert ("visiongate adopt" in page.text) == better
    # Only a completed comparison has a p-value and an interval.
    assert ("Fisher, 1935" in page.text) == ("confidence interval" in page.text)
    # Nothing is claimed with a confidence of 0%.
    assert not re.search(r"\b0% confidence|p = 1", page.text)


def test_losses_are_shown_with_their_own_sign() -> None:
    summary = summarize_recommendation(recommendation([0.1] * 5, metric="val_loss"))
    assert summary.gain is not None
    assert (summary.best_value, summary.current_value) == (pytest.approx(0.4), 0.5)
    assert summary.gain.mean == pytest.approx(0.1)


# adopt


@pytest.fixture
def report(project: Path) -> Path:
    """A project with a result of the search."""
    write_study(REPORT, StudyRecord(study_settings(SETTINGS), data_sha256(Path("data/transformed"))))
    write_best(REPORT, values(LR))
    write_summary(Path("reports/optimize.json"), SearchSummary(3, 1, 0, 9, 2, 0.9))
    record = RecommendationRecord(
        current_values(SETTINGS), adoptable=True, conclusion="The best settings are better."
    )
    write_comparison(PAGE.parent, record)
    shutil.copytree(ROOT / "conf", project / "conf")
    return project


def run_adopt(name: str, *options: str) -> int:
    return run_cli("adopt", f"--name={name}", *options)


def test_recipe_composes_to_the_current_settings_with_the_best_values(report: Path) -> None:
    overrides = ["dataset=folder", "dataset.path=/photos/my cats", "training.epochs=7", "optimize.trials=4"]
    (report / "params.yaml").write_text(compose_params(Path("conf"), overrides))
    settings = load_settings()
    write_study(REPORT, StudyRecord(study_settings(settings), data_sha256(Path("data/transformed"))))
    record = RecommendationRecord(
        current_values(settings), adoptable=True, conclusion="The best settings are better."
    )
    write_comparison(PAGE.parent, record)
    assert run_adopt("tuned") == 0
    text = Path("conf/experiment/tuned.yaml").read_text()
    assert text.startswith("# @package _global_\n# Cost: ")
    assert "# The best settings are better.\n#   dvc exp run -S experiment=tuned\n" in text
    composed = Settings.model_validate(yaml.safe_load(compose_params(Path("conf"), ["experiment=tuned"])))
    assert composed == replace_settings(settings, values(LR), "test")
    # Settings that params.yaml does not have keep their defaults.
    assert "gate" not in yaml.safe_load(text)


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
        (lambda: write_params(changed(model__lr=0.5)), r"model\.lr changed .*dvc repro recommend"),
        (lambda: Path("data/transformed/train.npy").write_bytes(b"other images"), "the images changed"),
        (lambda: Path("data/transformed/train.npy").unlink(), r"data/transformed/train\.npy"),
        (
            lambda: write_comparison(
                PAGE.parent,
                RecommendationRecord(current_values(SETTINGS), adoptable=False, conclusion="They are worse."),
            ),
            r"nothing to adopt: They are worse\.",
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
def test_path_as_name_is_invalid(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_adopt("../mine") == 2
    assert "--name ../mine" in capsys.readouterr().err
