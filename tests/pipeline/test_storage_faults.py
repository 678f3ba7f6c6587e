"""A storage or a network that fails: one line, nothing half-written, and the next try completes. With real DVC."""

import threading
from collections.abc import Callable

import pytest

import s3_faults
import tiny_repository as tiny
from shared_team import BUCKET, Team, check_cache, check_told, check_whole, point_to
from visiongate.sharing.transfer import TransferError, pull, push

Fault = tuple[s3_faults.Fault, str]
STORAGE: dict[str, Fault] = {
    "expired": (s3_faults.refuse("ExpiredToken"), "wrong or expired"),
    "no bucket": (s3_faults.refuse("NoSuchBucket", 404), "the bucket does not exist"),
    "broken": (s3_faults.die_after(0), "the connection to the storage broke off"),
}


@pytest.mark.parametrize("name", STORAGE)
def test_a_storage_that_refuses_is_told_in_one_line_and_the_next_pull_completes(
    team: Team, name: str
) -> None:
    clone = team.colleague()
    team.proxy.fault, told = STORAGE[name]
    with pytest.raises(TransferError) as raised:
        pull(clone)
    check_told(raised, told)
    assert tiny.contents(clone) == {}
    team.proxy.fault = s3_faults.pass_on
    pull(clone)
    check_whole(team, clone)


def test_a_refused_push_says_why(team: Team) -> None:
    team.proxy.fault = s3_faults.refuse("ExpiredToken")
    with pytest.raises(TransferError) as raised:
        push(team.author())
    check_told(raised, "the AWS session has expired: log in again")


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no AWS credentials were found"),
        ({"AWS_PROFILE": "nobody"}, "the AWS profile nobody does not exist"),
    ],
)
def test_missing_credentials_are_told(
    team: Team, environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TransferError) as raised:
        pull(team.colleague())
    check_told(raised, told)


def test_an_unreachable_server_is_told_soon(team: Team) -> None:
    clone = point_to(team.colleague(), "http://127.0.0.1:9")
    with pytest.raises(TransferError) as raised:
        pull(clone)
    check_told(raised, "http://127.0.0.1:9 cannot be reached")


def test_a_server_that_does_not_answer_is_given_up(team: Team) -> None:
    clone, end = point_to(team.colleague(), team.proxy.endpoint, read_timeout="1"), threading.Event()
    team.proxy.fault = s3_faults.hang(end)
    try:
        with pytest.raises(TransferError) as raised:
            pull(clone)
    finally:
        end.set()
    check_told(raised, f"{team.proxy.endpoint} does not answer")


# Single objects

OBJECTS = ["data", "data/0.bin", "model"]


@pytest.mark.parametrize("name", OBJECTS)
def test_a_missing_object_is_named_and_the_next_pull_completes(team: Team, name: str) -> None:
    clone = team.colleague()
    team.proxy.fault = s3_faults.lose(team.key(name))
    with pytest.raises(TransferError) as raised:
        pull(clone)
    check_told(raised, f"{name} is not in the remote")
    check_cache(team, clone)
    team.proxy.fault = s3_faults.pass_on
    pull(clone)
    check_whole(team, clone)


@pytest.mark.parametrize(
    ("name", "alter"),
    [
        pytest.param("data", lambda body: body[: len(body) // 2], id="folder-truncated"),
        pytest.param("data/0.bin", lambda body: body[:-3] + b"???", id="file-altered"),
        pytest.param("model", lambda _: b"", id="file-emptied"),
    ],
)
def test_a_damaged_object_is_named_and_never_taken_for_whole(
    team: Team, name: str, alter: Callable[[bytes], bytes]
) -> None:
    clone, key, whole = team.colleague(), team.key(name), team.read(name)
    team.client.put_object(Bucket=BUCKET, Key=key, Body=alter(whole))
    try:
        with pytest.raises(TransferError) as raised:
            pull(clone)
    finally:
        team.client.put_object(Bucket=BUCKET, Key=key, Body=whole)
    check_told(raised, f"{name} is damaged in the remote: delete s3://{BUCKET}/{key}")
    check_cache(team, clone)
    assert tiny.contents(clone).items() <= team.whole.items()
    pull(clone)
    check_whole(team, clone)


def test_an_object_that_breaks_off_on_the_way_is_not_kept(team: Team) -> None:
    clone = team.colleague()
    team.proxy.fault = s3_faults.cut(team.key("model"))
    with pytest.raises(TransferError) as raised:
        pull(clone)
    check_told(raised, "the connection to the storage broke off")
    check_cache(team, clone)
    team.proxy.fault = s3_faults.pass_on
    pull(clone)
    check_whole(team, clone)
