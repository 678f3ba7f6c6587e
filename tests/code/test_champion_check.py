"""`visiongate registry check` and `visiongate issue`: the champion is judged again, and one issue says that it falls short."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tiny_models
from command_line import run_cli
from github_imitation import BOT, READER, GitHub
from pull_requests import make_registration
from visiongate.commands import champion_check as command
from visiongate.delivery import champion_check as module
from visiongate.errors import DataError
from visiongate.evaluation import result as evaluation
from visiongate.monitoring.database import Database
from visiongate.monitoring.entries import Feedback, LoggedModel, LoggedPrediction, new_prediction_id
from visiongate.records.files import sha256_of, write_json
from visiongate.records.registration import write_registration
from visiongate.records.validation import ValidationReport, write_validation
from visiongate.registration import stage as register
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings
from workspaces import ROOT, TRACKING, commit_workspace, enter_workspace, write_arrays, write_judged_model

MODEL = Path("models/model.onnx")
CHECK, REPORT = Path("check/check.json"), Path("check/report.md")
FILES = ("--json", str(CHECK), "--report", str(REPORT))
RULES = {
    "accuracy": {"metric": "accuracy", "comparison": ">=", "threshold": 0.9},
    "against_base": {"metric": "accuracy", "max_drop": 0.05},
}
LATENCY = {"latency_p50_ms": 2.0, "latency_batch_p50_ms": 10.0}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Return the latencies that are measured, one after the other; the last one from then on."""
    rounds = [{**LATENCY}]

    def measure(*_: object) -> dict[str, float]:
        return rounds.pop(0) if len(rounds) > 1 else rounds[0]

    for patched in (evaluation, module):
        monkeypatch.setattr(patched, "measure_latency", measure)
    monkeypatch.setattr(command, "processor_name", lambda _: "A processor")
    return rounds


def check_settings() -> Settings:
    quick = {"bootstrap_samples": 50, "corruption_images": 0}
    values = {"gate.rules": RULES, **{f"evaluation.{key}": value for key, value in quick.items()}}
    settings = replace_settings(load_settings(ROOT / "params.yaml"), values, "test")
    return settings.model_copy(update={"tracking": TRACKING})


