"""What a run has written: metrics, verdict, hashes and the registered version. Small values, which XCom holds."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from visiongate_dags.clone import Clone
from visiongate_dags.processes import read

Values = dict[str, Any]


def read_hashes(folder: Path, stages: Iterable[str]) -> dict[str, str]:
    """Return the md5 of each output of some stages, from ``dvc.lock``."""
    locked = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    return {out["path"]: out["md5"] for stage in stages for out in locked[stage].get("outs", ())}


def read_evaluation(folder: Path) -> Values:
    """Return the metrics of the test images, and the verdict of the gate."""
    verdict = read_json(folder / "reports/gate.json")
    return {
        "metrics": read_json(folder / "reports/metrics.json"),
        "gate_passed": verdict["passed"],
        "gate_failed": [
            f"{rule['name']}: {rule['metric']} = {rule['value']}, required {rule['required']}"
            for rule in verdict["rules"]
            if rule["passed"] is False
        ],
    }


def read_registration(clone: Clone) -> Values:
    """Return the decision about the model, its version and its MLflow run.

    Raises:
        RunError: The registry cannot be listed.
    """
    made = read_json(clone.folder / "reports/registration.json")
    command = [str(clone.project.python), "-m", "visiongate", "registry", "list", "--json"]
    versions = json.loads(read(command, clone.folder, clone.environment(PYTHONPATH="src")))
    run = next((each["run_id"] for each in versions if each["number"] == made["version"]), None)
    kept = ("name", "version", "decision", "reason", "model_sha256", "aliases")
    return {**{key: made[key] for key in kept}, "model_md5": made["lineage"]["model_md5"], "mlflow_run": run}


def read_json(path: Path) -> Any:  # noqa: ANN401 - plain values
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
