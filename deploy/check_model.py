# ruff: noqa: INP001 - a script
"""Fail the build of an image whose model is not the expected one; see `deploy/Dockerfile`.

Usage: check_model.py FOLDER NAME VERSION SHA256, where an empty argument expects nothing.
"""

import hashlib
import json
import sys
from pathlib import Path

KEYS = ("name", "version", "sha256")


def find_differences(folder: Path, expected: dict[str, str]) -> list[str]:
    """Return where a folder of ``visiongate registry export`` differs from what is expected, and from itself.

    Args:
        folder: With ``model.onnx`` and ``served.json``.
        expected: The name, version and sha256 of the model, as far as they are given.
    """
    described = json.loads((folder / "served.json").read_text(encoding="utf-8"))
    actual = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    wrong = [
        f"served.json has the {key} {described[key]}, not {value}"
        for key, value in expected.items()
        if value not in ("", described[key])
    ]
    if actual != described["sha256"]:
        wrong.append(f"model.onnx has the sha256 {actual}, not the {described['sha256']} of served.json")
    return wrong


if __name__ == "__main__":
    if differences := find_differences(Path(sys.argv[1]), dict(zip(KEYS, sys.argv[2:], strict=True))):
        sys.exit(f"The model is not the expected one: {'; '.join(differences)}. Run: make -C deploy model")
