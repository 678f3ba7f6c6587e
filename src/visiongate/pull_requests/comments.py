"""One comment a pull request, whatever others write there."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from visiongate.pull_requests.cml import run_cml
from visiongate.pull_requests.events import PullRequest
from visiongate.pull_requests.github_api import PullRequestError, Repository

TITLE = "visiongate"
LIMIT = 65_536  # characters of a comment on GitHub, the client's watermark among them
WATERMARK = re.compile(rf'!\[\]\(\S+ "CML watermark {TITLE}(?:-(\d+))?"\)')
WATERMARK_LENGTH = 200
ADDRESS = re.compile(r"#issuecomment-(\d+)$")
AUTHOR = "github-actions[bot]"  # whom the token of a workflow writes as


@dataclass(frozen=True, slots=True)
class _Comment:
    number: int
    author: str


def post_report(report: Path, pull_request: PullRequest, repository: Repository, author: str = AUTHOR) -> str:
    """Write a report as the pull request's comment, in the place of the one before, and return its address.

    The client updates the last comment that bears its watermark, whoever wrote it, and looks at the first thirty alone. So the
    watermark is one that no stranger's comment bears, and what the client did not find again is deleted.

    Args:
        report: Markdown.
        pull_request: To comment on.
        repository: That it is in.
        author: Login that the token writes as.

    Raises:
        PullRequestError: The report is too long, or GitHub or the client refuses.
    """
    length = len(report.read_text(encoding="utf-8"))
    if length > LIMIT - WATERMARK_LENGTH:
        raise PullRequestError(f"{report}: {length} characters, where GitHub takes {LIMIT} in a comment")
    strangers = [found.number for found in _marked(pull_request, repository) if found.author != author]
    title = f"{TITLE}-{max(strangers)}" if strangers else TITLE
    target = ["--target", f"pr/{pull_request.number}", "--watermark-title", title]
    address = run_cml(["comment", "update", *target, "--publish=false", str(report)])
    written = ADDRESS.search(address)
    if written is None:
        raise PullRequestError(f"cml comment update: {address or 'nothing'} is no comment's address")
    for found in list(_marked(pull_request, repository)):
        if found.author == author and found.number != int(written[1]):
            repository.delete(f"issues/comments/{found.number}")
    return address


def _marked(pull_request: PullRequest, repository: Repository) -> Iterator[_Comment]:
    """Yield the comments that bear a watermark of ours."""
    for found in repository.pages(f"issues/{pull_request.number}/comments"):
        if WATERMARK.search(found["body"] or ""):
            yield _Comment(int(found["id"]), str(found["user"]["login"]))


def post_check(report: Path, pull_request: PullRequest, *, passed: bool) -> None:
    """Set a check beside the commit, for pull requests whose own run may not be believed: a fork's."""
    conclusion = "success" if passed else "failure"
    options = {"--title": f"{TITLE}: gate", "--head-sha": pull_request.head_sha, "--conclusion": conclusion}
    run_cml(["check", "create", *itertools.chain(*options.items()), str(report)])
