"""A folder outside of the repository: changes are detected, and killed stages leave no damage."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from clones import call, changed_stages, clone_tree

pytestmark = pytest.mark.slow

PER_CLASS = 40
# Characters that Hydra, YAML or a shell would read as something else.
FOLDER = "My 'Images' (2026), [größe]=#1 & ${x}"
DATA_STAGES = ("ingestion", "validation", "preparation", "transformation")


def write_image(path: Path, seed: int) -> None:
    """Write an image of large soft blobs."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two classes, outside of the repository."""
    folder = tmp_path_factory.mktemp("images") / FOLDER
    for index in range(2 * PER_CLASS):
        write_image(folder / ("cat", "dog")[index % 2] / f"{index:03d}.png", index)
    return folder


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """Return a clone whose data stages have run on the folder; each test restores their outputs."""
    folder = clone_tree(tmp_path_factory.mktemp("clone"))
    call(folder, sys.executable, "-m", "visiongate", "use", str(images), PYTHONPATH="src")
    call(folder, "dvc", "repro", "transformation")
    return folder


def images_in(folder: Path) -> int:
    return int(json.loads((folder / "data/raw/dataset.json").read_text())["images"])


def outputs(folder: Path) -> dict[str, str]:
    """Return the md5 of each output of the data stages."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in DATA_STAGES for out in stages[stage]["outs"]}


def test_added_edited_and_removed_images_are_detected(clone: Path, images: Path) -> None:
    before = outputs(clone)
    assert not changed_stages(clone) & set(DATA_STAGES)
    assert images_in(clone) == 2 * PER_CLASS

    write_image(images / "cat/added.png", 1000)
    call(clone, "dvc", "repro", "transformation")
    assert images_in(clone) == 2 * PER_CLASS + 1
    assert not changed_stages(clone) & set(DATA_STAGES)

    write_image(images / "cat/added.png", 1001)
    assert "ingestion" in changed_stages(clone)

    (images / "cat/added.png").unlink()
    call(clone, "dvc", "repro", "transformation")
    assert outputs(clone) == before


def test_a_run_after_killed_stages_gives_the_same_outputs(clone: Path) -> None:
    before = outputs(clone)
    generator = random.Random(0)  # noqa: S311 - not a secret
    for stage in DATA_STAGES:
        command = [sys.executable, "src/run.py", stage]
        process = subprocess.Popen(command, cwd=clone, start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(generator.uniform(0.2, 1.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    call(clone, "dvc", "repro", "--force", "transformation")
    assert outputs(clone) == before
    assert not [path for path in (clone / "data").rglob(".*") if path.is_file() and path.name != ".gitignore"]
