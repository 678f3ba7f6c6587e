"""On what a run ran: machine, interpreter, packages."""

import getpass
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")
PACKAGES = (
    "torch",
    "onnx",
    "onnxruntime",
    "numpy",
    "mlflow",
)  # whose versions are told apart from the long list


def describe_environment() -> dict[str, Any]:
    """Describe the interpreter, the platform, the processor and the packages that matter most."""
    installed = _installed()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": processor_name(CPU_INFO),
        "cores": os.cpu_count(),
        "packages": {name: installed.get(name) for name in PACKAGES},
    }


def list_requirements() -> str:
    """List the installed packages, as pip's ``requirements.txt`` takes them."""
    return "".join(f"{name}=={version}\n" for name, version in _installed().items())


def source_tags() -> dict[str, str]:
    """Name the command and the user by MLflow's own tags, which its pages show, and the experiment if DVC runs one."""
    experiment = os.environ.get("DVC_EXP_NAME")
    return {
        "mlflow.source.name": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        **({"visiongate.dvc_experiment": experiment} if experiment else {}),
    }


def processor_name(cpu_info: Path) -> str:
    """Name the processor; Linux tells it only in ``/proc/cpuinfo``."""
    if cpu_info.exists():
        for line in cpu_info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _installed() -> dict[str, str]:
    return dict(sorted((item.name.lower(), item.version) for item in metadata.distributions()))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())
