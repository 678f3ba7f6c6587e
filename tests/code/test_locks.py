"""The lock files agree with each other and with the packages that are installed, and the service has few packages."""

import re
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from clones import ROOT
from served_packages import NOT_SERVED, normalize, read_lock

DEVELOPMENT, PRODUCTION, SERVE = (
    read_lock(ROOT / f"requirements{kind}.lock") for kind in ("", "-production", "-serve")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# `make lock` leaves them to the build of torch that is installed.
CUDA = re.compile(r"nvidia-|cuda-|triton$")


def names(requirements: list[str]) -> set[str]:
    return {normalize(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in requirements}


def test_a_package_has_one_version() -> None:
    assert {
        name: pin for name, pin in PRODUCTION.items() if not CUDA.match(name)
    }.items() <= DEVELOPMENT.items()
    # The audit of the production lock covers the service.
    assert SERVE.items() <= PRODUCTION.items()


def test_locks_have_what_the_project_declares() -> None:
    extras = PROJECT["optional-dependencies"]
    assert names([*PROJECT["dependencies"], *extras["serve"]]) <= set(SERVE)
    assert names(extras["pipeline"]) <= set(PRODUCTION)


def test_the_service_is_installed_without_the_pipeline() -> None:
    assert set(SERVE) & NOT_SERVED == set()
    assert set(PRODUCTION) >= NOT_SERVED


def test_the_tests_run_with_the_packages_of_the_service() -> None:
    assert {name: version(name) for name in SERVE} == SERVE


def test_each_file_of_the_package_is_in_the_wheel(tmp_path: Path) -> None:
    built = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))

    with zipfile.ZipFile(built) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("visiongate/")}
    sources = (path for path in (ROOT / "src/visiongate").rglob("*") if path.is_file())
    expected = {
        path.relative_to(ROOT / "src").as_posix() for path in sources if "__pycache__" not in path.parts
    }
    assert packed == expected
