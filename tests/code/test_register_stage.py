"""The stage `register`."""

import json
import shutil
import sqlite3
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import tiny_models
from registering import aliases, change
from visiongate.adapters.mlflow.runs import MODEL_TAG, open_run
from visiongate.adapters.mlflow.store import Store, TrackingError, open_store
from visiongate.records.files import md5_of, sha256_of
from visiongate.records.registration import RecordedLineage, Registration, read_registration
from visiongate.registration import promotion
from visiongate.registration import stage as register
from visiongate.settings.registry import NonInferiority
from visiongate.settings.schema import Settings
from workspaces import (
    enter_committed,
    write_arrays,
    write_judged_model,
    write_test_predictions,
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return enter_committed(tmp_path, monkeypatch)


def registered(settings: Settings, threshold: float = 127.5, **judged: Any) -> dict[str, Any]:  # noqa: ANN401
    write_judged_model(threshold, **judged)
    register.run(settings)
    return asdict(read_registration(Path("reports/registration.json")))


def versions(store: Store, settings: Settings) -> list[str]:
    name = settings.registry.name
    return sorted(str(item.version) for item in store.client.search_model_versions(f"name = '{name}'"))


def test_first_model_is_promoted(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    registered(settings)
    assert capsys.readouterr().out.startswith("digits-classifier version 1 promoted: ")
    registration = read_registration(Path("reports/registration.json"))
    assert registration == Registration(
        decision="promoted",
        reason=promotion.promote_first().reason,
        name="digits-classifier",
        version="1",
        aliases=["champion"],
        model_sha256=sha256_of(Path("models/model.onnx")),
        gate_passed=True,
        previous_champion=None,
        comparison=None,
        lineage=RecordedLineage(
            git_commit=git("rev-parse", "HEAD"),
            git_dirty=False,
            data_md5={"data/raw": None, "data/prepared": None, "data/transformed": None},
            model_md5=md5_of(Path("models/model.onnx")),
            params_sha256=None,
            differences=["dvc.lock: nothing recorded"],
        ),
    )


def test_same_model_twice_adds_no_version(settings: Settings) -> None:
    registered(settings)
    answer = registered(settings)
    assert (answer["version"], answer["decision"]) == ("1", "promoted")
    assert versions(open_store(settings.tracking), settings) == ["1"]


def test_better_model_is_promoted(settings: Settings) -> None:
    registered(settings, threshold=140)
    answer = registered(settings)
    assert (answer["decision"], answer["aliases"], answer["previous_champion"]) == (
        "promoted",
        ["champion"],
        "1",
    )
    comparison = answer["comparison"]
    assert comparison.pop("low") == pytest.approx(0.0259, abs=1e-3)
    assert comparison.pop("high") == pytest.approx(0.0830, abs=1e-3)
    assert comparison == {
        "metric": "accuracy",
        "champion": 0.945,
        "challenger": 1.0,
        "difference": 0.055,
        "p_value": 0.5**11,
        "test": "exact McNemar",
        "images": 200,
        "units": 200,
        "wins": 11,
        "losses": 0,
    }


def test_model_that_is_not_significantly_better_is_registered(settings: Settings) -> None:
    registered(settings)
    answer = registered(settings, threshold=129)
    assert (answer["decision"], answer["aliases"]) == ("registered", ["challenger"])
    assert answer["comparison"]["difference"] == pytest.approx(-0.01)


def test_model_that_fails_the_gate_has_no_alias(settings: Settings) -> None:
    answer = registered(settings, passed=False, accuracy=0.7)
    assert (answer["decision"], answer["version"], answer["aliases"]) == ("rejected", "1", [])
    assert "accuracy 0.7" in answer["reason"]
    [version] = open_store(settings.tracking).client.search_model_versions(
        f"name = '{settings.registry.name}'"
    )
    assert version.tags["visiongate.decision"] == "rejected"
    assert registered(settings)["aliases"] == ["champion"]


@pytest.mark.parametrize(
    ("classes", "allowed", "decision"),
    [
        (("dark", "light"), False, "rejected"),
        (("dark", "light"), True, "registered"),
        ((*tiny_models.CLASSES, "more"), False, "registered"),
    ],
)
def test_champion_with_other_classes_is_not_compared(
    settings: Settings, *, classes: tuple[str, ...], allowed: bool, decision: str
) -> None:
    registered(settings)
    write_judged_model()
    tiny_models.write_threshold_model(Path("models/model.onnx"), classes=classes)
    register.run(change(settings, allow_lost_classes=allowed))
    answer = json.loads(Path("reports/registration.json").read_text())
    assert answer["decision"] == decision
    assert answer["aliases"] == (["challenger"] if decision == "registered" else [])
    assert ("registry.allow_lost_classes" in answer["reason"]) == (decision == "rejected")


def test_champion_from_elsewhere_is_not_compared(settings: Settings) -> None:
    registered(settings)
    client = open_store(settings.tracking).client
    client.delete_model_version_tag(settings.registry.name, "1", MODEL_TAG)
    answer = registered(settings, threshold=129)
    assert (answer["decision"], answer["comparison"]) == ("registered", None)


def test_results_are_added_to_the_run_of_the_training(settings: Settings) -> None:
    write_judged_model()
    with open_run(
        settings.tracking, "train tiny", {}, {MODEL_TAG: sha256_of(Path("models/model.onnx"))}
    ) as run:
        pass
    registered(settings)
    store = open_store(settings.tracking)
    [found] = store.client.search_runs([store.experiment_id])
    assert found.info.run_id == run.id
    assert found.data.metrics == {"test/accuracy": 0.9, "test/images": 200.0}
    assert found.data.tags["visiongate.gate"] == "passed"
    [used] = found.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", "unknown")
    names = {item.path for item in store.client.list_artifacts(run.id)}
    assert names >= {"evaluation", "training", "manifest.parquet", "model_card.md", "params.yaml"}
    version = store.client.get_model_version(settings.registry.name, "1")
    assert version.description.startswith("# digits-classifier")


def test_new_store_gets_a_run_from_the_records(settings: Settings) -> None:
    lock = {"stages": {"train": {"params": {"params.yaml": {"model": {"lr": 0.1}}}}}}
    Path("dvc.lock").write_text(json.dumps(lock))
    registered(settings)
    store = open_store(settings.tracking)
    [found] = store.client.search_runs([store.experiment_id])
    assert found.info.run_name == "train threshold (reconstructed)"
    assert found.data.params == {"model.lr": "0.1"}
    assert [entry.value for entry in store.client.get_metric_history(found.info.run_id, "val_loss")] == [
        0.5,
        0.25,
    ]


def test_interrupted_registration_keeps_the_aliases(settings: Settings) -> None:
    registered(settings, threshold=140)
    store = open_store(settings.tracking)
    assert store.database is not None
    with sqlite3.connect(store.database) as connection:
        for change in ("INSERT", "UPDATE"):
            connection.execute(
                f"CREATE TRIGGER stop_{change} BEFORE {change} ON registered_model_aliases "
                "BEGIN SELECT RAISE(ABORT, 'killed'); END"
            )
    with pytest.raises(TrackingError, match="killed"):
        registered(settings)
    assert store.client.get_registered_model(settings.registry.name).aliases == {"champion": 1}
    with sqlite3.connect(store.database) as connection:
        connection.execute("DROP TRIGGER stop_INSERT")
        connection.execute("DROP TRIGGER stop_UPDATE")
    assert registered(settings)["aliases"] == ["champion"]
    assert versions(store, settings) == ["1", "2"]


def test_version_has_lineage_tags(settings: Settings) -> None:
    registered(settings)
    version = open_store(settings.tracking).client.get_model_version(settings.registry.name, "1")
    assert version.tags["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
    assert version.tags["visiongate.dvc_lock"] == "dvc.lock: nothing recorded"
    assert version.tags["visiongate.model_md5"] == md5_of(Path("models/model.onnx"))


def test_only_declared_files_are_written(settings: Settings) -> None:
    registered(settings)
    assert sorted(path.name for path in Path.cwd().iterdir()) == [
        ".git",
        "data",
        "mlruns",
        "models",
        "params.yaml",
        "reports",
    ]
    text = Path("reports/registration.json").read_text()
    assert str(Path.cwd()) not in text


def test_champion_is_not_run_on_its_training_images(settings: Settings) -> None:
    write_judged_model(140)
    # The champion was trained on the images that the challenger is tested on, and tested on none of them.
    images, labels = tiny_models.brightness_images(200)
    first, learned = (images[:1], labels[:1]), (images[1:], labels[1:])
    splits = {"train": learned, "val": first, "test": first}
    write_arrays(Path("data/transformed"), splits, tiny_models.transform())
    table = pq.read_table("reports/evaluation/predictions.parquet").slice(0, 1)
    pq.write_table(table, "reports/evaluation/predictions.parquet")
    register.run(settings)
    answer = registered(settings)
    assert (answer["decision"], answer["comparison"]) == ("registered", None)
    assert "199 of 200 evaluated images were left out" in answer["reason"]
    assert "visiongate registry promote" in answer["reason"]


def test_champion_of_an_older_version_is_compared_with_a_note(settings: Settings) -> None:
    registered(settings, threshold=140)
    store = open_store(settings.tracking)
    [run] = store.client.search_runs([store.experiment_id])
    for name in ("manifest.parquet", "evaluation/predictions.parquet"):
        Path(run.info.artifact_uri, name).unlink()
    answer = registered(settings)
    assert answer["decision"] == "promoted"
    assert "are not recorded, so it may have learned" in answer["reason"]


# Settings


def test_images_of_one_patient_are_one_unit(settings: Settings) -> None:
    patients = [str(index // 20) for index in range(200)]
    registered(settings, threshold=140, groups=patients)
    answer = registered(settings, groups=patients)
    # All eleven images that only the challenger predicts correctly are of one patient.
    assert answer["decision"] == "registered"
    assert (answer["comparison"]["wins"], answer["comparison"]["units"]) == (11, 10)
    assert "10 groups" in answer["comparison"]["test"]


def test_single_group_is_not_compared(settings: Settings) -> None:
    registered(settings, threshold=140, groups=["one"] * 200)
    answer = registered(settings, groups=["one"] * 200)
    assert (answer["decision"], answer["comparison"]) == ("registered", None)


def test_other_metric_is_compared_by_bootstrap(settings: Settings) -> None:
    chosen = change(settings, metric="balanced_accuracy", samples=500)
    registered(chosen, threshold=140)
    answer = registered(chosen)
    assert answer["decision"] == "promoted"
    assert answer["comparison"]["metric"] == "balanced_accuracy"
    assert answer["comparison"]["champion"] == pytest.approx(0.945)
    assert answer["comparison"]["test"] == "paired bootstrap over 200 images"


def test_each_model_has_its_own_threshold(settings: Settings) -> None:
    # Without a threshold, both predict "bright" from a mean of 140; a low threshold lowers that mean.
    registered(settings, threshold=140)
    set_threshold(0.5)
    write_judged_model(140.2)
    set_threshold(1e-5)
    register.run(settings)
    answer = json.loads(Path("reports/registration.json").read_text())
    # 140.2 - ln(99999) = 128.7, so most of the bright images are predicted correctly.
    assert (answer["decision"], answer["comparison"]["losses"]) == ("promoted", 0)
    assert answer["comparison"]["challenger"] > answer["comparison"]["champion"] == 0.945
    store = open_store(settings.tracking)
    tags = store.client.get_model_version(settings.registry.name, "2").tags
    assert tags["visiongate.threshold"] == "1e-05"
    again = registered(settings, threshold=127.5)
    assert again["comparison"]["champion"] == answer["comparison"]["challenger"]


def set_threshold(threshold: float) -> None:
    path = Path("reports/metrics.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "threshold": threshold}))
    write_test_predictions(threshold)


def test_removed_threshold_is_cleared(settings: Settings) -> None:
    write_judged_model()
    set_threshold(0.4)
    register.run(settings)
    registered(settings)
    tags = open_store(settings.tracking).client.get_model_version(settings.registry.name, "1").tags
    assert "visiongate.threshold" not in tags


@pytest.mark.parametrize(
    ("margin", "by", "decision"),
    [(0.03, 0.2, "promoted"), (0.03, 0.99, "registered"), (0.01, 0.2, "registered")],
)
def test_smaller_model_is_promoted_within_the_margin(
    settings: Settings, margin: float, by: float, decision: str
) -> None:
    required = change(settings, non_inferiority=NonInferiority(margin=margin, gain="size", by=by))
    write_judged_model(129)
    tiny_models.write_threshold_model(Path("models/model.onnx"), 129, padding=4000)
    register.run(required)
    answer = registered(required, threshold=129.1)
    assert (answer["decision"], answer["comparison"]["difference"]) == (decision, 0), answer["reason"]


def test_faster_model_must_save_enough(settings: Settings) -> None:
    chosen = change(settings, non_inferiority=NonInferiority(margin=0.03, gain="latency", by=0.95))
    registered(chosen)
    answer = registered(chosen, threshold=127.6)
    assert answer["decision"] == "registered"
    assert " ms against " in answer["reason"]


# The work tree


@pytest.fixture
def code(settings: Settings) -> Path:  # noqa: ARG001 - enters the workspace
    """A committed file."""
    Path("code.py").write_text("first")
    git("add", "code.py")
    git("commit", "-qm", "first")
    return Path("code.py")


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    result = subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True)
    return result.stdout.strip()


def test_uncommitted_model_moves_no_alias_until_it_is_committed(settings: Settings, code: Path) -> None:
    registered(settings, threshold=140)
    code.write_text("changed")
    answer = registered(settings)
    assert (answer["decision"], answer["version"], answer["aliases"]) == ("registered", "2", [])
    assert answer["comparison"]["difference"] == 0.055
    for part in ("code.py", git("rev-parse", "--short=7", "HEAD"), "visiongate registry promote"):
        assert part in answer["reason"]
    store = open_store(settings.tracking)
    assert aliases(store, settings) == {"champion": "1"}
    tags = store.client.get_model_version(settings.registry.name, "2").tags
    assert (tags["visiongate.git_dirty"], tags["visiongate.decision"]) == ("true", "registered")

    git("commit", "-qam", "second")
    answer = registered(settings)
    assert (answer["decision"], answer["version"], answer["aliases"]) == ("promoted", "2", ["champion"])
    tags = store.client.get_model_version(settings.registry.name, "2").tags
    assert tags["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
    assert tags["visiongate.git_dirty"] == "false"


def test_experiment_moves_no_alias(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", git("rev-parse", "HEAD"))
    monkeypatch.setenv("DVC_EXP_NAME", "rooky-nard")
    answer = registered(settings)
    assert (answer["decision"], answer["aliases"]) == ("registered", [])
    assert "`visiongate branch rooky-nard rooky-nard`" in answer["reason"]
    assert registered(settings, passed=False)["decision"] == "rejected"
    assert aliases(open_store(settings.tracking), settings) == {}


def test_folder_without_a_commit_moves_no_alias(settings: Settings) -> None:
    shutil.rmtree(".git")
    answer = registered(settings)
    assert (answer["decision"], answer["aliases"]) == ("registered", [])
    assert answer["lineage"]["git_commit"] == "unknown"
    assert "git init" in answer["reason"]


def test_champion_keeps_its_tags_in_a_dirty_tree(settings: Settings, code: Path) -> None:
    registered(settings)
    store = open_store(settings.tracking)
    before = store.client.get_model_version(settings.registry.name, "1").tags
    code.write_text("changed")
    answer = registered(settings)
    assert (answer["decision"], answer["aliases"]) == ("promoted", ["champion"])
    assert answer["lineage"]["git_dirty"]
    assert store.client.get_model_version(settings.registry.name, "1").tags == before


def test_rejected_model_keeps_its_threshold(settings: Settings) -> None:
    registered(settings)
    write_judged_model(129, passed=False)
    metrics = json.loads(Path("reports/metrics.json").read_text())
    Path("reports/metrics.json").write_text(json.dumps({**metrics, "threshold": 0.3}))

    register.run(settings)

    client = open_store(settings.tracking).client
    assert client.get_model_version(settings.registry.name, "2").tags["visiongate.threshold"] == "0.3"
