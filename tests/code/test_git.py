"""`adapters.git`: revisions, files of revisions, clones, and its own errors."""

import subprocess
from pathlib import Path

import pytest

from visiongate.adapters.dvc import DvcError, read_status
from visiongate.adapters.git import GitError, Repository


def git(directory: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "file").write_text("first\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return Repository(folder)


def test_a_file_is_read_at_a_revision(repository: Repository) -> None:
    (repository.directory / "file").write_text("second\n")
    assert repository.read("main", Path("file")) == "first\n"
    assert repository.read("main", Path("absent")) is None


@pytest.mark.parametrize("revision", ["absent", "--output=x", "main:file"])
def test_a_missing_revision_is_an_error_of_git(repository: Repository, revision: str) -> None:
    with pytest.raises(GitError, match=revision):
        repository.commit(revision)
    with pytest.raises(GitError):
        repository.read(revision, Path("file"))


def test_a_folder_without_a_repository_or_a_commit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(GitError, match="not a git repository"):
        Repository(tmp_path).commit("HEAD")
    git(tmp_path, "init", "-q")
    with pytest.raises(GitError, match="no commit"):
        Repository(tmp_path).commit("HEAD")


def test_a_clone_has_the_commit_and_leaves_the_repository_alone(
    repository: Repository, tmp_path: Path
) -> None:
    first = repository.commit("HEAD")
    (repository.directory / "file").write_text("second\n")
    git(repository.directory, "commit", "-qam", "second")
    repository.clone(tmp_path / "clone", first)
    assert (tmp_path / "clone/file").read_text() == "first\n"
    assert Repository(tmp_path / "clone").commit("HEAD") == first
    with pytest.raises(GitError, match="git fetch"):
        repository.clone(tmp_path / "other", "1" * 40)


def test_the_address_of_a_repository_has_no_password(repository: Repository) -> None:
    assert repository.address() == str(repository.directory)
    git(repository.directory, "remote", "add", "origin", "https://me:secret@example.org/a/b.git")
    assert repository.address() == "https://example.org/a/b.git"


def test_missing_git_is_an_error(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GitError, match="not installed"):
        repository.commit("HEAD")


def test_a_status_outside_a_dvc_project_is_an_error_of_dvc(tmp_path: Path) -> None:
    with pytest.raises(DvcError):
        read_status(tmp_path)
