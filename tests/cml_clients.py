"""CML's client for tests: the real client if it is installed, otherwise a stand-in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSION = "0.20.6"
CLIENTS = ["stand-in", "real"]


def install_client(kind: str, folder: Path) -> Path:
    """Return a folder with the client for the PATH; skip the test if the real client is not installed."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "stand-in":
        script = folder / "cml"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/cml_standin.py" "$@"\n')
        script.chmod(0o755)
        return folder
    path = os.pathsep.join([str(ROOT / ".cml/node_modules/.bin"), os.environ["PATH"]])
    found = shutil.which("cml", path=path)
    if found is None or VERSION not in _version(found):
        pytest.skip(
            f"CML's client {VERSION} is not installed: `npm install --prefix .cml @dvcorg/cml@{VERSION}`"
        )
    return Path(found).parent


def best_client(folder: Path) -> Path:
    """Return a folder with the real client if it is installed, otherwise with the stand-in."""
    try:
        return install_client("real", folder)
    except pytest.skip.Exception:
        return install_client("stand-in", folder)


def _version(client: str) -> str:
    return subprocess.run([client, "--version"], capture_output=True, text=True, check=False).stdout
