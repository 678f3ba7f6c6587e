"""The prediction log of the service: whether a new model is due, and the labels for it. Needs no Airflow."""

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from visiongate_dags.clone import IDENTITY, SQLITE, Clone
from visiongate_dags.processes import explain, run
from visiongate_dags.project import Project

ADDRESS = "VISIONGATE_SERVING__LOG__ADDRESS"
IMAGES = "VISIONGATE_SERVING__LOG__IMAGES__FOLDER"
DUE = "retrain"
# What `visiongate collect` and `dvc add` write.
LABELS = ("data/collected.csv", "data/corrections.csv", "data/collected.dvc", "data/.gitignore")
COLLECTED = "data/collected"

logger = logging.getLogger(__name__)


def find_log(project: Project) -> dict[str, str] | None:
    """Return the variables with the prediction log and the folder of the kept images, in full; None if there is no log.

    They are those of the environment, otherwise the settings of the project. A file of SQLite that does not exist is no log.
    """
    settings = _read_settings(project.folder / "params.yaml")
    address = os.environ.get(ADDRESS) or str(settings.get("address") or "")
    folder = os.environ.get(IMAGES) or str((settings.get("images") or {}).get("folder") or "")
    if address.startswith(SQLITE):
        path = project.folder / address.removeprefix(SQLITE)
        if not path.exists():
            return None
        address = f"{SQLITE}{path}"
    if not address:
        return None
    return {ADDRESS: address, IMAGES: folder if "://" in folder else str(project.folder / folder)}


def is_due(project: Project, log: Mapping[str, str]) -> bool:
    """Ask the prediction log whether a new model is due; the reasons go to the log of the task.

    Raises:
        RunError: The log cannot be read.
        TemporaryError: The process was killed, or lost its network.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "retrain.json"
        command = [str(project.python), "-m", "visiongate", "retrain-check", "--json", str(path)]
        ended = run(command, project.folder, project.environment(PYTHONPATH="src", **log))
        if not path.exists():
            raise explain(ended, "visiongate retrain-check")
        verdict: str = json.loads(path.read_text(encoding="utf-8"))["verdict"]
    return verdict == DUE


def collect_labels(clone: Clone, log: Mapping[str, str]) -> None:
    """Commit what people said about kept images in the clone, as training images and corrections.

    Raises:
        RunError: The log or the images cannot be read, or git failed.
        TemporaryError: A process was killed, or lost its network.
    """
    python = str(clone.project.python)
    _require(clone, [python, "-m", "visiongate", "collect"], log)
    if (clone.folder / COLLECTED).is_dir():
        _require(clone, [python, "-m", "dvc", "add", "--quiet", COLLECTED], {})
    clone.git("add", "--", *(path for path in LABELS if (clone.folder / path).exists()))
    if clone.git("diff", "--cached", "--name-only"):
        message = "Collect labels from feedback"
        clone.git(*IDENTITY, "commit", "--quiet", "--no-verify", "--message", message)


def _require(clone: Clone, command: list[str], variables: Mapping[str, str]) -> None:
    ended = run(command, clone.folder, clone.environment(PYTHONPATH="src", **variables))
    if ended.status:
        raise explain(ended, " ".join(command[2:4]))


def _read_settings(path: Path) -> Mapping[str, Any]:
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    log: Mapping[str, Any] = (settings.get("serving") or {}).get("log") or {}
    return log
