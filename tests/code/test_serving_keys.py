"""API keys, administration, and requests that pages of other sites make a browser send."""

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from pooled_models import write_pooled_model
from served import application
from visiongate.errors import SettingsError
from visiongate.serving.web.access import is_open
from visiongate.serving.web.keys import ApiKeys, make_key

Result = TypeVar("Result")
USER, USER_KEY = make_key("phone", is_admin=False)
ADMIN, ADMIN_KEY = make_key("root", is_admin=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "pooled.onnx"
    write_pooled_model(path)
    return path


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(work)


def send(model: Path, keys: str, *requests: Mapping[str, Any]) -> list[httpx.Response]:
    """Send some requests to one service; each is POST /predict without a body, unless it says otherwise."""

    async def send_all() -> list[httpx.Response]:
        environment = {"VISIONGATE_SERVING__KEYS": keys}
        async with application(model, environment) as app:
            return [
                await app.client.request(**({"method": "POST", "url": "/predict"} | dict(request)))
                for request in requests
            ]

    return run(send_all())


def statuses(responses: list[httpx.Response]) -> list[int]:
    return [response.status_code for response in responses]


def test_a_key_is_stored_as_its_hash_and_found_again() -> None:
    keys = ApiKeys(["# ours", "", USER_KEY.line, ADMIN_KEY.line], None)
    assert USER not in USER_KEY.line
    assert keys.find(USER) == USER_KEY
    assert keys.find(ADMIN) == ADMIN_KEY
    assert keys.find(USER + "x") is None
    assert keys.find("\udcff") is None
    assert keys.are_required


def test_without_keys_none_are_required() -> None:
    keys = ApiKeys([], None)
    assert not keys.are_required


# The keys are random, and each process of the tests must collect the same names.
@pytest.mark.parametrize(
    "line",
    ["phone", "phone:abc", f"{USER_KEY.line}:root", USER, f"a b:{'0' * 64}"],
    ids=["name", "short", "mark", "secret", "blank"],
)
def test_an_invalid_line_stops_the_start_and_is_not_repeated(line: str) -> None:
    with pytest.raises(SettingsError, match=r"serving.keys: line 2 is invalid") as caught:
        ApiKeys([USER_KEY.line, line], None)
    assert USER not in str(caught.value)


def test_an_invalid_name_is_rejected() -> None:
    with pytest.raises(SettingsError, match="NAME"):
        make_key("two words", is_admin=False)


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"keys.*No such file"):
        ApiKeys([], str(tmp_path / "keys"))


