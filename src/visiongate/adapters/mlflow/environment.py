"""The environment of a run: machine, interpreter, packages, command and user."""

import getpass
import os
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")
# These versions are shown first; the full list is kept as an artifact.
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy", "mlflow")


def describe_environment() -> dict[str, Any]:
    """Return the interpreter, platform, processor and the versions of the most important packages."""
    installed = _installed()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": processor_name(CPU_INFO),
        "cores": os.cpu_count(),
        "packages": {name: installed.get(name) for name in PACKAGES},
    }


def list_requirements() -> str:
    """Return the installed packages in the format of ``requirements.txt``."""
    return "".join(f"{name}=={version}\n" for name, version in _installed().items())


def source_tags() -> dict[str, str]:
    """Return MLflow's own tags for the command and the user, and the name of the DVC experiment."""
    experiment = os.environ.get("DVC_EXP_NAME")
    return {
        "mlflow.source.name": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user_name(),
        **({"visiongate.dvc_experiment": experiment} if experiment else {}),
    }


def user_name() -> str:
    """Return the name of the user, or the number of a user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # As in a container.
        return str(os.getuid())


def processor_name(cpu_info: Path) -> str:
    """Return the name of the processor, which Linux gives in ``/proc/cpuinfo`` only."""
    if cpu_info.exists():
        for line in cpu_info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


# Reading the metadata of hundreds of packages takes a tenth of a second.
@cache
def _installed() -> dict[str, str]:
    return dict(sorted((item.name.lower(), item.version) for item in metadata.distributions()))
