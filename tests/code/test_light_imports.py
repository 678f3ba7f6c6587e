"""Help, settings and commands that run often start quickly, because they import nothing heavy."""

import json
import subprocess
import sys

from clones import ROOT

# In one process: each line imports more than the one before, and may import nothing of its list.
STEPS = {
    "import visiongate.cli": ["pydantic", "yaml", "numpy", "torch", "mlflow"],
    "load_settings(Path('params.yaml'))": [
        "great_expectations",
        "hydra",
        "mlflow",
        "numpy",
        "optuna",
        "pandas",
        "PIL",
        "pyarrow",
        "sklearn",
        "torch",
    ],
    "import visiongate.commands.params": ["torch", "mlflow", "numpy"],
    "import visiongate.commands.adopt": ["torch", "mlflow", "optuna"],
    "import visiongate.commands.registry": ["torch", "mlflow", "optuna"],
}
SCRIPT = """
import json, sys
from pathlib import Path

def load_settings(path):
    from visiongate.settings.loading import load_settings
    return load_settings(path)

found = {}
for step, heavy in json.loads(sys.argv[1]).items():
    exec(step)
    found[step] = sorted(set(heavy) & set(sys.modules))
print(json.dumps(found))
"""


def test_commands_import_nothing_heavy() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(STEPS)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout) == {step: [] for step in STEPS}
