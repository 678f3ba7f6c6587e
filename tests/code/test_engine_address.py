"""What is said when an engine cannot be opened; no cluster is started."""

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from visiongate.engine.pieces import open_engine
from visiongate.errors import EngineError
from visiongate.settings.engine import Engine
from visiongate.settings.loading import load_settings
from workspaces import ROOT

OWN_MODULES = "visiongate.adapters.ray."


def settings(address: str) -> Engine:
    return load_settings(ROOT / "params.yaml").engine.model_copy(update={"kind": "ray", "address": address})


def message(address: str) -> str:
    with pytest.raises(EngineError) as error, open_engine(settings(address)):
        pass
    return str(error.value)


@pytest.fixture(autouse=True)
def _no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_an_address_at_which_nothing_answers(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port}"
    assert message(address).startswith(f"engine.address = {address}: no Ray cluster answers (")
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert message("auto").startswith(f"RAY_ADDRESS = {address}: no Ray cluster answers (")


def test_an_address_at_which_another_server_answers() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.handle_request, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        assert message(address).startswith(
            f"engine.address = {address}: no Ray cluster answers (another server does)"
        )


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", ":6379", "http://head:8265"])
def test_a_variable_that_is_no_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert message("auto").startswith(f"RAY_ADDRESS = {address}: not HOST:PORT of a Ray cluster's head")


def test_no_cluster_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    # Other programs of the machine may run one.
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda _: None)
    assert message("auto").startswith(
        "engine.address = auto: no Ray cluster runs on this machine, and RAY_ADDRESS is not set"
    )


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if f"{name}.".startswith(("ray.", OWN_MODULES))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert message("local").startswith(
        "engine.kind = ray: Ray is not installed; run `pip install 'visiongate[ray]'`"
    )


@pytest.mark.parametrize("address", ["10.0.0.5", "ray://head:10001", "user@head:6379", ""])
def test_the_setting_refuses_what_is_no_address(address: str) -> None:
    values: dict[str, Any] = settings("local").model_dump() | {"address": address}
    with pytest.raises(ValueError, match="choose auto, local or the HOST:PORT"):
        Engine(**values)


@pytest.mark.parametrize("amount", [0.00001, 1.5, 0.0])
def test_ray_reserves_no_such_part_of_a_core(amount: float) -> None:
    values: dict[str, Any] = settings("local").model_dump()
    values["resources"]["images"]["cpus"] = amount
    with pytest.raises(ValueError, match=r"resources\.images\.cpus"):
        Engine(**values)


def test_opening_leaves_the_environment_alone(free_port: int) -> None:
    before = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    message(f"127.0.0.1:{free_port}")
    assert {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} == before
