"""The commands of the docs run: the quick ones in a fresh clone, each form of an experiment in DVC's queue."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clones import call
from doc_commands import COMMANDS, insert_folder, write_files

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
EXPERIMENTS = [command for command in COMMANDS if "dvc exp run" in command]
# One of those that differ in words only, which are composed in a faster test: test_docs.py.
FORMS = list({re.sub(r"[^\s=\[\]{}'\",]+", "word", command): command for command in EXPERIMENTS}.values())
QUEUE = """
import json, sys
from dvc.cli import main
for words in json.load(sys.stdin):
    if main(words):
        sys.exit(f"refused: {words}")
"""


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


def test_the_experiments_are_accepted(clone: Path, tmp_path: Path) -> None:
    """DVC composes each experiment and puts it into its queue, in one process, to import DVC once."""
    write_files(clone, tmp_path)
    queued = [["exp", "run", "--queue", *experiment_options(insert_folder(text, tmp_path))] for text in FORMS]
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
    assert result.stdout.count("Queued experiment") == len(FORMS)


def experiment_options(command: str) -> list[str]:
    """Return the options of `dvc exp run` without those that say where it runs."""
    words = shlex.split(command)
    return [word for word in words[words.index("run") + 1 :] if word not in {"--temp", "--queue"}]
