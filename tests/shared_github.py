"""Fixtures for the tests of pull requests: an imitation of GitHub, and CML's client on the PATH."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cml_clients import CLIENTS, install_client
from github_imitation import GitHub, serve_github


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHub]:
    """The imitation of GitHub, for the tests of a file."""
    with serve_github(tmp_path_factory.mktemp("github")) as served:
        yield served


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CML's client on the PATH: the stand-in, and the real client if it is installed."""
    _put_on_path(request.param, tmp_path, monkeypatch)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in for CML's client on the PATH."""
    _put_on_path("stand-in", tmp_path, monkeypatch)


def _put_on_path(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = install_client(kind, folder / "bin")
    monkeypatch.setenv("PATH", os.pathsep.join([str(installed), os.environ["PATH"]]))
