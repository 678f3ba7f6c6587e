"""The environment of a run."""

import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from visiongate.adapters.mlflow.environment import (
    describe_environment,
    list_requirements,
    processor_name,
    source_tags,
)


def test_processor_has_the_name_of_linux(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Fast Chip @ 2 GHz\nmodel name\t: other\n"
    )
    assert processor_name(tmp_path / "cpuinfo") == "Fast Chip @ 2 GHz"


@pytest.mark.parametrize("content", [None, "processor: 0\n"])
def test_unnamed_processor_has_the_name_of_its_architecture(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "cpuinfo").write_text(content)
    assert processor_name(tmp_path / "cpuinfo") in (platform.processor(), platform.machine())


def test_environment_has_the_versions() -> None:
    environment = describe_environment()
    assert environment["python"] == platform.python_version()
    assert environment["packages"]["torch"] == version("torch")
    assert f"torch=={version('torch')}\n" in list_requirements()


def test_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    assert source_tags()["mlflow.user"] == "54321"


def test_dvc_experiment_is_a_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    assert "visiongate.dvc_experiment" not in source_tags()
    monkeypatch.setenv("DVC_EXP_NAME", "rooky-nard")
    assert source_tags()["visiongate.dvc_experiment"] == "rooky-nard"
