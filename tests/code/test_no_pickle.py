"""No file that the pipeline, a registration or the repository contains is a pickle, which would run code when loaded."""

import gzip
import io
import pickle
import pickletools
import subprocess
import zipfile
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest

from visiongate.adapters.mlflow.runs import MODEL_TAG, open_run
from visiongate.registration import stage as register
from workspaces import ROOT, enter_workspace, tracked_settings, write_judged_model

NAMES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".dill", ".cloudpickle"}
# The opcode PROTO, the first byte in protocols 2 to 5.
PICKLED = b"\x80"
PROTOCOLS = {2, 3, 4, 5}


def is_pickle(content: bytes) -> bool:
    """Return whether the content starts with PROTO and can be parsed to STOP, without running it."""
    if not (content[:1] == PICKLED and content[1:2] and content[1] in PROTOCOLS):
        return False
    try:
        return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(content))
    # joblib inserts the bytes of arrays, which cannot be parsed.
    except (ValueError, UnicodeDecodeError):
        return b"joblib" in content or b"numpy" in content


def decompress(content: bytes) -> bytes:
    """Return the content without the compression that joblib and others apply."""
    for unpack in (gzip.decompress, zlib.decompress):
        try:
            return unpack(content)
        except (OSError, zlib.error, EOFError):
            continue
    return content


def find_pickles(path: Path) -> list[str]:
    """List the pickles in a file."""
    content = path.read_bytes()
    problems = [f"{path}: named like a pickle"] if path.suffix in NAMES else []
    if is_pickle(content) or is_pickle(decompress(content)):
        problems.append(f"{path}: a pickle")
    if zipfile.is_zipfile(io.BytesIO(content)) and path.suffix != ".jar":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [
                name for name in archive.namelist() if is_pickle(archive.read(name)) or name.endswith(".pkl")
            ]
        problems += [f"{path}: a pickle in {name}" for name in names]
    if path.suffix == ".npy":
        try:
            np.load(path, allow_pickle=False)
        except ValueError:
            problems.append(f"{path}: an array of objects")
    return problems


def scan(folder: Path) -> list[str]:
    return [line for path in sorted(folder.rglob("*")) if path.is_file() for line in find_pickles(path)]


def test_a_registration_stores_no_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    settings = tracked_settings()
    write_judged_model()
    with open_run(settings.tracking, "train tiny", {}, {MODEL_TAG: "none"}):
        pass
    register.run(settings)
    stored = {path.name for path in Path("mlruns").rglob("*") if path.is_file()}
    assert {"model.onnx", "MLmodel", "requirements.txt", "input_example.json", "environment.json"} <= stored
    assert scan(Path.cwd()) == []


def test_the_pipeline_writes_no_pickle(pipeline_outputs: Path) -> None:
    scanned = [pipeline_outputs / name for name in ("data", "models", "reports")]
    assert sum(1 for folder in scanned for _ in folder.rglob("*")) > 10
    assert [line for folder in scanned for line in scan(folder)] == []


def test_the_repository_tracks_no_pickle() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    assert len(paths) > 100
    assert [line for path in paths if path.is_file() for line in find_pickles(path)] == []


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_a_pickle_of_any_name_is_found(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(pickle.dumps({"a": np.arange(3)}, protocol))
    assert find_pickles(path) == [f"{path}: a pickle"]
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert find_pickles(path) == [f"{path}: a pickle"]


def test_a_pickle_inside_another_file_is_found(tmp_path: Path) -> None:
    for name, compress in {"a.bin": 0, "b.bin": 3}.items():
        joblib.dump({"a": np.arange(30)}, tmp_path / name, compress=compress)
        assert find_pickles(tmp_path / name) == [f"{tmp_path / name}: a pickle"]
    with zipfile.ZipFile(tmp_path / "c.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))
    assert find_pickles(tmp_path / "c.bin") == [f"{tmp_path}/c.bin: a pickle in archive/data.pkl"]
    np.save(tmp_path / "d.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert f"{tmp_path}/d.npy: an array of objects" in find_pickles(tmp_path / "d.npy")
    (tmp_path / "e.pkl").touch()
    assert find_pickles(tmp_path / "e.pkl") == [f"{tmp_path}/e.pkl: named like a pickle"]
