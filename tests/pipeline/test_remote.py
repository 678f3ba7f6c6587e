"""`visiongate remote`: a remote becomes the default only after it returned what was pushed, and git stores no credentials."""

import re
import subprocess
from pathlib import Path

import pytest

import tiny_repository as tiny
from clones import call, init_dvc
from visiongate.adapters.dvc import DvcError, run_dvc
from visiongate.sharing.address import Remote, folder_remote
from visiongate.sharing.remotes import RemoteError, pull, push, restore_comments, set_remote

ROOT = Path(__file__).parents[2]
SECRETS = re.compile(r"access_key_id|secret_access_key|session_token|password|://[^/\s]*@", re.IGNORECASE)
STORE_CONFIG = """\
# On top.
[core]
    analytics = false
    check_update = false
    # The reason.
    autostage = true
    remote = store
# About the store.
['remote "store"']
    url = store
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose default remote is a store in the repository."""
    folder = tiny.make_repository(tmp_path_factory.mktemp("origin") / "repository")
    (folder / ".dvc/config").write_text(STORE_CONFIG)
    run_dvc(["push", "--quiet"], folder)
    return tiny.commit(folder)


@pytest.fixture
def repository(origin: Path, tmp_path: Path) -> Path:
    """A fresh clone, whose cache is empty."""
    return tiny.clone(origin, tmp_path / "repository")


@pytest.mark.slow
def test_a_folder_becomes_the_default_remote_of_this_machine(repository: Path, tmp_path: Path) -> None:
    disk = tmp_path / 'it\'s "ours", $(id) #1'

    assert not push(repository)
    set_remote(repository, folder_remote(str(disk), repository))

    assert (repository / ".dvc/config").read_text() == STORE_CONFIG
    assert call(repository, "git", "status", "--porcelain").stdout == ""
    assert push(repository)
    (repository / ".dvc/store").rename(tmp_path / "away")
    pull(repository)
    assert set(tiny.contents(repository)) == set(tiny.FILES)


@pytest.mark.slow
def test_a_remote_with_another_address_is_replaced_on_request_only(repository: Path, tmp_path: Path) -> None:
    set_remote(repository, folder_remote(str(tmp_path / "first"), repository))
    before = tiny.settings_files(repository)
    second = folder_remote(str(tmp_path / "second"), repository)

    with pytest.raises(RemoteError, match="--force"):
        set_remote(repository, second)
    assert tiny.settings_files(repository) == before
    set_remote(repository, second, replace=True)
    assert str(tmp_path / "second") in (repository / ".dvc/config.local").read_text()


@pytest.mark.slow
def test_a_remote_that_cannot_be_written_changes_no_settings(repository: Path, tmp_path: Path) -> None:
    before = tiny.settings_files(repository)
    (tmp_path / "file").touch()

    with pytest.raises(DvcError):
        set_remote(repository, Remote("folder", str(tmp_path / "file/remote")))

    assert tiny.settings_files(repository) == before
    assert call(repository, "git", "status", "--porcelain").stdout == ""


def test_a_run_must_be_committed(tmp_path: Path) -> None:
    call(tmp_path, "git", "init", "-q")
    init_dvc(tmp_path)
    call(tmp_path, "git", "add", "-A")
    call(tmp_path, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "Start")
    with pytest.raises(RemoteError, match=r"dvc\.lock"):
        set_remote(tmp_path, folder_remote(str(tmp_path.parent / "disk"), tmp_path))
    with pytest.raises(RemoteError, match="no default remote"):
        push(tmp_path)


def test_comments_of_the_settings_are_kept() -> None:
    written = "".join(line for line in STORE_CONFIG.splitlines(keepends=True) if "#" not in line)
    assert restore_comments(STORE_CONFIG, written) == STORE_CONFIG


def test_the_committed_settings_have_no_credentials() -> None:
    assert not SECRETS.search((ROOT / ".dvc/config").read_text())
    command = ["git", "check-ignore", "--quiet", ".dvc/config.local"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_a_failure_of_dvc_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DvcError) as raised:
        run_dvc(["status"], tmp_path)
    assert "\n" not in str(raised.value)
