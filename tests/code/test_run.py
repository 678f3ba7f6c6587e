"""The entry script of the stages: messages and exit statuses."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import run

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "src" / "run.py")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run stages in, with the committed settings and few images."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["dataset"]["limit"] = 50
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data/collected.csv", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as DVC does, in the current folder."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [[], ["none_such"], ["train", "evaluate"]])
def test_one_stage_is_required(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(arguments) == 2
    message = capsys.readouterr().err
    assert all(stage in message for stage in run.STAGES)


def test_each_stage_has_its_module() -> None:
    packages = {path.parent.name for path in (ROOT / "src/visiongate").glob("*/stage.py")}
    assert packages == set(run.STAGES.values())


def test_a_stage_runs_on_the_settings(workspace: Path) -> None:
    done = start(SCRIPT, "ingestion")
    assert done.returncode == 0
    assert "digits: 50 images" in done.stderr
    assert (workspace / "data/raw/dataset.json").exists()
    assert (workspace / "logs/ingestion.log").exists()


def test_the_garbage_collector_leaves_out_the_imports_only(workspace: Path) -> None:
    copy = workspace / "src"
    shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "visiongate/ingestion/stage.py").write_text(
        "import gc\n"
        "print(gc.isenabled(), end=' ')\n"
        "def run(settings):\n    print(gc.isenabled(), gc.get_freeze_count() > 10_000)\n",
        encoding="utf-8",
    )
    assert start("src/run.py", "ingestion").stdout == "False True True\n"


def test_a_stage_runs_the_code_that_lies_beside_the_script(workspace: Path) -> None:
    copy = workspace / "src"
    shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "visiongate/ingestion/stage.py").write_text(
        "def run(settings):\n    print('the copy')\n", encoding="utf-8"
    )
    assert start("src/run.py", "ingestion").stdout == "the copy\n"


def test_each_invalid_setting_is_one_line_with_an_exit_status(workspace: Path) -> None:
    text = (workspace / "params.yaml").read_text(encoding="utf-8").replace("epochs: ", "epochs: -")
    (workspace / "params.yaml").write_text(text, encoding="utf-8")
    done = start(SCRIPT, "train")
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == text.count(" epochs: -") + text.count("warmup_epochs: -")
    assert all(line.startswith("train: params.yaml: ") for line in lines)
    assert any("training.epochs = -" in line for line in lines)


def test_a_failure_under_dvc_says_how_to_restore_the_removed_outputs(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("dvc.yaml", "dvc.lock"):
        shutil.copy(ROOT / name, workspace)
    assert run.main(["train"]) == 1
    assert "restores" not in capsys.readouterr().err
    monkeypatch.setenv("DVC_ROOT", str(workspace))
    assert run.main(["train"]) == 1
    assert capsys.readouterr().err.endswith(
        "train: DVC removed the outputs of the last run; undo the change, then `visiongate params && dvc repro train` restores "
        "them\n"
    )


def test_missing_settings_end_in_one_line(workspace: Path) -> None:
    (workspace / "params.yaml").unlink()
    done = start(SCRIPT, "train")
    assert done.returncode == 1
    assert done.stderr.startswith("train: params.yaml: ")
    assert done.stderr.count("\n") == 1


def test_a_missing_input_is_one_line(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["transformation"]) == 1
    assert capsys.readouterr().err.startswith("transformation: data/prepared")
    assert not (workspace / "data/transformed").exists()


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("stage", ["train", "evaluate", "optimize", "recommend", "register"])
def test_a_missing_output_of_another_stage_is_one_line(
    stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([stage]) == 1
    error = capsys.readouterr().err
    assert error.startswith((f"{stage}: data/transformed/", f"{stage}: models/", f"{stage}: reports/"))
    assert ": no such file; " in error
    assert error.count("\n") == 1


STAGE = """
import errno, os, signal
def run(settings):
    {}
"""


def start_stage(workspace: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Run a stage that does nothing but this."""
    copy = workspace / "src"
    shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "visiongate/ingestion/stage.py").write_text(STAGE.format(body), encoding="utf-8")
    return start("src/run.py", "ingestion")


def test_a_full_disk_ends_in_one_line(workspace: Path) -> None:
    done = start_stage(workspace, "raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'data/raw/x')")
    assert done.returncode == 1
    assert done.stderr.startswith("ingestion: data/raw/x: ")
    assert done.stderr.count("\n") == 1


def test_an_interruption_ends_in_one_line(workspace: Path) -> None:
    done = start_stage(workspace, "os.kill(os.getpid(), signal.SIGINT)")
    assert done.returncode == 130
    assert done.stderr.startswith("ingestion: interrupted")


def test_a_file_that_no_stage_makes_is_a_bug_and_keeps_its_traceback(workspace: Path) -> None:
    done = start_stage(workspace, "open('elsewhere')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.usefixtures("workspace")
def test_a_missing_package_is_named_with_the_fix() -> None:
    # -S: without the environment's packages.
    done = start("-S", SCRIPT, "train")
    assert done.returncode == 1
    assert done.stderr.startswith(f"train: {sys.executable} has no package ")
    assert "`make setup`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_read_only_folder_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "logs")

    monkeypatch.setattr("visiongate.logs.configure", refuse)
    assert run.main(["ingestion"]) == 1
    assert capsys.readouterr().err == (
        "ingestion: logs: the file system is read-only; mount it for writing or work elsewhere\n"
    )
