"""A repository with real DVC and the records of a pipeline that has run, with few images."""

import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from clones import call, init_dvc
from pull_requests import make_registration
from visiongate.gate.rules import Measured, apply_rules
from visiongate.records.csv_rows import write_rows
from visiongate.records.evaluation import ClassMetrics, ConfusionRow, Slice
from visiongate.records.files import write_json, write_text
from visiongate.records.history import EpochMetrics, write_history
from visiongate.records.interval import Interval
from visiongate.records.preparation import QuarantinedImage, write_corrected, write_quarantine
from visiongate.records.registration import write_registration
from visiongate.records.search import (
    RecommendationRecord,
    RecommendationSummary,
    SearchSummary,
    write_best,
    write_comparison,
    write_recommendation,
    write_summary,
)
from visiongate.records.transform import Transform, write_transform
from visiongate.records.validation import ExpectationResult, ValidationReport, write_validation
from visiongate.settings.loading import load_settings
from workspaces import ROOT

# Of the test split.
IMAGES = 120
CLASSES = ("cat", "dog")
STAGES = {
    "validation": (["dataset"], [], ["reports/validation"], []),
    "preparation": (["preparation"], ["reports/validation"], ["reports/preparation"], []),
    "transformation": (["transformation"], ["reports/preparation"], ["data/transformed"], []),
    "train": (["model"], ["data/transformed"], ["reports/training"], ["reports/training.json"]),
    "evaluate": (
        ["gate"],
        ["data/transformed", "reports/training"],
        ["reports/evaluation"],
        ["reports/gate.json", "reports/latency.json", "reports/metrics.json"],
    ),
    "optimize": (["optimize"], ["data/transformed"], ["reports/optimize"], ["reports/optimize.json"]),
    "recommend": (
        ["optimize"],
        ["reports/optimize"],
        ["reports/recommendation"],
        ["reports/recommendation.json"],
    ),
    "register": (["registry"], ["reports/gate.json"], [], ["reports/registration.json"]),
}


def make_repository(folder: Path, skill: float = 0.9) -> Path:
    """Make a repository whose branch main has the records of a model of that accuracy."""
    folder.mkdir()
    call(folder, "git", "init", "-q", "--initial-branch=main")
    call(folder, "git", "config", "user.name", "test")
    call(folder, "git", "config", "user.email", "test@example.org")
    init_dvc(folder)
    stages = {
        name: {
            "cmd": f"python make.py {name}",
            "params": params,
            **({"deps": deps} if deps else {}),
            "outs": [*outs, *({path: {"cache": False}} for path in in_git)],
        }
        for name, (params, deps, outs, in_git) in STAGES.items()
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    (folder / ".gitignore").write_text("/reports/report.md\n", encoding="utf-8")
    (folder / "make.py").write_text("raise SystemExit('the disk is full')\n", encoding="utf-8")
    write_run(folder, skill)
    commit(folder)
    return folder


def write_run(folder: Path, skill: float) -> None:
    """Write the records of the stages, and commit them to DVC."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        _write_data()
        _write_model(skill)
        _write_decisions()
    finally:
        os.chdir(here)
    call(folder, "dvc", "commit", "--force", "--quiet")


def commit(folder: Path) -> None:
    """Commit all files to git."""
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "state")


def _write_data() -> None:
    passed = ExpectationResult("classes", "critical", success=True, required="all", actual="all")
    write_validation(Path("reports/validation/result.json"), ValidationReport(IMAGES, (passed,)))
    write_text(Path("data/corrections.csv"), "sha256,label,exclude,who,when,why\n")
    write_corrected(Path("reports/preparation/corrections.csv"), [])
    image = QuarantinedImage("a.png", "cat", None, "f" * 64, "blank", "")
    write_quarantine(Path("reports/preparation/quarantine.csv"), [image])
    count = 2 * IMAGES
    manifest = {
        "split": ["test"] * IMAGES + ["train"] * IMAGES,
        "row": list(range(count)),
        "label": [index % 2 for index in range(count)],
        "path": [f"{index}.png" for index in range(count)],
        "sha256": [f"{index:064d}" for index in range(count)],
        "group": pa.array([None] * count, pa.string()),
    }
    Path("data/transformed").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(manifest), "data/transformed/manifest.parquet")
    write_transform(Path("data/transformed"), Transform(8, "L", "stretch", [0.5], [0.5], list(CLASSES)))


def _write_model(skill: float) -> None:
    right = np.arange(IMAGES) < round(skill * IMAGES)
    labels = np.arange(IMAGES) % 2
    guesses = np.where(right, labels, 1 - labels)
    accuracy = float(right.mean())
    folder = Path("reports/evaluation")
    interval = Interval(accuracy, accuracy - 0.05, accuracy + 0.05)
    classes = dict.fromkeys(CLASSES, interval)
    metrics = {
        "accuracy": accuracy,
        "images": IMAGES,
        "leaked_images": 0,
        "failed_expectations": 0,
        "ece": 0.01,
    }
    metrics |= {"gain_over_majority": accuracy - 0.5, "gain_over_linear": accuracy - 0.6}
    intervals = {name: Interval(value, value - 0.01, value + 0.01) for name, value in metrics.items()}
    rules = load_settings(Path("params.yaml")).gate.rules
    verdict = apply_rules(rules, Measured(metrics, intervals, {"recall": classes}, CLASSES))
    write_json(Path("reports/metrics.json"), metrics)
    write_json(Path("reports/latency.json"), {"latency_p50_ms": 1.0})
    write_json(Path("reports/gate.json"), asdict(verdict))
    write_json(folder / "intervals.json", {"accuracy": asdict(interval)})
    rows = [ClassMetrics(each, 60, accuracy, accuracy, accuracy, 0, None, 0) for each in CLASSES]
    write_rows(folder / "per_class.csv", rows, ClassMetrics)
    write_rows(folder / "slices.csv", [Slice("source", "a", 60, accuracy, 0.1, 1, 0, 1)], Slice)
    names = np.array(CLASSES)
    pairs = [ConfusionRow(names[label], names[guess]) for label, guess in zip(labels, guesses, strict=True)]
    write_rows(folder / "plots/confusion.csv", pairs, ConfusionRow)
    predictions = {
        "sha256": [f"{index:064d}" for index in range(IMAGES)],
        "label": names[labels],
        "predicted": names[guesses],
        "probabilities": pa.FixedSizeListArray.from_arrays(np.full(2 * IMAGES, 0.5, np.float32), 2),
    }
    pq.write_table(pa.table(predictions), folder / "predictions.parquet")
    history = [EpochMetrics(epoch, 0.1, 1 / epoch, 0.5, skill / epoch, 0.5) for epoch in (1, 2, 3)]
    write_history(Path("reports/training/history.csv"), history)
    write_json(Path("reports/training.json"), {"epochs": 3, "best": skill})


def _write_decisions() -> None:
    write_summary(Path("reports/optimize.json"), SearchSummary(3, 0, 0, 9, 1, 0.9))
    write_recommendation(Path("reports/recommendation.json"), RecommendationSummary(better=True, seeds=5))
    record = RecommendationRecord(
        {"model.lr": 0.01}, adoptable=True, conclusion="The best settings are better."
    )
    write_comparison(Path("reports/recommendation"), record)
    write_best(Path("reports/optimize"), {"model.lr": 0.02})
    registration = make_registration("promoted", "it passed the gate")
    write_registration(Path("reports/registration.json"), registration)
