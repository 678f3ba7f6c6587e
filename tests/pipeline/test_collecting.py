"""From feedback to a trained-on image with real DVC and git: the printed commands work, here and in a clone."""

import hashlib
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clones import call
from logged_feedback import Visitors
from visiongate.monitoring.database import Database
from visiongate.records.manifest import read_manifest

pytestmark = pytest.mark.slow


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def next_commands(printed: str) -> list[str]:
    return re.findall(r"^  (\S.*)$", printed.partition("Next:")[2], re.MULTILINE)


@pytest.fixture
def repository(committed_run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    shutil.copytree(committed_run, folder, symlinks=True)
    return folder


@pytest.mark.no_cover
def test_the_printed_commands_train_on_the_collected_images(repository: Path, tmp_path: Path) -> None:
    visiongate = ("python", "-m", "visiongate")
    source = {"PYTHONPATH": str(repository / "src")}
    address = f"sqlite:///{repository}/logs/predictions.sqlite"
    (repository / "logs").mkdir(exist_ok=True)
    Database(address).close()
    visitors = Visitors(address, repository / "logs/images")
    for number in range(12):
        visitors.tell(picture(number), "3", str(number % 10))
    printed = call(repository, *visiongate, "collect", **source).stdout
    assert "     12  taken " in printed
    commands = next_commands(printed)
    assert commands[-1] == "visiongate repro"
    for command in commands[:-1]:
        call(repository, "sh", "-ec", command, **source)
    status = call(repository, "git", "status", "--porcelain").stdout
    assert not status
    assert "collected.csv" in call(repository, "git", "show", "--stat").stdout
    call(repository, "dvc", "push", "--quiet", "data/collected.dvc")
    # A clone without the images, in which the stage pulls them.
    clone = tmp_path / "clone"
    call(tmp_path, "git", "clone", "--quiet", str(repository), str(clone))
    shutil.copytree(repository / ".dvc/store", clone / ".dvc/store", dirs_exist_ok=True)
    assert not (clone / "data/collected").exists()
    call(clone, "dvc", "repro", "transformation", PYTHONPATH=str(clone / "src"))
    rows = read_manifest(clone / "data/transformed", columns=["sha256", "path", "split"]).to_pylist()
    collected = {row["sha256"]: row["split"] for row in rows if row["path"].startswith("collected/")}
    assert collected == {hashlib.sha256(picture(number)).hexdigest(): "train" for number in range(12)}
    # A second run with the same feedback has nothing to do.
    assert next_commands(call(repository, *visiongate, "collect", **source).stdout) == []
