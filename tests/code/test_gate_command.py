"""`visiongate gate`: a table, a sentence, and an exit status."""

import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from command_line import run_cli
from visiongate.gate.rules import Measured, apply_rules
from visiongate.records.files import md5_of, write_json
from visiongate.records.interval import Interval
from visiongate.settings.gate import Rule
from workspaces import ROOT

RULES = {
    "accuracy": {"metric": "accuracy", "comparison": ">=", "threshold": 0.8, "bound": "worst"},
    "base": {"metric": "accuracy", "max_drop": 0.02},
}


def git(*arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True, capture_output=True
    )


def evaluated(accuracy: float) -> None:
    """Write the records of `evaluate`."""
    evidence = Measured(
        {"accuracy": accuracy}, {"accuracy": Interval(accuracy, accuracy - 0.05, accuracy + 0.05)}
    )
    rules = {name: Rule.model_validate(rule) for name, rule in RULES.items()}
    write_json(Path("reports/gate.json"), asdict(apply_rules(rules, evidence)))
    write_json(Path("reports/metrics.json"), dict(evidence.metrics))
    write_json(Path("reports/latency.json"), {"latency_p95_ms": 1.0})


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose branch main has a model of accuracy 0.9."""
    monkeypatch.chdir(tmp_path)
    params = (ROOT / "params.yaml").read_text(encoding="utf-8").partition("\ngate:\n")
    rest = params[2].partition("\nregistry:")
    body = "".join(f"    {name}: {rule}\n" for name, rule in RULES.items()).replace("'", '"')
    Path("params.yaml").write_text(f"{params[0]}\ngate:\n  rules:\n{body}\nregistry:{rest[2]}")
    git("init", "--quiet", "--initial-branch=main")
    git("commit", "--quiet", "--allow-empty", "--message=empty")
    git("tag", "empty")
    evaluated(0.9)
    git("add", "--all")
    git("commit", "--quiet", "--message=first")
    return tmp_path


def test_a_gate_that_passes_exits_with_0_and_counts_the_rules_that_need_a_base(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_cli("gate") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["pass", "rule", "metric", "required", "actual", "interval", "margin", "note"]
    for cell in ("yes   accuracy", ">= 0.8", "0.85 to 0.95", "+0.05"):
        assert cell in lines[2]
    # Rules that were not evaluated come before those that passed.
    assert lines[1].startswith("-")
    assert lines[-1].endswith(": 1.")


def test_a_gate_that_fails_exits_with_1_and_names_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    evaluated(0.84)
    assert run_cli("gate") == 1
    assert "failed: accuracy" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(("accuracy", "status"), [(0.89, 0), (0.87, 1)])
def test_a_base_adds_the_rules_on_the_largest_drop(accuracy: float, status: int) -> None:
    evaluated(accuracy)
    assert run_cli("gate", "--base", "main") == status


def test_a_base_without_metrics_fails_no_rule() -> None:
    assert run_cli("gate", "--base", "empty") == 0


@pytest.mark.parametrize("revision", ["absent", "--output=x", "main:reports"])
def test_a_base_that_does_not_exist_is_an_error(revision: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("gate", f"--base={revision}") == 2
    assert revision in capsys.readouterr().err


def test_before_evaluate_the_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("reports/gate.json").unlink()
    assert run_cli("gate") == 2
    assert "reports/gate.json" in capsys.readouterr().err


def test_a_verdict_by_other_rules_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    params = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(params.replace('"threshold": 0.8', '"threshold": 0.99'), encoding="utf-8")
    assert run_cli("gate") == 2
    assert "reports/gate.json" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[1]", "<<<<<<< HEAD"])
def test_invalid_metrics_of_the_base_are_named(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("reports/metrics.json").write_text(text, encoding="utf-8")
    git("commit", "--quiet", "--all", "--message=broken")
    evaluated(0.9)
    assert run_cli("gate", "--base", "main") == 2
    assert "reports/metrics.json of main" in capsys.readouterr().err


def test_a_project_in_a_subfolder_finds_its_base(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace / "project"
    folder.mkdir()
    for name in ("params.yaml", "reports"):
        (workspace / name).rename(folder / name)
    git("add", "--all")
    git("commit", "--quiet", "--message=move")
    monkeypatch.chdir(folder)
    assert run_cli("gate", "--base", "main") == 0


def test_a_verdict_that_evaluate_did_not_write_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    lock = "stages:\n  evaluate:\n    cmd: x\n    outs:\n    - {path: reports/gate.json, md5: %s}\n"
    Path("dvc.lock").write_text(lock % md5_of(Path("reports/gate.json")))
    assert run_cli("gate") == 0
    assert capsys.readouterr().err == ""
    Path("dvc.lock").write_text(lock % ("0" * 32))
    run_cli("gate")
    assert "is not the file that `evaluate` wrote" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("name: digits", "name: pets", "the base was evaluated on digits"),
        ("  - '9'\n", "", "the base was evaluated with other classes"),
    ],
)
def test_a_drop_is_not_evaluated_against_other_images(
    old: str, new: str, note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    params = Path("params.yaml").read_text(encoding="utf-8")
    assert old in params
    Path("params.yaml").write_text(params.replace(old, new), encoding="utf-8")
    evaluated(0.87)
    assert run_cli("gate", "--base", "main") == 0
    output = capsys.readouterr().out
    assert note in output
    assert output.endswith("The gate passed. Not evaluated: 1.\n")
