"""The packages of the served environment, and a way to run Python as if no others were installed."""

import json
import re
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.markers import Marker

from clones import ROOT

NOT_SERVED = {
    "dvc",
    "great-expectations",
    "hydra-core",
    "matplotlib",
    "mlflow",
    "onnx",
    "optuna",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "torch",
    "torchvision",
}
# Python imports this module when it starts. A package that is not served is missing, as in the served environment.
HIDE = """
import sys

HIDDEN = frozenset({hidden})

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hide())
"""


def normalize(name: str) -> str:
    """Return the name of a package as packaging compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(path: Path) -> dict[str, str]:
    """Return the version of each package of a lock file that this platform has."""
    lines = re.findall(
        r"^([\w.-]+)==([^\s;]+)(?: *; ([^#\\\n]+))?", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {
        normalize(name): pin for name, pin, marker in lines if not marker or Marker(marker.strip()).evaluate()
    }


def hide_other_packages(folder: Path) -> dict[str, str]:
    """Return the environment variables with which Python finds only the packages of requirements-serve.lock.

    Args:
        folder: Gets the module that hides the others.
    """
    # The tests measure coverage in processes, too.
    kept = {*read_lock(ROOT / "requirements-serve.lock"), "visiongate", "coverage"}
    hidden = {
        module
        for module, owners in packages_distributions().items()
        if not kept & {normalize(owner) for owner in owners}
    }
    (folder / "sitecustomize.py").write_text(HIDE.format(hidden=json.dumps(sorted(hidden))))
    return {"PYTHONPATH": f"{folder}:{ROOT / 'src'}"}
