"""A repository with the real settings and a pipeline of one fast stage, for tests of experiments."""

import json
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from clones import ROOT, call, init_dvc

STAGE = '''"""Pretend to train and evaluate: the nearer model.lr is to 0.03, the more of 40 images are right."""

import json
import os
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

params = yaml.safe_load(Path("params.yaml").read_text())
rate = float(params["model"]["lr"])
if trace := os.environ.get("TRACE"):
    with Path(trace).open("a") as file:
        file.write(f"{rate} {os.environ.get('OMP_NUM_THREADS')}\\n")
if rate > 5 and not os.environ.get("MENDED"):
    sys.exit("evaluate: the rate is too large")
if rate == 0.02:
    time.sleep(float(os.environ.get("NAP", 0)))
right = round(40 * (1 - min(10 * abs(rate - 0.03), 0.5)))
for folder in ("data/transformed", "reports/evaluation", "reports/training"):
    Path(folder).mkdir(parents=True, exist_ok=True)
labels = ["cat", "dog"] * 20
predicted = [label if place < right else {"cat": "dog", "dog": "cat"}[label] for place, label in enumerate(labels)]
table = {
    "sha256": [f"{place:064}" for place in range(40)],
    "label": labels,
    "predicted": predicted,
    "probabilities": pa.array([[0.9, 0.1] if name == "cat" else [0.1, 0.9] for name in predicted], pa.list_(pa.float64(), 2)),
}
pq.write_table(pa.table(table), "reports/evaluation/predictions.parquet")
manifest = {"split": ["train"] * 2 + ["test"] * 40, "group": pa.array([None] * 42, pa.string())}
pq.write_table(pa.table(manifest), "data/transformed/manifest.parquet")
accuracy = right / 40
texts = {
    "data/transformed/transform.json": {
        "size": 4,
        "mode": "L",
        "resize": "stretch",
        "mean": [0.5],
        "std": [0.3],
        "classes": ["cat", "dog"],
    },
    "reports/evaluation/intervals.json": {"accuracy": {"value": accuracy, "low": accuracy - 0.1, "high": 1.0}},
    "reports/metrics.json": {"images": 40, "accuracy": accuracy, "log_loss": 1 - accuracy, "ece": 0.1},
    "reports/training.json": {"epochs": 30, "parameters": 57000, "hardware": "none"},
    "reports/optimize.json": {"epochs": 99},
    "reports/gate.json": {"passed": accuracy >= 0.85, "rules": []},
}
for name, content in texts.items():
    Path(name).write_text(json.dumps(content))
rows = [f"{epoch},0.1,1,0.5,{1 / epoch},{accuracy * (1 - 1 / (epoch + 1))}" for epoch in range(1, 6)]
header = "epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy"
Path("reports/training/history.csv").write_text("\\n".join([header, *rows, ""]))
'''
PIPELINE = """stages:
  evaluate:
    cmd: python src/stage.py
    deps: [src/stage.py]
    params: [model, training, dataset.name]
    outs:
      - data/transformed
      - reports/evaluation
      - reports/training
      - reports/gate.json: {cache: false}
    metrics:
      - reports/metrics.json: {cache: false}
      - reports/training.json: {cache: false}
      - reports/optimize.json: {cache: false}
"""


def make_repository(root: Path) -> Path:
    """Make the repository, run the pipeline, and commit."""
    shutil.copytree(ROOT / "conf", root / "conf")
    shutil.copy(ROOT / "Makefile", root)
    (root / "src").mkdir()
    (root / "src/stage.py").write_text(STAGE)
    (root / "dvc.yaml").write_text(PIPELINE)
    call(root, "git", "init", "-q", "-b", "main")
    call(root, "git", "config", "user.name", "test")
    call(root, "git", "config", "user.email", "test@example.org")
    init_dvc(root)
    shutil.copy(ROOT / ".dvc/config", root / ".dvc/config")
    run_visiongate(root, "params")
    call(root, "dvc", "repro", "-q")
    call(root, "git", "add", "-A")
    call(root, "git", "commit", "-qm", "Start")
    return root


def run_visiongate(
    root: Path, *arguments: str, check: bool = True, **environment: str
) -> tuple[int, str, str]:
    """Run ``visiongate`` in the repository; return its exit status, standard output and standard error."""
    command = ("python", "-m", "visiongate", *arguments)
    result = call(root, *command, check=check, PYTHONPATH=str(ROOT / "src"), **environment)
    return result.returncode, result.stdout, result.stderr


def end_workers(root: Path) -> None:
    """Kill the workers of the queue, and what they run."""
    for path in root.glob(".dvc/tmp/exps/**/*.json"):
        with suppress(ValueError, KeyError, TypeError, ProcessLookupError, FileNotFoundError):
            os.killpg(os.getpgid(json.loads(path.read_text())["pid"]), signal.SIGKILL)
