"""Post the report as one comment per pull request, and the verdict as a check."""

import itertools
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.adapters.cml import run_cml
from visiongate.adapters.github import GitHubRepository
from visiongate.review.events import PullRequest, PullRequestError

TITLE = "visiongate"
# Of a comment on GitHub, with the watermark by which the client finds it again.
MAX_CHARACTERS = 65_536
WATERMARK = re.compile(rf'!\[\]\(\S+ "CML watermark ({TITLE}(?:-[0-9a-f]+)?)"\)')
WATERMARK_LENGTH = 200
COMMENT_ID = re.compile(r"#issuecomment-(\d+)$")
# The author of comments that a workflow writes with its own token.
WORKFLOW_AUTHOR = "github-actions[bot]"


@dataclass(frozen=True, slots=True)
class _MarkedComment:
    """A comment with a watermark of this project, by any author."""

    number: int
    author: str
    title: str


def post_report(
    report: Path, pull_request: PullRequest, repository: GitHubRepository, author: str = WORKFLOW_AUTHOR
) -> str:
    """Post a report as the pull request's comment, or update the comment; return its address.

    The client updates the last comment with a watermark, by any author, and reads only the first thirty comments. Therefore
    the watermark is one that no other author's comment has and that nobody can predict. Our other comments are deleted.

    Args:
        report: Markdown.
        pull_request: The pull request.
        repository: Its repository.
        author: The login of the token's user.

    Raises:
        PullRequestError: The report is too long, or the comment has another author.
        VisiongateError: GitHub or the client refused.
    """
    length = len(report.read_text(encoding="utf-8"))
    if length > MAX_CHARACTERS - WATERMARK_LENGTH:
        raise PullRequestError(
            f"{report}: has {length} characters; GitHub accepts {MAX_CHARACTERS} in a comment"
        )
    title = _choose_title(list(_list_marked(pull_request, repository)), author)
    target = ["--target", f"pr/{pull_request.number}", "--watermark-title", title]
    address = run_cml(["comment", "update", *target, "--publish=false", str(report)])
    match = COMMENT_ID.search(address)
    if match is None:
        raise PullRequestError(f"cml comment update: {address or 'nothing'} is not the address of a comment")
    ours = [comment.number for comment in _list_marked(pull_request, repository) if comment.author == author]
    if int(match[1]) not in ours:
        raise PullRequestError(
            f"{address}: is not by {author}; set COMMENT_AUTHOR to the login of the token's user"
        )
    for number in ours:
        if number != int(match[1]):
            repository.delete(f"issues/comments/{number}")
    return address


def _choose_title(comments: Sequence[_MarkedComment], author: str) -> str:
    """Return the title of our last comment, or a random one if a comment of another author has the same."""
    taken = {comment.title for comment in comments if comment.author != author}
    ours = [comment.title for comment in comments if comment.author == author]
    title = ours[-1] if ours else TITLE
    return f"{TITLE}-{secrets.token_hex(8)}" if title in taken else title


def _list_marked(pull_request: PullRequest, repository: GitHubRepository) -> Iterator[_MarkedComment]:
    """Yield the comments that have a watermark of ours."""
    for comment in repository.pages(f"issues/{pull_request.number}/comments"):
        if mark := WATERMARK.search(comment["body"] or ""):
            # The account of the author may have been deleted.
            author = str((comment["user"] or {}).get("login"))
            yield _MarkedComment(int(comment["id"]), author, mark[1])


def post_check(report: Path, pull_request: PullRequest, *, passed: bool) -> None:
    """Set a check on the commit, for pull requests whose own runs are not trusted."""
    conclusion = "success" if passed else "failure"
    options = {"--title": f"{TITLE}: gate", "--head-sha": pull_request.head_sha, "--conclusion": conclusion}
    run_cml(["check", "create", *itertools.chain(*options.items()), str(report)])
