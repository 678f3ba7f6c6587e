"""``visiongate pr``: write to pull requests on GitHub, through CML."""

import os
from pathlib import Path

from visiongate import paths
from visiongate.adapters.github import GitHubRepository, open_repository
from visiongate.errors import VisiongateError
from visiongate.review.comments import WORKFLOW_AUTHOR, post_check, post_report
from visiongate.review.events import PullRequest, PullRequestError, find_pull_request, read_event
from visiongate.review.proposals import propose_model
from visiongate.review.verdicts import read_gate_verdict
from visiongate.settings.loading import load_settings


def comment(number: int | None, base: str | None, folder: Path | None, *, check: bool, failed: bool) -> int:
    """Post the report as the pull request's comment, or update the comment.

    If the status of the run is not trusted, a check on the commit shows the verdict.

    Raises:
        VisiongateError: There is no report, or GitHub or CML refused.
    """
    if not paths.REPORT.exists():
        raise PullRequestError(f"{paths.REPORT}: no such file; run `visiongate report`")
    repository = open_repository()
    pull_request = _find_pull_request(number, repository, check=check)
    if pull_request is None:
        print("Not posted: the pull request is closed or has a newer commit")
        return 0
    author = os.environ.get("COMMENT_AUTHOR") or WORKFLOW_AUTHOR
    print(post_report(paths.REPORT, pull_request, repository, author))
    if check:
        post_check(paths.REPORT, pull_request, passed=not failed and _passes(base, folder))
    return 0


def propose() -> int:
    """Open a pull request with the current model, if it was promoted.

    Raises:
        VisiongateError: There is no registration, or CML or GitHub refused.
    """
    print(propose_model())
    return 0


def _passes(base: str | None, folder: Path | None) -> bool:
    """Return whether the gate passes; False if it cannot be judged, for which the report gives the reason."""
    try:
        return read_gate_verdict(folder, base, load_settings().gate).passed
    except VisiongateError:
        return False


def _find_pull_request(
    number: int | None, repository: GitHubRepository, *, check: bool
) -> PullRequest | None:
    if number is None:
        return find_pull_request(read_event(), repository)
    head = str(repository.item(f"pulls/{number}")["head"]["sha"]) if check else ""
    return PullRequest(number, head)
