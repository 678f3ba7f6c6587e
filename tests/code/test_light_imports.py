"""Help, settings and commands that run often start quickly, because they import nothing heavy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clones import ROOT
from filled_log import fill_log
from served_packages import hide_other_packages

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
    "import visiongate.monitoring.prediction_log": ["torch", "mlflow", "sqlalchemy"],
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


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables of Python in the served environment."""
    return hide_other_packages(tmp_path_factory.mktemp("served"))


def test_the_service_imports_only_its_packages(served: dict[str, str]) -> None:
    folders = [ROOT / "src/visiongate" / name for name in ("serving", "monitoring")]
    # Signatures are checked only with the extra `signing`.
    left_out = {*(ROOT / "src").rglob("__init__.py"), ROOT / "src/visiongate/serving/versions/signature.py"}
    files = [path for folder in folders for path in folder.rglob("*.py") if path not in left_out]
    modules = [".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in files]
    commands = ("serve", "smoke", "drift", "performance", "retrain_check", "rollout")
    code = f"import {', '.join([*modules, *(f'visiongate.commands.{name}' for name in commands)])}"

    subprocess.run([sys.executable, "-c", code], env=served, check=True)


def test_the_report_needs_only_the_packages_of_the_service(served: dict[str, str], tmp_path: Path) -> None:
    fill_log(f"sqlite:///{tmp_path}/log.sqlite")
    command = [sys.executable, "-m", "visiongate", "performance", "--html", "report.html"]
    environment = {**served, "VISIONGATE_SERVING__LOG__ADDRESS": f"sqlite:///{tmp_path}/log.sqlite"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)

    assert "Performance of the models" in (tmp_path / "report.html").read_text()


def test_a_command_whose_packages_are_missing_names_the_extra(served: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "visiongate", "predict", "photo.jpg"]
    ran = subprocess.run(command, cwd=tmp_path, env=served, capture_output=True, text=True, check=False)

    assert ran.returncode == 2
    assert ran.stderr.startswith("visiongate predict: ")
    assert ran.stderr.endswith("is not installed; run: pip install 'visiongate[pipeline]'\n")
