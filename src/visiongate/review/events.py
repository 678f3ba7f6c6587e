"""Which pull request a workflow runs for."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiongate.adapters.github import PullRequestError, Repository


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request, at the commit that was judged."""

    number: int
    head_sha: str


def read_event(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Read the event that started the workflow.

    Raises:
        PullRequestError: This is no workflow on GitHub.
    """
    path = environment.get("GITHUB_EVENT_PATH")
    if not path:
        raise PullRequestError("GITHUB_EVENT_PATH not set: name the pull request, as in `make comment PR=12`")
    event: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return event


def find_pull_request(event: Mapping[str, Any], repository: Repository) -> PullRequest | None:
    """Find the pull request of an event; None where its branch has moved on, or it is closed.

    The event of a ``workflow_run`` names no pull request when the branch lies in a fork. What it does name, GitHub wrote, not
    the fork: the owner, the branch and the commit, by which the open pull requests are searched. Nothing that the run
    left behind is asked for the number, for then a fork could have any pull request commented.

    Raises:
        PullRequestError: The event is about no pull request.
    """
    if event.get("pull_request"):
        found = event["pull_request"]
        return PullRequest(int(found["number"]), str(found["head"]["sha"]))
    if not event.get("workflow_run"):
        raise PullRequestError("this event is about no pull request: name it, as in `make comment PR=12`")
    run = event["workflow_run"]
    if not run["head_repository"]:  # the fork is deleted
        return None
    head = f"{run['head_repository']['owner']['login']}:{run['head_branch']}"
    for found in repository.pages("pulls", state="open", head=head):
        if found["head"]["sha"] == run["head_sha"]:
            return PullRequest(int(found["number"]), str(run["head_sha"]))
    return None
