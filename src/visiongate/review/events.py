"""Find the pull request that a workflow runs for."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiongate.adapters.github import GitHubRepository
from visiongate.errors import VisiongateError


class PullRequestError(VisiongateError):
    """There is no pull request, or no report for it."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request at a commit."""

    number: int
    head_sha: str


def read_event(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Read the event that started the workflow.

    Raises:
        PullRequestError: This is not a workflow on GitHub.
    """
    path = environment.get("GITHUB_EVENT_PATH")
    if not path:
        raise PullRequestError("there is no event of GitHub; name the pull request with --number")
    event: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return event


def find_pull_request(event: Mapping[str, Any], repository: GitHubRepository) -> PullRequest | None:
    """Return the pull request of an event; None if it is closed, or has a newer commit.

    A ``workflow_run`` event does not name the pull request of a fork. It has the owner, the branch and the commit, by which the
    pull request is found among the open ones into the default branch, for which the workflow runs. GitHub wrote them; a number
    in the files of the run could be chosen by the fork.

    Raises:
        PullRequestError: The event belongs to no pull request.
    """
    if event.get("pull_request"):
        found = event["pull_request"]
        return PullRequest(int(found["number"]), str(found["head"]["sha"]))
    if not event.get("workflow_run"):
        raise PullRequestError("the event belongs to no pull request; name one with --number")
    run = event["workflow_run"]
    # The fork may have been deleted.
    if not run["head_repository"]:
        return None
    head = f"{run['head_repository']['owner']['login']}:{run['head_branch']}"
    base = str(event["repository"]["default_branch"])
    # A branch may have pull requests into several branches.
    for found in repository.pages("pulls", state="open", head=head, base=base):
        if found["head"]["sha"] == run["head_sha"]:
            return PullRequest(int(found["number"]), str(run["head_sha"]))
    return None
