"""Making a remote the default: it holds everything or nothing has changed, and git sees no credentials."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import s3_faults
import tiny_repository as tiny
from clones import call
from s3_server import s3_client, serve_s3
from shared_team import use_credentials
from visiongate.adapters.dvc import DvcError, run_dvc
from visiongate.commands import remote as command
from visiongate.sharing.settings import read_settings, write_settings

ROOT = Path(__file__).parents[2]
SECRETS = re.compile(r"access_key_id|secret_access_key|session_token|password|://[^/\s]*@", re.IGNORECASE)
COMMITTED = """\
# On top.
[core]
    # Why so.
    autostage = true
    remote = store
# Of the store.
['remote "store"']
    url = store
"""


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_credentials(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def proxy() -> Iterator[s3_faults.Proxy]:
    with serve_s3() as endpoint, s3_faults.serve_faults(endpoint) as served:
        s3_client(endpoint).create_bucket(Bucket="team")
        yield served


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a store in itself, as the real one has."""
    origin = tiny.make_repository(tmp_path_factory.mktemp("committed") / "origin")
    (origin / ".dvc/config").write_text(COMMITTED)
    run_dvc(["push", "--quiet"], origin)
    return tiny.commit(origin)


@pytest.fixture
def repository(
    committed: Path, proxy: s3_faults.Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A fresh clone, without a cache of its own yet."""
    monkeypatch.chdir(tiny.clone(committed, tmp_path / "repository"))
    yield tmp_path / "repository"
    proxy.fault = s3_faults.pass_on


def url_of(proxy: s3_faults.Proxy, path: str = "path") -> list[str]:
    return ["--url", f"s3://team/{path}", "--endpoint", proxy.endpoint]


def test_a_bucket_becomes_the_default_with_what_a_fresh_clone_can_pull(
    repository: Path, proxy: s3_faults.Proxy, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command.main(["push"]) == 0
    assert "Nothing is pushed: the default remote is .dvc/store, which git shares" in capsys.readouterr().out
    assert command.main(["remote", *url_of(proxy)]) == 0
    assert "shared: 5 files, 3.1 MB, pushed and pulled again" in capsys.readouterr().out
    config = (repository / ".dvc/config").read_text()
    assert not SECRETS.search(config)
    assert config.startswith(COMMITTED.replace("remote = store", "remote = shared"))
    settings = read_settings(repository)
    assert settings["remote.shared.verify"] == "true"
    assert settings["remote.store.url"] == str(repository / ".dvc/store")
    assert not (repository / ".dvc/config.local").exists()
    clone = tiny.clone(tiny.commit(repository), tmp_path / "clone")
    (clone / ".dvc/store").rename(clone / "away")
    run_dvc(["pull"], clone)
    assert set(tiny.contents(clone)) == set(tiny.FILES)


def test_another_address_needs_force(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dvc(["remote", "add", "--local", "folder", "/before"], repository)
    before, folder = tiny.settings_files(repository), repository.parent / "disk"
    assert command.main(["remote-local", "--folder", str(folder)]) == 1
    assert f"the remote folder is /before; FORCE=1 puts {folder} in its place" in capsys.readouterr().err
    assert tiny.settings_files(repository) == before
    assert command.main(["remote-local", "--folder", str(folder), "--force"]) == 0
    assert read_settings(repository)["remote.folder.url"] == str(folder)


FAULTS = {
    "altered on the way": (
        s3_faults.change("/files/", lambda body: body[:-1] + b"?"),
        "an object came damaged from the remote",
    ),
    "died": (s3_faults.die_after(0), "the connection to the storage broke off"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_fails_changes_nothing(
    repository: Path, proxy: s3_faults.Proxy, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tiny.settings_files(repository)
    proxy.fault, told = FAULTS[name]
    assert command.main(["remote", *url_of(proxy, name.replace(" ", "-"))]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("remote: ")
    assert told in line
    assert tiny.settings_files(repository) == before
    assert call(repository, "git", "status", "--porcelain").stdout == ""


def test_a_bucket_that_does_not_exist(
    repository: Path, proxy: s3_faults.Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tiny.settings_files(repository)
    assert command.main(["remote", "--url", "s3://nobodys/path", "--endpoint", proxy.endpoint]) == 1
    assert "the bucket does not exist" in capsys.readouterr().err
    assert tiny.settings_files(repository) == before


def test_a_folder_is_this_machines_own_until_a_bucket_takes_its_place(
    repository: Path, proxy: s3_faults.Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = repository.parent / 'it\'s "ours", $(id) #1'
    assert command.main(["remote-local", "--folder", str(folder)]) == 0
    assert "which git does not see" in capsys.readouterr().out
    assert (repository / ".dvc/config").read_text() == COMMITTED
    assert call(repository, "git", "status", "--porcelain").stdout == ""
    assert read_settings(repository)["core.remote"] == "folder"
    assert command.main(["remote", *url_of(proxy)]) == 0
    assert read_settings(repository)["core.remote"] == "shared"
    assert command.main(["push"]) == 0


def test_nothing_committed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    call(repository, "git", "init", "-q")
    call(repository, "dvc", "init", "-q")
    monkeypatch.chdir(repository)
    assert command.main(["remote-local", "--folder", str(tmp_path / "disk")]) == 1
    assert "dvc.lock is not committed" in capsys.readouterr().err


def test_an_interruption_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_repository: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "pull", interrupted)
    assert command.main(["pull"]) == 130
    assert capsys.readouterr().err == "pull: interrupted; repeat it, and it goes on where it stopped\n"


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    values = ["plain", "a b", "it's", 'the "q"', "'\"", "100% #1, y", "$(id)"]
    settings = {f"remote.number{index}.url": f"/{value}" for index, value in enumerate(values)}
    settings |= {"core.no_scm": "true", "core.remote": "number0", "cache.dir": str(tmp_path)}
    write_settings(settings, tmp_path)
    assert read_settings(tmp_path) == settings


def test_the_committed_settings_hold_no_credentials() -> None:
    assert not SECRETS.search((ROOT / ".dvc/config").read_text())
    ignored = ["git", "check-ignore", "--quiet", ".dvc/config.local"]
    assert subprocess.run(ignored, cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("remote", "URL=$(shell touch {trap})"),
        ("remote", 'URL="; touch {trap}; "'),
        ("remote", "URL=`touch {trap}`"),
        ("remote", "ENDPOINT=$(shell touch {trap})"),
        ("remote-local", "DIR=$$(touch {trap}) 'and' \"so\" on"),
        ("remote-local", "DIR=$(shell touch {trap})"),
    ],
)
def test_make_hands_over_what_was_given_and_runs_none_of_it(target: str, value: str, tmp_path: Path) -> None:
    trap, heard, python, ready = (tmp_path / name for name in ("trap", "heard", "python", "ready"))
    python.write_text(
        f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv, open({str(heard)!r}, 'w'))\n"
    )
    python.chmod(0o755)
    ready.touch()
    os.utime(ready, (2**31, 2**31))  # newer than whatever it is made from
    given = value.format(trap=trap)
    call(ROOT, "make", "--silent", target, f"PY={python}", f"READY={ready}", given)
    name, _, text = given.partition("=")
    option = {"URL": "--url", "ENDPOINT": "--endpoint", "DIR": "--folder"}[name]
    assert f"{option}={text}" in json.loads(heard.read_text())
    assert not trap.exists()


# DVC as a process


def test_a_failure_of_dvc_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DvcError, match=r"^dvc status: you are not inside of a DVC repository"):
        run_dvc(["status"], tmp_path)


def test_a_git_hooks_variables_lead_nowhere(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("DVC_ROOT", "/nowhere")
    assert "up to date" in run_dvc(["status"], committed)
