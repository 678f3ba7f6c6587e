"""``visiongate doctor``: show the versions and the hardware of this machine, and the problems that would stop a run."""

import json
import os
import platform
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from visiongate.adapters.dvc import run_dvc
from visiongate.errors import VisiongateError
from visiongate.images.extras import MODULES, check_installed, is_installed
from visiongate.settings.loading import load_settings
from visiongate.training.hardware import choose_hardware

PACKAGES = (
    "torch",
    "torchvision",
    "onnxruntime",
    "mlflow",
    "dvc",
    "optuna",
    "great-expectations",
    "hydra-core",
)
PROGRAMS = ("git", "make", "node")


def run(*, as_json: bool) -> int:
    """Print the findings; return 1 if one of them stops the pipeline."""
    findings: dict[str, str] = {}
    problems = [name for name, check in CHECKS.items() if not _examine(name, check, findings)]
    if as_json:
        print(json.dumps({"findings": findings, "problems": problems}, indent=2))
    else:
        width = max(map(len, findings))
        print("\n".join(f"{name:<{width}}  {text}" for name, text in findings.items()))
    return 1 if problems else 0


def _examine(name: str, check: Callable[[], str], findings: dict[str, str]) -> bool:
    try:
        findings[name] = check()
    except (VisiongateError, metadata.PackageNotFoundError, OSError) as error:
        findings[name] = f"PROBLEM: {error}"
        return False
    return True


def _python() -> str:
    return f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores"


def _packages() -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)


def _programs() -> str:
    return ", ".join(f"{name} {'found' if shutil.which(name) else 'missing'}" for name in PROGRAMS)


def _settings() -> str:
    settings = load_settings()
    return f"params.yaml is valid: dataset {settings.dataset.name}, model {settings.model.name}"


def _extras() -> str:
    check_installed(load_settings().dataset.extras)
    return ", ".join(f"{name} {'found' if is_installed(name) else 'missing'}" for name in MODULES)


def _hardware() -> str:
    training = load_settings().training
    hardware = choose_hardware(training.device, training.precision)
    return f"device {hardware.device}, precision {hardware.precision}"


def _links() -> str:
    types = run_dvc(["config", "cache.type"], Path.cwd()).strip()
    folder = run_dvc(["cache", "dir"], Path.cwd()).strip()
    return f"{folder}, link types in order: {types}"


def _remote() -> str:
    name = run_dvc(["config", "core.remote"], Path.cwd()).strip()
    run_dvc(["status", "--cloud", "--json"], Path.cwd())
    return f"default remote {name} is reachable"


def _telemetry() -> str:
    analytics = run_dvc(["config", "core.analytics"], Path.cwd()).strip()
    return f"DVC analytics: {analytics}; MLflow telemetry is off in stages and in `make mlflow`"


CHECKS: dict[str, Callable[[], str]] = {
    "python": _python,
    "packages": _packages,
    "programs": _programs,
    "settings": _settings,
    "extras": _extras,
    "hardware": _hardware,
    "cache": _links,
    "remote": _remote,
    "telemetry": _telemetry,
}
