"""Fixtures that all tests share."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# There are as many test processes as cores; see src/run.py for the first variable.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest_plugins = ("shared_github",)
# A shell makes background processes ignore Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).parents[1]
OUTPUTS = ("data/raw", "data/prepared", "data/transformed", "models/model.onnx", "reports/validation")


@pytest.fixture(autouse=True)
def _propagating_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo `logs.configure` of an earlier test, so that ``caplog`` gets the messages."""
    monkeypatch.setattr(logging.getLogger("visiongate"), "propagate", True)


@pytest.fixture(scope="session")
def pipeline_outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the outputs of the pipeline: the root, or a copy that pulls the committed run."""
    if all((ROOT / name).exists() for name in OUTPUTS):
        return ROOT
    folder = tmp_path_factory.mktemp("pulled")
    for name in ("dvc.yaml", "dvc.lock", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    shutil.copytree(ROOT / "reports", folder / "reports")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    command = [sys.executable, "-m", "dvc", "pull", "--quiet", "--remote", "store"]
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"the committed run is not in .dvc/store: {result.stderr.strip()}")
    return folder
