"""Nothing that a registration stores, and nothing that the repository tracks, runs code when it is loaded."""

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
PICKLED = b"\x80"  # PROTO, with which protocols 2 to 5 begin
PROTOCOLS = {2, 3, 4, 5}


def is_pickle(content: bytes) -> bool:
    """Tell a pickle by its first opcode and by whether it can be read to its STOP; nothing in it is run."""
    if not (content[:1] == PICKLED and content[1:2] and content[1] in PROTOCOLS):
        return False
    try:
        return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(content))
    except (ValueError, UnicodeDecodeError):  # joblib puts the bytes of arrays in between
        return b"joblib" in content or b"numpy" in content


def unpacked(content: bytes) -> bytes:
    """What compression, by which joblib and others hide a pickle, hides."""
    for unpack in (gzip.decompress, zlib.decompress):
        try:
            return unpack(content)
        except (OSError, zlib.error, EOFError):
            continue
    return content


def findings(path: Path) -> list[str]:
    """What of a file would be unpickled by who loads it."""
    content = path.read_bytes()
    found = [f"{path}: named like a pickle"] if path.suffix in NAMES else []
    if is_pickle(content) or is_pickle(unpacked(content)):
        found.append(f"{path}: a pickle")
    if zipfile.is_zipfile(io.BytesIO(content)) and path.suffix != ".jar":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [
                name for name in archive.namelist() if is_pickle(archive.read(name)) or name.endswith(".pkl")
            ]
        found += [f"{path}: a pickle in {name}" for name in names]
    if path.suffix == ".npy":
        try:
            np.load(path, allow_pickle=False)
        except ValueError:
            found.append(f"{path}: an array of objects")
    return found


def scan(folder: Path) -> list[str]:
    return [line for path in sorted(folder.rglob("*")) if path.is_file() for line in findings(path)]


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


def test_the_line_makes_no_pickle(line_outputs: Path) -> None:
    scanned = [line_outputs / name for name in ("data", "models", "reports")]
    assert sum(1 for folder in scanned for _ in folder.rglob("*")) > 10
    assert [line for folder in scanned for line in scan(folder)] == []


def test_the_repository_tracks_no_pickle() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    assert len(paths) > 100
    assert [line for path in paths if path.is_file() for line in findings(path)] == []


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_a_pickle_by_any_name_is_noticed(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(pickle.dumps({"a": np.arange(3)}, protocol))
    assert findings(path) == [f"{path}: a pickle"]
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert findings(path) == [f"{path}: a pickle"]


def test_what_hides_a_pickle_is_noticed(tmp_path: Path) -> None:
    for name, compress in {"a.bin": 0, "b.bin": 3}.items():
        joblib.dump({"a": np.arange(30)}, tmp_path / name, compress=compress)
        assert findings(tmp_path / name) == [f"{tmp_path / name}: a pickle"]
    with zipfile.ZipFile(tmp_path / "c.bin", "w") as archive:  # as torch.save does
        archive.writestr("archive/data.pkl", pickle.dumps([1]))
    assert findings(tmp_path / "c.bin") == [f"{tmp_path}/c.bin: a pickle in archive/data.pkl"]
    np.save(tmp_path / "d.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert f"{tmp_path}/d.npy: an array of objects" in findings(tmp_path / "d.npy")
    (tmp_path / "e.pkl").touch()
    assert findings(tmp_path / "e.pkl") == [f"{tmp_path}/e.pkl: named like a pickle"]
