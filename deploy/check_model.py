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
        folder: With ``model.onnx``, ``served.json`` and, if that names its hash, ``reference.npz``.
        expected: The name, version and sha256 of the model, as far as they are given.
    """
    described = json.loads((folder / "served.json").read_text(encoding="utf-8"))
    wrong = [
        f"served.json has the {key} {described[key]}, not {value}"
        for key, value in expected.items()
        if value not in ("", described[key])
    ]
    # Folders of older versions have no reference.
    for name, key in (("model.onnx", "sha256"), ("reference.npz", "reference_sha256")):
        if (known := described.get(key)) is not None:
            actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            if actual != known:
                wrong.append(f"{name} has the sha256 {actual}, not the {known} of served.json")
    return wrong


if __name__ == "__main__":
    if differences := find_differences(Path(sys.argv[1]), dict(zip(KEYS, sys.argv[2:], strict=True))):
        sys.exit(f"The model is not the expected one: {'; '.join(differences)}. Run: make -C deploy model")
