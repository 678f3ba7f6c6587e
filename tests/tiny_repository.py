"""A repository with a pipeline of two small stages: folders, files, metrics in git, parameters."""

import shutil
from pathlib import Path

from clones import call, init_dvc

STAGES = """\
stages:
  prepare:
    cmd: python prepare.py
    deps: [images.txt, prepare.py]
    outs: [data]
  train:
    cmd: python train.py
    deps: [data, train.py]
    params: [width]
    outs: [model]
    metrics:
      - metrics.json:
          cache: false
"""
TRACE = """\
import os
from pathlib import Path

with open(os.environ.get("TRACE", os.devnull), "a") as trace:
    print({name!r}, file=trace)
"""
PREPARE = """
Path("data").mkdir(exist_ok=True)
for index in range(4):
    Path(f"data/{index}.bin").write_text(Path("images.txt").read_text() + str(index) * 20_000)
"""
TRAIN = """
width = int(Path("params.yaml").read_text().split()[-1])
Path("model").write_text(Path("data/0.bin").read_text()[:10] + "w" * 3_000_000 * width)
Path("metrics.json").write_text(f'{{"width": {width}, "images": "{Path("data/0.bin").read_text()[:5]}"}}')
"""
FILES = ("data/0.bin", "data/1.bin", "data/2.bin", "data/3.bin", "model")


def make_repository(folder: Path) -> Path:
    """Make the repository, run the pipeline, and commit."""
    folder.mkdir(parents=True)
    for command in ("git init -q", "git config user.name test", "git config user.email test@example.org"):
        call(folder, *command.split())
    init_dvc(folder)
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / "prepare.py").write_text(TRACE.format(name="prepare") + PREPARE)
    (folder / "train.py").write_text(TRACE.format(name="train") + TRAIN)
    (folder / "images.txt").write_text("first")
    (folder / "params.yaml").write_text("width: 1\n")
    call(folder, "dvc", "repro", "-q")
    return commit(folder)


def commit(folder: Path) -> Path:
    """Commit all files that git does not ignore."""
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "Commit")
    return folder


def clone(origin: Path, target: Path) -> Path:
    """Clone the repository as a colleague does."""
    call(origin, "git", "clone", "-q", str(origin), str(target))
    call(target, "git", "config", "user.name", "colleague")
    call(target, "git", "config", "user.email", "colleague@example.org")
    return target


def copy(origin: Path, target: Path) -> Path:
    """Copy the repository with its cache."""
    return shutil.copytree(origin, target, symlinks=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the outputs that are in the work tree."""
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def cached(folder: Path) -> dict[str, bytes]:
    """Return the objects in the cache by their ids."""
    store = folder / ".dvc/cache/files/md5"
    return {
        path.parent.name + path.name: path.read_bytes() for path in store.rglob("[!.]*") if path.is_file()
    }


def settings_files(folder: Path) -> dict[str, bytes]:
    """Return the content of DVC's settings files."""
    paths = (folder / ".dvc/config", folder / ".dvc/config.local")
    return {path.name: path.read_bytes() for path in paths if path.exists()}
