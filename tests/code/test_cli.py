"""The command line: each command has a function behind it that takes its options, and help is quick."""

import inspect
import signal
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from command_line import run_cli
from visiongate.cli import main
from visiongate.commands import doctor
from visiongate.images.extras import MODULES

ROOT = Path(__file__).parents[2]


def walk(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from walk(command, *path, name)
        else:
            yield (*path, name), command


COMMANDS = dict(walk(main))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_options_of_a_command_are_the_parameters_of_its_function(path: tuple[str, ...]) -> None:
    callback = COMMANDS[path].callback
    assert callback is not None
    target = inspect.getclosurevars(callback).nonlocals
    function = getattr(import_module(f"visiongate.commands.{target['module']}"), target["function"])
    parameters = inspect.signature(function).parameters
    expected = {parameter.name for parameter in COMMANDS[path].params}
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        pytest.skip("the function takes the options as a dataclass")
    assert set(parameters) == expected


@pytest.mark.parametrize(
    "path", [(), ("registry",), *COMMANDS], ids=lambda path: " ".join(path) or "visiongate"
)
def test_help_has_a_summary_and_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(*path, "--help") == 0
    text = capsys.readouterr().out
    assert f"Usage: {' '.join(('visiongate', *path))}" in text
    if path in COMMANDS:
        assert f"visiongate {' '.join(path)}" in text.partition("Example:")[2]


def test_an_error_is_one_line_with_exit_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli("gate") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("visiongate gate: params.yaml: ")
    assert captured.err.count("\n") == 1


def test_every_command_starts_at_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path / "docs")
    assert run_cli("report") == 2
    assert capsys.readouterr().err == f"visiongate: not the root of the repository; run: cd {tmp_path}\n"
    assert not list((tmp_path / "docs").iterdir())


def test_debug_shows_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r"params\.yaml"):
        main.main(["--debug", "gate"], standalone_mode=False)


def test_an_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("visiongate.commands.gate.run", interrupt)
    assert run_cli("gate") == 130


def test_doctor_reports_the_problems_of_a_folder_without_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli("doctor") == 1
    findings = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert findings["settings"].startswith("PROBLEM: params.yaml")
    assert "torch" in findings["packages"]


def test_doctor_reports_the_packages_of_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MODULES, "dicom", "no_such_module")
    assert doctor.CHECKS["extras"]() == "heic found, dicom missing"


def test_sigterm_ends_the_first_process_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getpid", lambda: 1)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert run_cli("smoke", "--url", "ftp://x") == 2
        with pytest.raises(SystemExit) as end:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert end.value.code == 143