@pytest.fixture
def workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[dict[str, float]]
) -> list[dict[str, float]]:
    """Enter a work tree with a promoted model that has an accuracy of 1, and no registry."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "load_settings", check_settings)
    write_judged_model(accuracy=1.0)
    write_validation(Path("reports/validation/result.json"), ValidationReport(200, ()))
    write_json(Path("reports/latency.json"), LATENCY)
    promote()
    return measured


def promote() -> None:
    found = replace(make_registration("promoted", "better", "pets"), model_sha256=sha256_of(MODEL))
    write_registration(Path("reports/registration.json"), found)


def results() -> dict[str, dict[str, Any]]:
    rules = json.loads(CHECK.read_text())["verdict"]["rules"]
    return {f"{rule['name']} {rule['metric']}": rule for rule in rules}


@pytest.mark.usefixtures("workspace")
def test_a_champion_that_is_as_good_as_it_was_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "check", *FILES) == 0
    out = capsys.readouterr().out
    assert out.startswith("pets version 2, of the commit\n")
    assert out.endswith("The gate passed. Not evaluated: 3.\n")
    text = REPORT.read_text()
    assert text.startswith("✅ `The champion passes all rules`")
    assert "Accuracy on the current test images: 1 (0.9" in text
    assert results()["against_base accuracy"]["note"] == "base: 1"


@pytest.mark.usefixtures("workspace")
def test_images_that_it_gets_wrong_make_it_fall_short(capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = tiny_models.brightness_images(200)
    labels[:20] = 1 - labels[:20]
    write_split(images, labels)
    assert run_cli("registry", "check", *FILES) == 1
    # 180 of 200 are not fewer than 90%, but 10 points below the recorded accuracy.
    assert "The gate failed: against_base" in capsys.readouterr().out
    assert REPORT.read_text().startswith("❌ `The champion falls short: against_base`")


def write_split(images: np.ndarray, labels: np.ndarray) -> None:
    """Replace the test split."""
    others = images[[0, -1]].copy()
    others[:, 0, 0] = 128
    train = (others, np.array([0, 1]))
    splits = {"train": train, "val": (others + 1, np.array([0, 1])), "test": (images, labels)}
    write_arrays(Path("data/transformed"), splits, tiny_models.transform())


@pytest.mark.usefixtures("workspace")
def test_no_tracked_file_changes() -> None:
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    run_cli("registry", "check", *FILES)
    after = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    assert set(after) - set(before) == {CHECK, REPORT}
    assert {path: after[path] for path in before} == before


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (MODEL.unlink, "no such file; `dvc repro train` writes it, `dvc pull` downloads it"),
        (lambda: tiny_models.write_threshold_model(MODEL, 100), "was promoted; run `dvc pull`"),
        (
            lambda: write_registration(
                Path("reports/registration.json"), make_registration("rejected", "the gate failed")
            ),
            "no champion: the registry has none, and the committed model was rejected",
        ),
        (lambda: write_transform({"classes": ["dark", "light"]}), "it has classes dark, bright"),
    ],
    ids=["no file", "another file", "not promoted", "other classes"],
)
def test_without_a_result_there_are_no_files(
    fault: Callable[[], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_cli("registry", "check", *FILES)
    fault()
    assert run_cli("registry", "check", *FILES, "--previous", str(CHECK)) == 2
    assert message in capsys.readouterr().err
    # Those of the earlier check would be taken for the result of this one.
    assert not CHECK.exists()
    assert not REPORT.exists()


def write_transform(changes: dict[str, object]) -> None:
    write_json(Path("data/transformed/transform.json"), {**tiny_models.transform(), **changes})


@pytest.mark.slow
def test_a_champion_of_the_registry_is_not_judged_by_images_that_it_has_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[dict[str, float]]
) -> None:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setattr(command, "load_settings", check_settings)
    commit_workspace()
    write_judged_model(accuracy=1.0)
    register.run(check_settings())
    write_validation(Path("reports/validation/result.json"), ValidationReport(200, ()))
    # Afterwards another model is committed, and two training images of the champion are test images.
    images, labels = tiny_models.brightness_images(200)
    learned = images[[0, -1]].copy()
    learned[:, 0, 0] = 128
    write_split(np.concatenate([images, learned]), np.concatenate([labels, np.array([1, 0])]))
    tiny_models.write_threshold_model(MODEL, 10)
    promote()

    assert run_cli("registry", "check", *FILES) == 0
    found = json.loads(CHECK.read_text())
    assert found["model"] == "digits-classifier version 1"
    assert found["sha256"] != sha256_of(MODEL)
    assert found["accuracy"]["value"] == 1.0
    assert results()["against_base accuracy"]["note"] == "the committed evaluation is of another model"
    assert measured


@pytest.mark.parametrize("is_committed", [True, False])
def test_only_the_committed_champion_is_judged_by_cross_validation(
    monkeypatch: pytest.MonkeyPatch, *, is_committed: bool
) -> None:
    transform = SimpleNamespace(protocol="cross_validation")
    monkeypatch.setattr(command, "check_arrays", lambda _: transform)
    monkeypatch.setattr(command, "check_contract", lambda *_: None)
    monkeypatch.setattr(command, "read_folds", lambda _: ["the folds"])
    champion = module.ChampionFile("pets version 2", "ab", object(), is_committed)  # type: ignore[arg-type]
    if is_committed:
        assert command.read_judging_folds(champion) == ["the folds"]
    else:
        with pytest.raises(DataError, match="pets version 2: cannot be judged by cross-validation"):
            command.read_judging_folds(champion)


@pytest.mark.slow
@pytest.mark.usefixtures("workspace")
def test_the_committed_model_is_judged_while_the_registry_has_no_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = enter_workspace(tmp_path / "registry", monkeypatch)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(registry / "mlruns", "mlruns")
    assert run_cli("registry", "check", *FILES) == 0
    assert json.loads(CHECK.read_text())["model"] == "pets version 2, of the commit"


# Latency


def test_a_slowdown_falls_short_and_is_not_what_the_next_check_compares_with(
    workspace: list[dict[str, float]],
) -> None:
    again = ("registry", "check", *FILES, "--previous", str(CHECK))
    assert run_cli(*again) == 0
    workspace[:] = [{"latency_p50_ms": 3.1, "latency_batch_p50_ms": 10.0}]
    for _ in range(2):
        assert run_cli(*again) == 1
        single, batch = results()["slowdown latency_p50_ms"], results()["slowdown latency_batch_p50_ms"]
        assert (single["passed"], single["required"]) == (False, "<= 3")
        assert (batch["passed"], batch["note"]) == (True, "1.00 times that of the last check")
    workspace[:] = [{"latency_p50_ms": 2.9, "latency_batch_p50_ms": 10.0}]
    assert run_cli(*again) == 0


def test_a_single_slow_measurement_does_not_count(workspace: list[dict[str, float]]) -> None:
    again = ("registry", "check", *FILES, "--previous", str(CHECK))
    run_cli(*again)
    workspace[:] = [{"latency_p50_ms": 100.0, "latency_batch_p50_ms": 100.0}, {**LATENCY}]
    assert run_cli(*again) == 0


def test_latencies_of_another_processor_or_model_are_not_compared(
    workspace: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    again = ("registry", "check", *FILES, "--previous", str(CHECK))
    run_cli(*again)
    workspace[:] = [{"latency_p50_ms": 9.0, "latency_batch_p50_ms": 90.0}]
    monkeypatch.setattr(command, "processor_name", lambda _: "Another processor")
    assert run_cli(*again) == 0
    assert results()["slowdown latency_p50_ms"]["note"] == "no earlier check on this processor"
    assert set(json.loads(CHECK.read_text())["latency"]) == {"A processor", "Another processor"}

    monkeypatch.setattr(command, "processor_name", lambda _: "A processor")
    tiny_models.write_threshold_model(MODEL, 127.4)
    promote()
    assert run_cli(*again) == 0
    assert results()["slowdown latency_p50_ms"]["note"] == "the earlier check was of another model"


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("content", [None, "", "{}", '{"latency": 3}'])
def test_an_earlier_check_that_cannot_be_read_is_none(content: str | None) -> None:
    if content is not None:
        Path("earlier.json").write_text(content)
    assert run_cli("registry", "check", "--previous", "earlier.json") == 0


# Feedback


def log_answers(right: int, wrong: int, *, sha256: str | None = None, asked: bool = True) -> str:
    """Write answers with feedback to a prediction log; return its address."""
    address = f"sqlite:///{Path.cwd()}/predictions.sqlite"
    database = Database(address)
    model = LoggedModel("pets", "2", sha256 or sha256_of(MODEL), tiny_models.CLASSES)
    for number in range(right + wrong):
        identifier = new_prediction_id()
        database.write([LoggedPrediction(identifier, model, "dark", 0.9, 5.0, asked=asked)])
        database.record_feedback(Feedback(identifier, "dark" if number < right else "bright"))
    database.close()
    return address


@pytest.mark.usefixtures("workspace")
def test_feedback_that_contradicts_the_test_images_falls_short() -> None:
    assert run_cli("registry", "check", *FILES, "--log", log_answers(40, 40)) == 1
    feedback = results()["feedback accuracy"]
    assert (feedback["passed"], feedback["value"]) == (False, 0.5)
    assert feedback["high"] < float(feedback["required"].split()[1])
    assert feedback["note"] == "80 labels that the service asked for"


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("answers", "note", "passed"),
    [
        ({"right": 60, "wrong": 0}, "60 labels that the service asked for", True),
        ({"right": 0, "wrong": 29}, "29 labels that the service asked for, too few to say", None),
        (
            {"right": 0, "wrong": 60, "sha256": "f" * 64},
            "0 labels that the service asked for, too few to say",
            None,
        ),
        # Who volunteers corrects mistakes.
        (
            {"right": 0, "wrong": 60, "asked": False},
            "0 labels that the service asked for, too few to say",
            None,
        ),
    ],
)
def test_feedback_that_says_nothing_against_the_champion(
    answers: dict[str, Any], note: str, *, passed: bool | None
) -> None:
    assert run_cli("registry", "check", *FILES, "--log", log_answers(**answers)) == 0
    assert (results()["feedback accuracy"]["note"], results()["feedback accuracy"]["passed"]) == (
        note,
        passed,
    )


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "postgresql+psycopg://u:top-secret@127.0.0.1:9/x",
            "prediction log: cannot be read (OperationalError",
        ),
        ("sqlite:///.", "prediction log: cannot be read (OperationalError"),
        ("top-secret", "not a supported address"),
        ("postgresql+psycopg://u:top-secret@x@127.0.0.1/x", "has more than one @"),
    ],
)
def test_a_log_that_cannot_be_read_is_an_error_without_the_password(
    address: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("registry", "check", "--log", address) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "top-secret" not in error


@pytest.mark.usefixtures("workspace")
def test_a_missing_log_is_not_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("registry", "check", "--log", "sqlite:///missing.sqlite") == 2
    assert "no such file; the service makes it" in capsys.readouterr().err
    assert not Path("missing.sqlite").exists()


# The issue


@pytest.fixture
def github(server: GitHub, workspace: object, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    assert workspace
    for kept in (server.issues, server.comments, server.requests):
        kept.clear()
    for name, value in {**server.environment(), "GITHUB_RUN_ID": "5"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("COMMENT_AUTHOR", raising=False)
    return server


def check(*, passes: bool) -> int:
    """Judge the champion and report, as the workflow does."""
    answers = log_answers(60, 0) if passes else log_answers(0, 400)
    run_cli("registry", "check", *FILES, "--log", answers)
    return run_cli("issue", str(CHECK), str(REPORT))


def test_one_issue_is_opened_updated_and_closed(github: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    # Neither the mark of another author, nor a pull request is the issue.
    github.open_issue("A copy", "<!-- visiongate: champion check -->")
    github.open_issue("A change", "<!-- visiongate: champion check -->", BOT, pull_request={})
    assert check(passes=True) == 0
    assert capsys.readouterr().out.endswith("No issue is open\n")
    assert check(passes=False) == 0
    assert check(passes=False) == 0
    _, _, issue = github.issues
    assert (issue["title"], issue["state"]) == ("The champion falls short: feedback", "open")
    # Of the second report.
    assert "860 labels that the service asked for" in issue["body"]
    assert f"{github.address}/team/flowers/actions/runs/5" in issue["body"]

    Path("predictions.sqlite").unlink()
    assert check(passes=True) == 0
    assert len(github.issues) == 3
    assert (issue["state"], issue["state_reason"]) == ("closed", "completed")
    assert "passes again" in github.comments[3][0]["body"]

    Path("predictions.sqlite").unlink()
    assert check(passes=False) == 0
    assert [each["state"] for each in github.issues[2:]] == ["closed", "open"]


def test_an_issue_needs_a_result_and_the_right_to_write(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("issue", str(CHECK), str(REPORT)) == 2
    assert "`visiongate registry check` writes both files" in capsys.readouterr().err
    monkeypatch.setenv("GITHUB_TOKEN", READER)
    assert check(passes=False) == 2
    assert "`issues: write`" in capsys.readouterr().err
    assert not github.issues
