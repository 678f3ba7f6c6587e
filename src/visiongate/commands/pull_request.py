"""``visiongate pr``: write to pull requests on GitHub."""

import os
from collections.abc import Mapping
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.adapters.github import GitHubError, GitHubRepository, open_repository, run_address
from visiongate.delivery.image_pins import find_kustomization, parse_reference
from visiongate.delivery.image_proposals import BuildRun, ImageProposal, propose_image
from visiongate.errors import VisiongateError
from visiongate.records.registration import read_registration
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


def deploy(image: str, overlay: str) -> int:
    """Open a pull request that changes the digest of an image in an overlay, or update the open one.

    Raises:
        VisiongateError: The image is not named by digest, the overlay does not exist, or GitHub refused.
    """
    proposal = ImageProposal(
        parse_reference(image),
        overlay,
        find_kustomization(overlay),
        read_registration(paths.REGISTRATION),
        _read_run(os.environ),
    )
    base = Repository(Path.cwd()).run("branch", "--show-current").strip()
    print(propose_image(proposal, base, open_repository()))
    return 0


def _read_run(environment: Mapping[str, str]) -> BuildRun:
    """Return the workflow run that this is, from the variables that GitHub sets."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_SHA", "GITHUB_WORKFLOW_REF")
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise GitHubError(f"{', '.join(missing)}: not set; run this in a workflow on GitHub")
    identity = f"{environment['GITHUB_SERVER_URL']}/{environment['GITHUB_WORKFLOW_REF']}"
    return BuildRun(run_address(environment), environment["GITHUB_SHA"], identity)


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
