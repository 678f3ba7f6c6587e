"""A repository with a real DVC in which the line has run, as far as its files tell: what each stage leaves, in small."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from clones import call
from visiongate.gate.rules import Measured, apply_rules
from visiongate.records.files import write_csv, write_json
from visiongate.records.history import EpochMetrics, write_history
from visiongate.records.interval import Interval
from visiongate.records.validation import ExpectationResult, ValidationReport, write_validation
from visiongate.settings.loading import load_settings
from workspaces import ROOT

IMAGES = 120  # of the test split
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
    "register": (["registry"], ["reports/gate.json"], [], ["reports/registration.json"]),
}


def make_repository(folder: Path, skill: float = 0.9) -> Path:
    """Make a repository whose branch main has run the line with a model of that accuracy."""
    folder.mkdir()
    call(folder, "git", "init", "-q", "--initial-branch=main")
    call(folder, "git", "config", "user.name", "test")
    call(folder, "git", "config", "user.email", "test@example.org")
    call(folder, "dvc", "init", "--quiet")
    call(folder, "dvc", "config", "core.analytics", "false")
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
    run_line(folder, skill)
    commit(folder)
    return folder


def run_line(folder: Path, skill: float) -> None:
    """Write what the stages leave, and have DVC take it for their outputs."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        _write_data()
        _write_model(skill)
        _write_leaves()
    finally:
        os.chdir(here)
    call(folder, "dvc", "commit", "--force", "--quiet")


def commit(folder: Path) -> None:
    """Commit all that git does not ignore."""
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "state")


def make_report(folder: Path, *arguments: str, check: bool = True) -> tuple[str, str]:
    """Call the command; return the report and what it printed."""
    environment = {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "visiongate.commands.report", *arguments]
    answer = call(folder, *command, check=check, **environment)
    report = folder / "reports/report.md"
    return report.read_text(encoding="utf-8") if report.exists() else "", answer.stdout + answer.stderr


def _write_data() -> None:
    met = ExpectationResult("classes", "critical", success=True, required="all", actual="all")
    write_validation(Path("reports/validation/result.json"), ValidationReport(1, (met,)))
    columns = ["path", "label", "split", "sha256", "reason", "detail"]
    row = {"path": "a.png", "label": "cat", "sha256": "f" * 64, "reason": "blank"}
    write_csv(Path("reports/preparation/quarantine.csv"), [row], columns)
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
    write_json(Path("data/transformed/transform.json"), {"classes": CLASSES})


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
    rows = [{"class": each, "images": 60, "recall": accuracy, "f1": accuracy} for each in CLASSES]
    write_csv(folder / "per_class.csv", rows, ["class", "images", "recall", "f1"])
    columns = ["dimension", "slice", "images", "accuracy", "low", "high", "gap", "p_value"]
    write_csv(
        folder / "slices.csv",
        [dict(zip(columns, ["source", "a", 60, accuracy, 0.1, 1, 0, 1], strict=True))],
        columns,
    )
    names = np.array(CLASSES)
    pairs = [
        {"actual": names[label], "predicted": names[guess]}
        for label, guess in zip(labels, guesses, strict=True)
    ]
    write_csv(folder / "plots/confusion.csv", pairs, ["actual", "predicted"])
    answers = {
        "sha256": [f"{index:064d}" for index in range(IMAGES)],
        "label": names[labels],
        "predicted": names[guesses],
        "probabilities": pa.FixedSizeListArray.from_arrays(np.full(2 * IMAGES, 0.5, np.float32), 2),
    }
    pq.write_table(pa.table(answers), folder / "predictions.parquet")
    history = [EpochMetrics(epoch, 0.1, 1 / epoch, 0.5, skill / epoch, 0.5) for epoch in (1, 2, 3)]
    write_history(Path("reports/training/history.csv"), history)
    write_json(Path("reports/training.json"), {"epochs": 3, "best": skill})


def _write_leaves() -> None:
    summary = {"trials": 3, "best_value": 0.9, "current_value": 0.8, "beats_current": True}
    write_json(Path("reports/optimize.json"), summary)
    write_json(Path("reports/optimize/study.json"), {"beaten": True, "verdict": "better"})
    Path("reports/optimize/best_params.yaml").write_text("model.lr: 0.02\n", encoding="utf-8")
    told = {"decision": "promoted", "reason": "it passed the gate", "name": "digits", "version": "1"}
    Path("reports/registration.json").write_text(json.dumps(told), encoding="utf-8")
