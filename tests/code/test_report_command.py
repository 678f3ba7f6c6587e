"""`visiongate report`: it is written in any state of the pipeline, with the verdict of `visiongate gate`."""

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
from small_pipeline import commit, make_repository, write_run
from visiongate.records.files import sha256_of


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose main has an accuracy of 0.9."""
    return make_repository(tmp_path_factory.mktemp("origin") / "repository")


@pytest.fixture
def workspace(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the repository, which is the current folder."""
    folder = tmp_path / "workspace"
    shutil.copytree(repository, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    return folder


def report(*arguments: str) -> str:
    assert run_cli("report", *arguments) == 0
    return Path("reports/report.md").read_text(encoding="utf-8")


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text(encoding="utf-8")
    assert old in text
    Path(path).write_text(text.replace(old, new), encoding="utf-8")


def hash_files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in folder.rglob("*")
        if path.is_file() and not {".git", "tmp", "report.md"} & set(path.relative_to(folder).parts)
    }


def test_a_better_model_is_compared_with_the_base_in_the_cache(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit("params.yaml", "  lr: 0.01\n", "  lr: 0.02\n")
    write_run(workspace, 0.975)
    before = hash_files(workspace)

    text = report("--base=main")

    assert capsys.readouterr().out == f"reports/report.md: {text.splitlines()[0]}\n"
    assert text.startswith(
        "✅ **Gate passed**: accuracy 0.975 (0.925 to 1.025), +0.075 compared with `main`."
    )
    assert "**Significantly better** on the same 120 test images: 9 errors fixed, 0 introduced" in text
    assert "| `model.lr` | `0.01` | `0.02` |" in text
    assert "Stages rerun with other code, data or parameters: `evaluate`, `register`, `train`." in text
    assert "validation of `main`" in text
    assert "Not in this report" not in text
    assert hash_files(workspace) == before


@pytest.mark.slow
def test_a_worse_model_fails_in_the_report_and_in_the_gate(workspace: Path) -> None:
    write_run(workspace, 0.85)
    assert report("--base=main").startswith("❌ **Gate failed**: `against_base` requires `accuracy`")
    assert run_cli("gate", "--base=main") == 1


def test_equal_outputs_are_not_fetched(workspace: Path) -> None:
    shutil.rmtree(workspace / ".dvc/cache")
    text = report("--base=main")
    assert "No metric changed." in text
    assert "Not in this report" not in text


@pytest.mark.slow
def test_outputs_that_cannot_be_fetched_are_named(workspace: Path) -> None:
    write_run(workspace, 0.95)
    call(workspace, "dvc", "config", "cache.dir", str(workspace.parent / "elsewhere"))
    text = report("--base=main")
    assert "+0.05 compared with `main`" in text.splitlines()[0]
    assert "- intervals, classes, confusion, slices, predictions, history of `main`: `" in text
    assert "Significance is unknown" in text


def test_a_base_without_a_run_has_nothing_to_compare_with(workspace: Path) -> None:
    call(workspace, "git", "checkout", "-q", "--orphan", "empty")
    call(workspace, "git", "rm", "-rq", "--cached", ".")
    call(workspace, "git", "commit", "-q", "--allow-empty", "-m", "empty")
    call(workspace, "git", "checkout", "-qf", "main")
    text = report("--base=empty")
    assert text.startswith("✅ **Gate passed**: accuracy 0.9 (0.85 to 0.95).")
    assert "of `empty`: `the revision does not have it`" in text


def test_a_base_with_another_data_set_is_not_compared(workspace: Path) -> None:
    edit("params.yaml", "  name: digits\n", "  name: pets\n")
    write_run(workspace, 0.6)
    text = report("--base=main")
    assert "compared with `main`**" not in text.splitlines()[0]
    assert ", + " not in text.splitlines()[0]
    assert "of `main`: `the base was evaluated on digits`" in text


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("base", ["absent", "--upload-pack=x", "main:reports"])
def test_a_base_that_does_not_exist_is_an_error(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("report", f"--base={base}") == 2
    assert base in capsys.readouterr().err
    assert not Path("reports/report.md").exists()


@pytest.mark.slow
def test_a_failed_stage_is_named_with_the_end_of_its_log(workspace: Path) -> None:
    edit("params.yaml", "  lr: 0.01\n", "  lr: 0.02\n")
    done = call(workspace, "dvc", "repro", check=False)
    assert done.returncode
    log = workspace.parent / "run.log"
    log.write_text(done.stdout + done.stderr, encoding="utf-8")

    text = report("--base=main", f"--log={log}")

    assert text.startswith("❌ **The pipeline failed** in stage `train`. The end of the log is below.\n")
    assert "the disk is full" in text
    assert "| `model.lr` | `0.01` | `0.02` |" in text
    assert "#### Metrics" not in text
    assert "1 of 1 expectations passed." in text


@pytest.mark.usefixtures("workspace")
def test_invalid_settings_are_shown() -> None:
    edit("params.yaml", "  lr: 0.01\n", "  lr: fast | @all\n")
    text = report("--base=main", "--failed")
    assert text.startswith("❌ **The pipeline failed** in stage `train`.")
    assert "| `model.lr` | `0.01` | `fast \\| @all` |" in text


@pytest.mark.usefixtures("workspace")
def test_a_missing_file_is_named() -> None:
    Path("params.yaml").unlink()
    assert "params.yaml: no such file; run `visiongate repro`" in report().splitlines()[0]


@pytest.mark.usefixtures("workspace")
def test_a_failed_run_without_files_is_reported(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    text = report("--base=HEAD", "--from", str(tmp_path / "run"), "--failed")
    assert text.startswith("❌ **The pipeline failed**")


@pytest.mark.usefixtures("workspace")
def test_outdated_records_are_not_judged() -> None:
    edit("params.yaml", "  lr: 0.01\n", "  lr: 0.02\n")
    assert report().startswith("❌ **Not evaluated**: stage `train` has not run")
    edit("params.yaml", "  lr: 0.02\n", "  lr: 0.01\n")
    edit("reports/metrics.json", '"accuracy": 0.9', '"accuracy": 0.99')
    assert report().startswith("❌ **Not evaluated**: stage `evaluate` has not run")


@pytest.mark.usefixtures("workspace")
def test_an_outdated_search_or_registration_does_not_stop_the_gate() -> None:
    edit("params.yaml", "  trials: 8\n", "  trials: 9\n")
    edit("params.yaml", "  alpha: 0.05\n", "  alpha: 0.04\n")
    text = report()
    assert text.startswith("✅ **Gate passed**")
    assert "- search, registration of `work tree`: " in text


@pytest.mark.usefixtures("workspace")
def test_yaml_that_expands_without_end_is_refused() -> None:
    bomb = "".join(
        f"x{number}: &x{number} [{', '.join([f'*x{number - 1}'] * 9) if number else '1'}]\n"
        for number in range(12)
    )
    Path("params.yaml").write_text(bomb + Path("params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    assert "aliases" in report("--failed").splitlines()[0]


@pytest.mark.slow
def test_invalid_files_are_named(workspace: Path) -> None:
    text = " ".join(HOSTILE).encode(errors="replace").decode()
    for path in [*workspace.glob("reports/*.json"), *workspace.glob("reports/*/*.json")]:
        path.write_text(
            json.dumps(poison(json.loads(path.read_text(encoding="utf-8")), text)), encoding="utf-8"
        )
    Path("reports/evaluation/slices.csv").write_text(text, encoding="utf-8")
    Path("reports/training/history.csv").write_bytes(b"epoch,val_loss\n\xff,\x00\n")
    Path("reports/preparation/quarantine.csv").write_text('path,label,reason,sha256\n"a\n', encoding="utf-8")
    pq.write_table(pa.table({"sha256": [1]}), "reports/evaluation/predictions.parquet")
    Path("data/transformed/manifest.parquet").write_bytes(b"no parquet")
    Path("reports/optimize/best_params.yaml").write_text("- &a [*a]", encoding="utf-8")
    call(workspace, "dvc", "commit", "--force", "--quiet")

    written = report("--base=main")

    assert written.startswith("❌ **Not evaluated**")
    for record in ("slices", "predictions", "history", "quarantine", "images", "search"):
        assert record in written.partition("#### Not in this report")[2]


def poison(node: object, text: str) -> object:
    if isinstance(node, dict):
        return {**{key: poison(value, text) for key, value in node.items()}, text: text}
    return [poison(item, text) for item in node] if isinstance(node, list) else text


@pytest.mark.usefixtures("workspace")
def test_a_log_that_does_not_exist_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("report", "--log=absent.log") == 2
    assert "absent.log" in capsys.readouterr().err


def test_a_pipeline_that_dvc_cannot_read_is_reported(workspace: Path) -> None:
    (workspace / "dvc.yaml").write_text("stages: [", encoding="utf-8")
    assert report().startswith("❌ **Not evaluated**: `")


@pytest.mark.slow
def test_a_project_in_a_subfolder_finds_its_base(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "outer/project"
    shutil.copytree(repository, project, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    (project / ".dvc/config").write_text("[core]\n    analytics = false\n", encoding="utf-8")
    call(tmp_path / "outer", "git", "init", "-q", "--initial-branch=main")
    call(tmp_path / "outer", "git", "config", "user.name", "test")
    call(tmp_path / "outer", "git", "config", "user.email", "test@example.org")
    commit(tmp_path / "outer")
    write_run(project, 0.95)
    monkeypatch.chdir(project)

    text = report("--base=main")

    assert "+0.05 compared with `main`" in text
    assert "Not in this report" not in text
