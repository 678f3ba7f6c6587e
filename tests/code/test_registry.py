"""The registry: versions store the evaluated file, and aliases point to the version to serve."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import tiny_models
from visiongate.adapters.mlflow.model_files import Candidate
from visiongate.adapters.mlflow.registry import Version, add_version, fetch_model, find_champion, find_version
from visiongate.adapters.mlflow.runs import find_or_create_run
from visiongate.adapters.mlflow.store import Store, TrackingError, open_store
from visiongate.records.files import sha256_of
from visiongate.registration import promotion
from visiongate.registration.aliases import apply_decision
from visiongate.registration.promotion import Decision
from workspaces import TRACKING, enter_workspace

NAME = "tiny"
REGISTERED = Decision("registered", "not significantly better")
REJECTED = Decision("rejected", "the gate failed")
LOAD = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"torch", "torchvision"}}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, NoTorch())
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("torch is there")
import mlflow
mlflow.set_tracking_uri({address!r})
model = mlflow.pyfunc.load_model("models:/tiny@champion")
print(model.predict(model.input_example)["probabilities"].argmax(axis=1).tolist())
print(model.metadata.signature.inputs, model.metadata.signature.outputs)
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    return open_store(TRACKING)


def add(store: Store, threshold: float = 127.5) -> Version:
    path = Path("model.onnx")
    tiny_models.write_threshold_model(path, threshold)
    images, _ = tiny_models.brightness_images(3)
    candidate = Candidate(path, sha256_of(path), images[-1:], {"network": "threshold"})
    run_id = find_or_create_run(store, candidate.sha256, "train tiny", {}, [])
    return add_version(store, NAME, candidate, run_id, {"origin": "here"})


def aliases(store: Store) -> dict[str, str]:
    return {key: str(value) for key, value in store.client.get_registered_model(NAME).aliases.items()}


def test_version_is_found_by_the_hash_of_its_file(store: Store) -> None:
    assert find_version(store, NAME, "abc") is None
    version = add(store)
    assert (version.number, version.aliases, version.tags["origin"]) == ("1", (), "here")
    assert find_version(store, NAME, sha256_of(Path("model.onnx"))) == version
    assert add(store, threshold=100).number == "2"


def test_registered_file_is_the_evaluated_file(store: Store) -> None:
    version = add(store)
    fetched = fetch_model(store, version)
    assert fetched.read_bytes() == Path("model.onnx").read_bytes()
    assert fetched.is_relative_to(Path.cwd() / "mlruns/artifacts")
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["mlruns", "model.onnx"]


def test_run_and_stored_model_link_to_the_version(store: Store) -> None:
    version = add(store)
    found = store.client.get_model_version(NAME, version.number)
    [output] = store.client.get_run(found.run_id).outputs.model_outputs
    logged = store.client.get_logged_model(output.model_id)
    assert logged.status == "READY"
    assert logged.tags["mlflow.modelVersions"] == '[{"name": "tiny", "version": "1"}]'


def test_changed_file_is_rejected(store: Store) -> None:
    version = add(store)
    fetch_model(store, version).write_bytes(b"something else")
    with pytest.raises(TrackingError, match="models:/tiny/1"):
        fetch_model(store, version)


def test_missing_file_is_an_error(store: Store) -> None:
    version = add(store)
    fetch_model(store, version).unlink()
    with pytest.raises(TrackingError, match=r"model\.onnx"):
        fetch_model(store, version)


@pytest.mark.slow
def test_champion_is_served_without_torch(store: Store, tmp_path: Path) -> None:
    apply_decision(store, add(store), None, promotion.promote_first())
    answer = subprocess.run(
        [sys.executable, "-c", LOAD.format(address=store.address)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    prediction, signature = answer.stdout.splitlines()
    assert prediction == "[1]"
    assert "'images': Tensor('uint8', (-1, 4, 4, 1))" in signature
    assert "'probabilities': Tensor('float32', (-1, 2))" in signature


def test_stored_requirements_and_signature_need_no_torch(store: Store) -> None:
    folder = fetch_model(store, add(store)).parent
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert [line.partition("==")[0] for line in requirements] == ["mlflow", "numpy", "onnx", "onnxruntime"]
    assert all("torch" not in path.read_text() for path in folder.iterdir() if path.suffix != ".onnx")
    description = yaml.safe_load((folder / "MLmodel").read_text())
    assert description["saved_input_example_info"]["artifact_path"] == "input_example.json"
    assert {"inputs", "outputs"} <= description["signature"].keys()


def test_first_promotion_sets_the_champion(store: Store) -> None:
    version = add(store)
    assert find_champion(store, NAME) is None
    champion = apply_decision(store, version, None, promotion.promote_first())
    assert champion.aliases == ("champion",)
    assert champion.tags["visiongate.decision"] == "promoted"
    assert "visiongate.previous_champion" not in champion.tags
    assert find_champion(store, NAME) == champion


def test_unregistered_model_has_no_champion(store: Store) -> None:
    assert find_champion(store, NAME) is None


def test_promotion_moves_the_alias_and_records_the_previous_champion(store: Store) -> None:
    first = apply_decision(store, add(store), None, promotion.promote_first())
    second = apply_decision(store, add(store, 100), first, REGISTERED)
    assert second.aliases == ("challenger",)
    better = Decision("promoted", "better")
    second = apply_decision(store, second, first, better)
    assert second.aliases == ("champion",)
    assert second.tags["visiongate.previous_champion"] == "1"
    assert aliases(store) == {"champion": "2"}


def test_last_registered_is_the_challenger(store: Store) -> None:
    first = apply_decision(store, add(store), None, promotion.promote_first())
    apply_decision(store, add(store, 100), first, REGISTERED)
    third = apply_decision(store, add(store, 90), first, REGISTERED)
    assert aliases(store) == {"champion": "1", "challenger": "3"}
    apply_decision(store, third, first, REJECTED)
    assert aliases(store) == {"champion": "1"}


def test_champion_that_fails_the_gate_stays_champion(store: Store) -> None:
    first = apply_decision(store, add(store), None, promotion.promote_first())
    first = apply_decision(store, first, first, REJECTED)
    assert first.aliases == ("champion",)
    assert first.tags["visiongate.decision"] == "rejected"
    first = apply_decision(store, first, first, promotion.keep_champion())
    assert first.tags["visiongate.decision"] == "promoted"


def test_champion_keeps_the_reason_of_its_promotion(store: Store) -> None:
    first = apply_decision(store, add(store), None, promotion.promote_first())
    again = apply_decision(store, first, first, promotion.keep_champion())
    assert again.tags["visiongate.reason"] == promotion.promote_first().reason
