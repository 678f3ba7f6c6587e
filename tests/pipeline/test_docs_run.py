"""The commands of the docs run: the quick ones in a fresh clone, every experiment in DVC's queue, one experiment to its end."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clones import call
from doc_commands import COMMANDS, files_to_write
from drawn_images import write_images

pytestmark = pytest.mark.slow

# In this order. They need no network and take seconds.
IN_A_CLONE = (
    "dvc pull",
    "dvc status",
    "dvc metrics show",
    "dvc plots show",
    "make repro",
    "visiongate params --check",
    "visiongate gate",
    "visiongate gate --base main",
    "visiongate report --base main",
    "visiongate registry register",
    "visiongate registry list",
    "visiongate registry trace",
    "visiongate registry compare",
    "visiongate doctor",
)
AFTER_AN_EXPERIMENT = (
    "visiongate experiments",
    "visiongate adopt best --name better",
    "visiongate branch best better-settings",
)
# The experiment that runs to its end, and what makes it quick.
WHOLE = "dvc exp run -S dataset=flowers -S experiment=smoke"
NAME = "sweep-1a2b3c4d"
QUICK = (
    "transformation.size=16",
    "training.augmentation.shift=2",
    "training.epochs=1",
    "training.precision=fp32",
    "optimize.trials=1",
    "optimize.epochs=1",
    "optimize.min_images=0",
    "optimize.confirm_seeds=0",
    "evaluation.bootstrap_samples=50",
    "evaluation.latency_runs=5",
    "evaluation.corruption_images=5",
)
# Where the docs place the reader's images.
IMAGE_FOLDERS = ("/path/to/flowers", "/path/to/images", "/data/flowers")
EXPERIMENTS = [command for command in COMMANDS if "dvc exp run" in command]
QUEUE = """
import json, sys
from dvc.cli import main
for words in json.load(sys.stdin):
    if main(words):
        sys.exit(f"refused: {words}")
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flowers of the docs: three classes in a folder."""
    folder = tmp_path_factory.mktemp("images") / "flowers"
    write_images(folder, {"daisy": 60, "rose": 60, "tulip": 60})
    return folder


@pytest.fixture
def clone(committed_run: Path, tmp_path: Path) -> Path:
    """A clone with the committed run, and an environment that make considers ready."""
    folder = shutil.copytree(committed_run, tmp_path / "clone", symlinks=True)
    call(folder, "git", "branch", "--move", "main")
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        (folder / ".venv" / entry.name).symlink_to(entry)
    (folder / ".venv/.ready").unlink(missing_ok=True)
    (folder / ".venv/.ready").touch()
    return folder


def write_files(clone: Path, images: Path) -> None:
    """Write the files that the docs ask the reader to write."""
    for path, content in files_to_write().items():
        (clone / path).write_text(insert_folder(content, images), encoding="utf-8")
    call(clone, "git", "add", "--all")
    call(clone, "git", "commit", "--quiet", "--message", "Add the files of the docs")


def insert_folder(text: str, images: Path) -> str:
    for folder in IMAGE_FOLDERS:
        text = text.replace(folder, str(images))
    return text


def run(clone: Path, command: str) -> str:
    """Run a command as a shell does; return its output."""
    if command.startswith("visiongate "):
        command = f"'{sys.executable}' -m {command}"
    result = call(clone, "sh", "-c", command, check=False, COLUMNS="200", PYTHONPATH="src")
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    assert "Traceback" not in result.stderr, f"{command}\n{result.stderr}"
    return result.stdout + result.stderr


def test_the_commands_run_in_a_clone(clone: Path) -> None:
    outputs = {command: run(clone, command) for command in IN_A_CLONE}
    assert "up to date" in outputs["dvc status"]
    assert "accuracy" in outputs["dvc metrics show"]
    assert "index.html" in outputs["dvc plots show"]


def test_the_experiments_are_accepted(clone: Path, images: Path) -> None:
    """DVC composes each experiment and puts it into its queue, in one process, to import DVC once."""
    write_files(clone, images)
    queued = [
        ["exp", "run", "--queue", *experiment_options(insert_folder(text, images))] for text in EXPERIMENTS
    ]
    result = subprocess.run(
        [sys.executable, "-c", QUEUE],
        cwd=clone,
        input=json.dumps(queued),
        env={key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("Queued experiment") == len(EXPERIMENTS)


def experiment_options(command: str) -> list[str]:
    """Return the options of `dvc exp run` without those that say where it runs."""
    words = shlex.split(command)
    return [word for word in words[words.index("run") + 1 :] if word not in {"--temp", "--queue"}]


def test_an_experiment_on_the_data_set_of_the_docs_runs_to_its_end(clone: Path, images: Path) -> None:
    write_files(clone, images)
    output = run(clone, " ".join([WHOLE, f"--name {NAME}", *(f"-S {override}" for override in QUICK)]))
    assert "flowers: 180 images" in output
    assert json.loads((clone / "reports/registration.json").read_text())["name"]
    outputs = {command: run(clone, command) for command in AFTER_AN_EXPERIMENT}
    assert NAME in outputs["visiongate experiments"]
    assert (clone / "conf/experiment/better.yaml").exists()
