"""``make report``: written whatever state the line is in, with the verdict of ``make gate``."""

import json
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clones import call
from command_line import run_cli
from pull_requests import HOSTILE
from small_line import commit, make_report, make_repository, run_line
from visiongate.records.files import sha256_of


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose main has an accuracy of 0.9."""
    return make_repository(tmp_path_factory.mktemp("line") / "repository")


@pytest.fixture
def workspace(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to work in."""
    folder = tmp_path / "workspace"
    shutil.copytree(repository, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    return folder


def read_report() -> str:
    return Path("reports/report.md").read_text(encoding="utf-8")


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text(encoding="utf-8")
    assert old in text
    Path(path).write_text(text.replace(old, new), encoding="utf-8")


def run_gate(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    run_cli("gate", "--base=main")
    return capsys.readouterr().out


def snapshot(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in folder.rglob("*")
        if path.is_file() and not {".git", "tmp"} & set(path.relative_to(folder).parts)
    }


def test_a_better_model_is_compared_with_the_base_as_its_cache_has_it(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit("params.yaml", "  lr: 0.01\n", "  lr: 0.02\n")
    run_line(workspace, 0.975)
    before = snapshot(workspace)

    assert run_cli("report", "--base=main") == 0

    printed, text = capsys.readouterr(), read_report()
    assert printed.out == f"reports/report.md: {text.splitlines()[0]}\n"
    assert printed.err == "6 files come from the DVC cache of this machine\n"
    assert text.startswith(
        "✅ **Gate passed**: accuracy 0.975 (0.925 to 1.025), +0.075 against `main`; nothing to do.\n"
    )
    assert (
        "**Better by more than luck**: on the same 120 test images right on 9 that it got wrong before, and wrong on 0"
        in text
    )
    assert "| `model.lr` | `0.01` | `0.02` |" in text
    assert "Stages that ran with other code, data or parameters: `evaluate`, `register`, `train`." in text
    assert "The same images as before." in text
    assert "⚫ validation of `main`" in text
    assert "Not in this report" not in text
    assert {name: md5 for name, md5 in snapshot(workspace).items() if name != "reports/report.md"} == before
    told = run_gate(capsys)
    assert "the base has 0.9" in told


def test_a_worse_model_fails_by_the_same_rule_as_make_gate(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_line(workspace, 0.85)

    assert run_cli("report", "--base=main") == 0

    assert read_report().startswith(
        "❌ **Gate failed**: `against_base`: `accuracy` is 0.85 (0.84 to 0.86), `the base has 0.9`, "
        "asked `drop of at most 0.02`. Mend"
    )
    told = run_gate(capsys)
    assert told.endswith("The gate fails: against_base.\n")


def test_what_is_the_same_is_not_fetched(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(workspace / ".dvc/cache")

    assert run_cli("report", "--base=main") == 0

    assert capsys.readouterr().err == ""
    assert "None of 7 metrics changed." in read_report()


def test_objects_that_are_nowhere_leave_a_gap_that_is_told(workspace: Path) -> None:
    run_line(workspace, 0.95)
    call(workspace, "dvc", "config", "cache.dir", str(workspace.parent / "elsewhere"))

    assert run_cli("report", "--base=main") == 0

    text = read_report()
    assert "+0.05 against `main`" in text.splitlines()[0]  # git has the metrics
    assert "- intervals, classes, confusion, slices, answers, course of `main`: `" in text
    assert "cannot be fetched: " in text
    assert "the answers to single test images are not at hand" in text


def test_a_base_before_the_first_run_has_nothing_to_compare_with(workspace: Path) -> None:
    call(workspace, "git", "checkout", "-q", "--orphan", "empty")
    call(workspace, "git", "rm", "-rq", "--cached", ".")
    call(workspace, "git", "commit", "-q", "--allow-empty", "-m", "empty")
    call(workspace, "git", "checkout", "-qf", "main")

    assert run_cli("report", "--base=empty") == 0

    text = read_report()
    assert text.startswith(
        "✅ **Gate passed**: accuracy 0.9 (0.85 to 0.95); `empty` has none to compare with; not judged: "
    )
    assert "of `empty`: `not there yet`" in text


def test_without_a_base_nothing_is_compared(workspace: Path) -> None:
    assert run_cli("report") == 0
    assert "compared with nothing" in read_report()
    assert (workspace / ".git").exists()


@pytest.mark.parametrize("base", ["absent", "--upload-pack=x", "main:reports"])
def test_a_base_that_does_not_exist_is_told(
    workspace: Path, base: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("report", f"--base={base}") == 2
    assert capsys.readouterr().err.startswith(f"report: {base}: no such git revision here")
    assert not (workspace / "reports/report.md").exists()


def test_a_stage_that_failed_is_named_with_the_end_of_its_log(workspace: Path) -> None:
    edit("params.yaml", "  lr: 0.01\n", "  lr: 0.02\n")
    answer = call(workspace, "dvc", "repro", check=False)
    assert answer.returncode
    log = workspace.parent / "run.log"
    log.write_text(answer.stdout + answer.stderr, encoding="utf-8")

    assert run_cli("report", "--base=main", f"--log={log}") == 0

    text = read_report()
    assert text.startswith(
        "❌ **The line did not run through**: stage `train`. The end of its log is below.\n"
    )
    assert "the disk is full" in text
    assert "| `model.lr` | `0.01` | `0.02` |" in text
    assert "#### Metrics" not in text
    assert "1 of 1 expectations met." in text
    assert "the stage that makes it has not run with what is here" in text


@pytest.mark.usefixtures("workspace")
def test_settings_that_cannot_be_read_are_told_with_the_log() -> None:
    edit("params.yaml", "  lr: 0.01\n", "  lr: fast | @all\n")

    assert run_cli("report", "--base=main", "--failed") == 0

    text = read_report()
    assert text.startswith("❌ **The line did not run through**: stage `train`. `make repro` says why.\n")
    assert "| `model.lr` | `0.01` | `fast \\| @all` |" in text


@pytest.mark.usefixtures("workspace")
def test_reports_of_an_earlier_run_are_not_judged() -> None:
    edit("params.yaml", "  lr: 0.01\n", "  lr: 0.02\n")
    assert run_cli("report") == 0
    assert read_report().startswith(
        "❌ **Not judged**: stage `train` has not run with what is here (`changed: params.yaml (model)`). Run `make repro`"
    )
    edit("params.yaml", "  lr: 0.02\n", "  lr: 0.01\n")
    edit("reports/metrics.json", '"accuracy": 0.9', '"accuracy": 0.99')
    assert run_cli("report") == 0
    assert "stage `evaluate` has not run with what is here (`changed: reports/metrics.json`)" in read_report()


@pytest.mark.usefixtures("workspace")
def test_a_search_and_a_registration_of_other_settings_do_not_stop_the_verdict() -> None:
    edit("params.yaml", "  trials: 20\n", "  trials: 21\n")
    edit("params.yaml", "  alpha: 0.05\n", "  alpha: 0.04\n")
    assert run_cli("report") == 0
    text = read_report()
    assert text.startswith("✅ **Gate passed**")
    assert (
        "- search, registration of `this work tree`: `the stage that makes it has not run with what is here`"
        in text
    )


def test_a_file_that_is_not_what_the_line_writes_is_told(workspace: Path) -> None:
    Path("reports/gate.json").write_text("<<<<<<< HEAD", encoding="utf-8")
    call(workspace, "dvc", "commit", "--force", "--quiet")

    assert run_cli("report", "--base=main") == 0

    assert read_report().startswith(
        "❌ **Not judged**: ``reports/gate.json holds no verdict: it: Invalid JSON"
    )


@pytest.mark.usefixtures("workspace")
def test_params_without_end_are_refused() -> None:
    bomb = "".join(
        f"x{number}: &x{number} [{', '.join([f'*x{number - 1}'] * 9) if number else '1'}]\n"
        for number in range(12)
    )
    Path("params.yaml").write_text(bomb + Path("params.yaml").read_text(encoding="utf-8"), encoding="utf-8")

    assert run_cli("report", "--failed") == 0
    assert "it has an alias or a tag, which the line does not write" in read_report()


def test_hostile_files_in_every_place_break_nothing(workspace: Path) -> None:
    text = " ".join(HOSTILE).encode(errors="replace").decode()
    for path in [*workspace.glob("reports/*.json"), *workspace.glob("reports/*/*.json")]:
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(poison(content, text)), encoding="utf-8")
    Path("reports/evaluation/slices.csv").write_text(text, encoding="utf-8")
    Path("reports/training/history.csv").write_bytes(b"epoch,val_loss\n\xff,\x00\n")
    Path("reports/preparation/quarantine.csv").write_text('path,label,reason,sha256\n"a\n', encoding="utf-8")
    pq.write_table(pa.table({"sha256": [1]}), "reports/evaluation/predictions.parquet")
    Path("data/transformed/manifest.parquet").write_bytes(b"no parquet")
    Path("reports/optimize/best_params.yaml").write_text("- &a [*a]", encoding="utf-8")
    call(workspace, "dvc", "commit", "--force", "--quiet")

    assert run_cli("report", "--base=main") == 0

    told = read_report()
    assert told.startswith("❌ **Not judged**")
    for part in ("slices", "answers", "course", "quarantine", "images", "search"):
        assert part in told.partition("#### Not in this report")[2]


def poison(node: object, text: str) -> object:
    if isinstance(node, dict):
        return {**{key: poison(value, text) for key, value in node.items()}, text: text}
    return [poison(item, text) for item in node] if isinstance(node, list) else text


def test_a_log_that_is_not_there_is_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("report", f"--log={workspace}/absent.log") == 2
    assert "absent.log: No such file or directory" in capsys.readouterr().err


def test_a_line_that_dvc_cannot_read_is_told(workspace: Path) -> None:
    (workspace / "dvc.yaml").write_text("stages: [", encoding="utf-8")
    assert run_cli("report") == 0
    assert read_report().startswith("❌ **Not judged**: `")


def test_the_command_of_a_subfolder_finds_its_base(repository: Path, tmp_path: Path) -> None:
    project = tmp_path / "outer/project"
    shutil.copytree(repository, project, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    (project / ".dvc/config").write_text("[core]\n    analytics = false\n", encoding="utf-8")
    call(tmp_path / "outer", "git", "init", "-q", "--initial-branch=main")
    call(tmp_path / "outer", "git", "config", "user.name", "test")
    call(tmp_path / "outer", "git", "config", "user.email", "test@example.org")
    commit(tmp_path / "outer")
    run_line(project, 0.95)

    text, told = make_report(project, "--base=main")

    assert "6 files come from the DVC cache of this machine" in told
    assert "+0.05 against `main`" in text
    assert "Not in this report" not in text
