"""One comment a pull request, whatever others write there."""

import itertools
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.adapters.cml import run_cml
from visiongate.adapters.github import PullRequestError, Repository
from visiongate.review.events import PullRequest

TITLE = "visiongate"
LIMIT = 65_536  # characters of a comment on GitHub, the client's watermark among them
WATERMARK = re.compile(rf'!\[\]\(\S+ "CML watermark ({TITLE}(?:-[0-9a-f]+)?)"\)')
WATERMARK_LENGTH = 200
ADDRESS = re.compile(r"#issuecomment-(\d+)$")
AUTHOR = "github-actions[bot]"  # whom the token of a workflow writes as


@dataclass(frozen=True, slots=True)
class _Comment:
    number: int
    author: str
    title: str  # in its watermark


def post_report(report: Path, pull_request: PullRequest, repository: Repository, author: str = AUTHOR) -> str:
    """Write a report as the pull request's comment, in the place of the one before, and return its address.

    The client updates the last comment that bears its watermark, whoever wrote it, and looks at the first thirty alone. So the
    watermark is one that no stranger's comment bears, nor could foresee, and what the client did not find again is deleted.

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
    title = _choose_title(list(_marked(pull_request, repository)), author)
    target = ["--target", f"pr/{pull_request.number}", "--watermark-title", title]
    address = run_cml(["comment", "update", *target, "--publish=false", str(report)])
    written = ADDRESS.search(address)
    if written is None:
        raise PullRequestError(f"cml comment update: {address or 'nothing'} is no comment's address")
    ours = [found.number for found in _marked(pull_request, repository) if found.author == author]
    if int(written[1]) not in ours:
        raise PullRequestError(f"{address} is not by {author}: COMMENT_AUTHOR names whom the token writes as")
    for number in ours:
        if number != int(written[1]):
            repository.delete(f"issues/comments/{number}")
    return address


def _choose_title(marked: Sequence[_Comment], author: str) -> str:
    """Return the title of our last comment, or a new one where a stranger's comment bears it."""
    taken = {found.title for found in marked if found.author != author}
    ours = [found.title for found in marked if found.author == author]
    title = ours[-1] if ours else TITLE
    return f"{TITLE}-{secrets.token_hex(8)}" if title in taken else title


def _marked(pull_request: PullRequest, repository: Repository) -> Iterator[_Comment]:
    """Yield the comments that bear a watermark of ours."""
    for found in repository.pages(f"issues/{pull_request.number}/comments"):
        if mark := WATERMARK.search(found["body"] or ""):
            # The author of a comment may be deleted.
            yield _Comment(int(found["id"]), str((found["user"] or {}).get("login")), mark[1])


def post_check(report: Path, pull_request: PullRequest, *, passed: bool) -> None:
    """Set a check beside the commit, for pull requests whose own run may not be believed: a fork's."""
    conclusion = "success" if passed else "failure"
    options = {"--title": f"{TITLE}: gate", "--head-sha": pull_request.head_sha, "--conclusion": conclusion}
    run_cml(["check", "create", *itertools.chain(*options.items()), str(report)])
