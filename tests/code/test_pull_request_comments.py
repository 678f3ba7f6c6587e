"""`visiongate pr comment`: one comment per pull request, by CML's client and an imitation of GitHub's API."""

import json
import os
from pathlib import Path

import pytest

from command_line import run_cli
from github_imitation import BOT, GitHub
from visiongate.adapters import cml
from visiongate.adapters.cml import CmlError, run_cml
from visiongate.adapters.github import GitHubError, open_repository
from visiongate.review import comments
from visiongate.review.events import PullRequest, PullRequestError, find_pull_request, read_event

SHA = "b" * 40
WATERMARK = '![](https://cml.dev/watermark.png#abc "CML watermark visiongate")'


@pytest.fixture
def github(server: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """GitHub as a workflow sees it, without comments, and a report in the current folder."""
    for kept in (server.comments, server.pulls, server.checks, server.requests):
        kept.clear()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("GITHUB_EVENT_PATH", "GITHUB_EVENT_NAME", "COMMENT_AUTHOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_SHA", SHA)
    monkeypatch.chdir(tmp_path)
    write_report("The first")
    return server


def write_report(text: str) -> None:
    Path("reports").mkdir(exist_ok=True)
    Path("reports/report.md").write_text(text)


def bodies(github: GitHub, number: int = 7, author: str = BOT) -> list[str]:
    return [each["body"] for each in github.comments[number] if each["user"]["login"] == author]


def write_event(content: object, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("event.json").write_text(json.dumps(content))
    monkeypatch.setenv("GITHUB_EVENT_PATH", "event.json")


# One comment


@pytest.mark.usefixtures("client")
def test_a_second_report_updates_the_comment(github: GitHub) -> None:
    github.open_pull(7, SHA, "team:faster")
    assert run_cli("pr", "comment", "--number=7") == 0
    write_report("The second")
    assert run_cli("pr", "comment", "--number=7") == 0
    (body,) = bodies(github)
    assert body.startswith("The second")


@pytest.mark.usefixtures("client")
def test_a_long_conversation_still_has_one_comment(github: GitHub) -> None:
    for number in range(130):
        github.comment(7, f"word {number}")
    for text in ("first", "second", "third"):
        write_report(text)
        assert run_cli("pr", "comment", "--number=7") == 0
    (body,) = bodies(github)
    assert body.startswith("third")
    assert len(github.comments[7]) == 131


@pytest.mark.usefixtures("client")
def test_a_comment_of_another_author_with_the_watermark_is_kept(github: GitHub) -> None:
    github.open_pull(7, SHA, "team:faster")
    run_cli("pr", "comment", "--number=7")
    github.comment(7, f"mine\n\n{WATERMARK}", "stranger")
    write_report("The second")
    assert run_cli("pr", "comment", "--number=7") == 0
    assert bodies(github, author="stranger") == [f"mine\n\n{WATERMARK}"]
    (body,) = bodies(github)
    assert body.startswith("The second")


@pytest.mark.usefixtures("client")
def test_an_author_who_copies_each_watermark_gets_no_report(github: GitHub) -> None:
    for text in ("first", "second", "third"):
        write_report(text)
        assert run_cli("pr", "comment", "--number=7") == 0
        (body,) = bodies(github)
        assert body.startswith(text)
        github.comment(7, f"mine\n\n{body.splitlines()[-1]}", "stranger")
        foreseen = f"{WATERMARK[:-2]}-{github.comments[7][-1]['id'] + 1}"
        github.comment(7, f'{foreseen}")', "stranger")
    assert all(each.startswith(("mine", "![]")) for each in bodies(github, author="stranger"))


@pytest.mark.usefixtures("stand_in")
def test_a_comment_of_an_unexpected_author_is_an_error_and_deletes_nothing(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMMENT_AUTHOR", "somebody-else")
    assert "COMMENT_AUTHOR" in read_error(capsys)
    assert len(github.comments[7]) == 1


@pytest.mark.usefixtures("stand_in")
def test_a_deleted_account_is_another_author(github: GitHub) -> None:
    github.comment(7, WATERMARK)["user"] = None
    assert run_cli("pr", "comment", "--number=7") == 0
    assert len(github.comments[7]) == 2


def test_a_deleted_fork_has_no_pull_request(github: GitHub) -> None:
    event = {"workflow_run": {"head_repository": None}, "pull_request": None}
    assert find_pull_request(event, open_repository()) is None
    assert not github.requests


@pytest.mark.usefixtures("stand_in")
def test_a_check_without_a_verdict_fails_on_the_last_commit(github: GitHub) -> None:
    github.open_pull(7, SHA, "team:faster")
    assert run_cli("pr", "comment", "--number=7", "--check") == 0
    assert [(each["head_sha"], each["conclusion"]) for each in github.checks] == [(SHA, "failure")]


@pytest.mark.usefixtures("client")
def test_the_report_is_posted_unchanged(github: GitHub) -> None:
    text = (
        "| `a` | $(touch x) |\n|--|--|\n\n![](nowhere.png) <details>é 🟢 `${{ secrets }}`\n```mermaid\nx\n```"
    )
    write_report(text)
    run_cli("pr", "comment", "--number=7")
    assert bodies(github)[0].startswith(text)


@pytest.mark.usefixtures("client")
def test_a_check_is_set_on_the_commit(github: GitHub) -> None:
    comments.post_check(Path("reports/report.md"), PullRequest(7, SHA), passed=False)
    comments.post_check(Path("reports/report.md"), PullRequest(7, SHA), passed=True)
    assert [(each["head_sha"], each["conclusion"]) for each in github.checks] == [
        (SHA, "failure"),
        (SHA, "success"),
    ]


# The pull request


def fork_event(sha: str = SHA, branch: str = "$(touch pwned)") -> dict[str, object]:
    head = {"owner": {"login": "mallory"}}
    run = {"head_repository": head, "head_branch": branch, "head_sha": sha, "pull_requests": []}
    return {"workflow_run": run, "repository": {"default_branch": "main"}}


@pytest.mark.usefixtures("stand_in")
def test_the_event_names_the_pull_request(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    write_event({"pull_request": {"number": 3, "head": {"sha": SHA}}}, monkeypatch)
    assert run_cli("pr", "comment") == 0
    assert len(bodies(github, 3)) == 1


@pytest.mark.usefixtures("stand_in")
def test_the_pull_request_of_a_fork_is_found_by_owner_branch_base_and_commit(
    github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.open_pull(1, SHA, "someone:$(touch pwned)")
    github.open_pull(2, SHA, "mallory:other")
    github.open_pull(4, SHA, "mallory:$(touch pwned)", base="release")
    github.open_pull(3, SHA, "mallory:$(touch pwned)")
    write_event(fork_event(), monkeypatch)
    assert run_cli("pr", "comment") == 0
    assert list(github.comments) == [3]
    assert not Path("pwned").exists()


def test_a_branch_with_a_newer_commit_gets_no_comment(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    github.open_pull(3, "c" * 40, "mallory:fix")
    write_event(fork_event(branch="fix"), monkeypatch)
    assert run_cli("pr", "comment") == 0
    assert "newer commit" in capsys.readouterr().out
    assert not github.comments


def test_an_event_without_a_pull_request_is_an_error(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    write_event({"ref": "refs/heads/main"}, monkeypatch)
    with pytest.raises(PullRequestError, match="--number"):
        find_pull_request(read_event(), open_repository())
    assert not github.requests


# Errors


def read_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_cli("pr", "comment", "--number=7", *arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.usefixtures("client")
def test_a_token_without_the_right_to_write(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "may-read")
    error = read_error(capsys)
    assert "Resource not accessible by integration; give the job `pull-requests: write`" in error
    assert "may-read" not in error
    assert not github.comments


def test_an_expired_token(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "expired")
    error = read_error(capsys)
    assert "401 Bad credentials; " in error
    assert not github.comments


@pytest.mark.usefixtures("github")
def test_no_client(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "@dvcorg/cml" in read_error(capsys)


@pytest.mark.usefixtures("github", "stand_in")
def test_a_report_that_is_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    write_report("x" * 65_500)
    assert "reports/report.md" in read_error(capsys)


@pytest.mark.usefixtures("github")
def test_no_report(capsys: pytest.CaptureFixture[str]) -> None:
    Path("reports/report.md").unlink()
    assert "reports/report.md" in read_error(capsys)


@pytest.mark.usefixtures("github")
def test_outside_a_workflow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.delenv("GITHUB_REPOSITORY")
    assert "GITHUB_REPOSITORY, GITHUB_TOKEN" in read_error(capsys)
    with pytest.raises(PullRequestError, match="--number"):
        read_event({})


@pytest.mark.usefixtures("github")
def test_github_is_unreachable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "https://localhost:9/api/v3")
    assert "https://localhost:9/api/v3: is unreachable" in read_error(capsys)


def test_a_response_that_is_not_a_list(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(github), "answer", lambda *_: (200, {"message": "soon"}))
    with pytest.raises(GitHubError, match="list"):
        list(open_repository().pages("pulls"))


def test_a_response_that_is_not_json(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(github), "answer", lambda *_: (502, ["a proxy's page"]))
    with pytest.raises(GitHubError, match="502"):
        list(open_repository().pages("pulls"))


def write_client(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    (folder / "cml").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "cml").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))


def test_a_client_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_client(tmp_path / "bin", "echo 'node: no such file' >&2; exit 1", monkeypatch)
    with pytest.raises(CmlError, match="node: no such file"):
        run_cml(["comment", "update"])
    write_client(tmp_path / "quiet", "exit 3", monkeypatch)
    with pytest.raises(CmlError, match="without a message"):
        run_cml(["comment", "update"])


def test_a_client_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cml, "TIMEOUT_SECONDS", 0.2)
    write_client(tmp_path / "bin", "exec sleep 30", monkeypatch)
    with pytest.raises(CmlError, match="timed out"):
        run_cml(["comment", "update"])


def test_a_client_that_prints_no_address_deletes_nothing(
    github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.comment(7, WATERMARK, BOT)
    write_client(tmp_path / "odd", "echo done", monkeypatch)
    with pytest.raises(PullRequestError, match="done"):
        comments.post_report(Path("reports/report.md"), PullRequest(7, SHA), open_repository())
    assert len(github.comments[7]) == 1


def test_the_client_of_the_project_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_client(tmp_path / ".cml/node_modules/.bin", "echo here", monkeypatch)
    monkeypatch.setenv("PATH", os.environ["PATH"].partition(os.pathsep)[2])
    assert run_cml(["--version"]) == "here"