def test_an_empty_file_admits_nobody(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.touch()
    keys = ApiKeys([], str(file))
    assert keys.are_required
    assert keys.find(USER) is None


def test_keys_are_exchanged_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{USER_KEY.line}\n")
    keys = ApiKeys([], str(file))
    file.write_text(f"# the phone was lost\n{ADMIN_KEY.line}\n")
    keys.refresh()
    assert keys.find(USER) is None
    assert keys.find(ADMIN) == ADMIN_KEY


def test_a_file_system_that_does_not_answer_delays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text(USER_KEY.line)
    keys, hangs, answers = ApiKeys([], str(file)), threading.Event(), threading.Event()

    calls: list[None] = []

    def hang() -> None:
        calls.append(None)
        if len(calls) == 1:
            raise RuntimeError("no thread")
        hangs.set()
        answers.wait()

    monkeypatch.setattr("visiongate.serving.web.keys.SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(keys, "refresh", hang)

    async def use() -> None:
        watch = asyncio.create_task(keys.watch())
        while not hangs.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert keys.find(USER) == USER_KEY
        watch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watch

    run(asyncio.wait_for(use(), 5))
    answers.set()


@pytest.mark.parametrize("broken", [b"phone\n", b"\xff\xfe", b"#" * 1_000_001, "pipe", None])
def test_a_broken_file_keeps_the_keys_and_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: bytes | str | None
) -> None:
    file = tmp_path / "keys"
    file.write_text(USER_KEY.line)
    keys = ApiKeys([], str(file))
    file.unlink()
    if broken == "pipe":
        os.mkfifo(file)
    elif isinstance(broken, bytes):
        file.write_bytes(broken)
    with caplog.at_level(logging.WARNING, "visiongate"):
        keys.refresh()
        keys.refresh()
    assert keys.find(USER) == USER_KEY
    assert len(caplog.messages) == 1
    assert "stay valid" in caplog.messages[0]
    file.unlink(missing_ok=True)
    file.write_text(ADMIN_KEY.line)
    keys.refresh()
    assert keys.find(USER) is None


def test_predictions_need_a_key_and_probes_and_pages_do_not(model: Path) -> None:
    open_paths = ["/health", "/health/live", "/health/ready", "/", "/live", "/docs", "/openapi.json"]
    closed = [
        "/metrics",
        "/model",
        "/models",
        "/performance",
        "/nothing",
        "/static",
        "/healthy",
        "/health/../metrics",
    ]
    found = send(
        model, f"['{USER_KEY.line}']", *({"method": "GET", "url": path} for path in open_paths + closed)
    )
    assert statuses(found) == [200] * len(open_paths) + [401] * len(closed)
    assert found[-1].headers["www-authenticate"].startswith("Bearer")
    assert found[-1].json()["type"] == "/docs/problems#unauthorized"


def test_a_key_is_read_from_either_header(model: Path) -> None:
    headers = [
        {"Authorization": f"Bearer {USER}"},
        {"Authorization": f"bearer  {USER}"},
        {"X-API-Key": USER},
        {"X-API-Key": ""},
        {"Authorization": f"Basic {USER}"},
        {"X-API-Key": USER_KEY.sha256},
        {},
    ]
    found = send(model, f"['{USER_KEY.line}']", *({"headers": each} for each in headers))
    # With a key, the body is missing.
    assert statuses(found) == [422, 422, 422, 401, 401, 401, 401]


def test_administration_needs_a_key_of_an_administrator(model: Path) -> None:
    keys = f"['{USER_KEY.line}', '{ADMIN_KEY.line}']"
    headers = [{"X-API-Key": ADMIN}, {"X-API-Key": USER}, {}]
    found = send(model, keys, *({"url": "/admin/reload", "headers": each} for each in headers))
    assert statuses(found) == [200, 403, 401]


def test_with_keys_but_none_of_an_administrator_nobody_administers(model: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").touch()

    async def reload() -> int:
        async with application(model, {"VISIONGATE_SERVING__KEYS_FILE": str(tmp_path / "keys")}) as app:
            return (await app.client.post("/admin/reload")).status_code

    assert run(reload()) == 401
    found = send(model, f"['{USER_KEY.line}']", {"url": "/admin/reload", "headers": {"X-API-Key": USER}})
    assert statuses(found) == [403]


def test_without_keys_only_programs_on_this_machine_administer(model: Path) -> None:
    headers = [
        {},
        {"X-Forwarded-For": "203.0.113.1"},
        {"X-Forwarded-Host": "public.example"},
        {"CF-Connecting-IP": "203.0.113.1"},
        {"Host": "rebound.example:8000"},
        {"Host": "127.0.0.1:8000"},
        {"Host": "[::1]:8000"},
    ]
    found = send(model, "[]", *({"url": "/admin/reload", "headers": each} for each in headers))
    assert statuses(found) == [200, 403, 403, 403, 403, 200, 200]


def test_pages_of_other_sites_may_not_send(model: Path) -> None:
    allowed = [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost"},
        {"Origin": "http://public.example", "X-Forwarded-Host": "public.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://friend.example"},
    ]
    refused = [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://[evil"},
        {"Origin": "null"},
        {"Origin": "null", "X-Forwarded-Host": ""},
        {"Origin": "http://evil.example", "X-Forwarded-Host": "public.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://a.example", "X-Forwarded-Host": "a.example"},
    ]

    async def post() -> list[int]:
        environment = {"VISIONGATE_SERVING__CORS_ORIGINS": "[https://friend.example]"}
        async with application(model, environment, wait=False) as app:
            return [
                (await app.client.post("/feedback", headers=headers)).status_code
                for headers in (*allowed, *refused)
            ]

    assert [status == 403 for status in run(post())] == [False] * len(allowed) + [True] * len(refused)


def test_a_refused_page_learns_which_origin_to_list(model: Path) -> None:
    found = send(model, "[]", {"headers": {"Origin": "http://public.example"}})
    assert "(http://public.example); list the origin in serving.cors_origins" in found[0].json()["detail"]


def test_an_origin_that_is_listed_may_read_the_answers(model: Path) -> None:
    async def check() -> None:
        environment = {
            "VISIONGATE_SERVING__CORS_ORIGINS": "[https://friend.example]",
            "VISIONGATE_SERVING__KEYS": f"['{USER_KEY.line}']",
        }
        async with application(model, environment, wait=False) as app:
            asked = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
            # The browser asks without a key.
            preflight = await app.client.options("/predict", headers=asked)
            refused = await app.client.post("/predict", headers={"Origin": "https://friend.example"})
            stranger = await app.client.post("/predict", headers={"Origin": "https://other.example"})
        assert preflight.headers["access-control-allow-origin"] == "https://friend.example"
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://friend.example"
        assert "access-control-allow-origin" not in stranger.headers

    run(check())


def test_paths_are_not_open_by_a_common_beginning() -> None:
    assert not any(is_open(path) for path in ("/predict", "/docsx", "/healthx", "/v2/health", "//health", ""))
