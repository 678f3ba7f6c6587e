"""Write the report as the pull request's comment: ``make comment [PR=12] [CHECK=1 [BASE=main] [FROM=DIR]]``.

In a workflow, the event says which pull request. A check beside the commit bears the verdict where a run's own may not be
believed.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from visiongate import paths
from visiongate.adapters.github import PullRequestError, Repository, open_repository
from visiongate.commands.gate import judge_run
from visiongate.errors import VisiongateError
from visiongate.review.comments import AUTHOR, post_check, post_report
from visiongate.review.events import PullRequest, find_pull_request, read_event
from visiongate.settings.schema import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Post, and print where; return the exit status."""
    parser = argparse.ArgumentParser(prog="make comment", description=__doc__)
    parser.add_argument("--pull-request", type=int, metavar="NUMBER")
    parser.add_argument(
        "--check", action="store_true", help="also set a check with the verdict beside the commit"
    )
    parser.add_argument("--base", help="for the check: a git revision to judge the largest drops against")
    parser.add_argument(
        "--from", dest="folder", type=Path, help="for the check: what a run of somebody else's left"
    )
    parser.add_argument("--failed", action="store_true", help="for the check: the run broke off")
    options = parser.parse_args(arguments)
    try:
        _post(options)
    except VisiongateError as error:
        print(f"comment: {error}", file=sys.stderr)
        return 1
    return 0


def _post(options: argparse.Namespace) -> None:
    if not paths.REPORT.exists():
        raise PullRequestError(f"{paths.REPORT}: no such file; `make report` writes it")
    repository = open_repository()
    pull_request = _choose(options, repository)
    if pull_request is None:
        print("The pull request has a newer commit, or is closed: nothing to comment on")
        return
    print(post_report(paths.REPORT, pull_request, repository, os.environ.get("COMMENT_AUTHOR") or AUTHOR))
    if options.check:
        post_check(paths.REPORT, pull_request, passed=_passes(options))


def _passes(options: argparse.Namespace) -> bool:
    """Say what the gate says; where it cannot say, the report has told why, and nothing passes."""
    try:
        return not options.failed and judge_run(options.folder, options.base, load_settings().gate).passed
    except VisiongateError:
        return False


def _choose(options: argparse.Namespace, repository: Repository) -> PullRequest | None:
    number = options.pull_request
    if number is None:
        return find_pull_request(read_event(), repository)
    head = str(repository.item(f"pulls/{number}")["head"]["sha"]) if options.check else ""
    return PullRequest(number, head)


if __name__ == "__main__":
    sys.exit(main())
