"""One issue about a champion that falls short: opened, updated, and closed when it passes again."""

from typing import Any

from visiongate.adapters.github import GitHubRepository
from visiongate.review.comments import WORKFLOW_AUTHOR

# By which the issue is found again. The author is compared as well, because anyone may write the mark.
MARK = "<!-- visiongate: champion check -->"
# Of an issue on GitHub.
MAX_CHARACTERS = 65_536
PASSED = "The check passes again: {run}"


def update_issue(
    title: str | None, report: str, run: str, repository: GitHubRepository, author: str = WORKFLOW_AUTHOR
) -> str:
    """Open the issue, update it, or close it; return its address, or that there is none.

    Args:
        title: What falls short; None if nothing does.
        report: Markdown.
        run: The address of the workflow run, or an empty string.
        repository: On GitHub.
        author: The login of the token's user.

    Raises:
        GitHubError: GitHub is unreachable or refused.
    """
    found = _find(repository, author)
    if title is None:
        return _close(found, run, repository) if found else "No issue is open"
    footer = f"\n\n{run}\n{MARK}\n"
    body = report[: MAX_CHARACTERS - len(footer)] + footer
    method, path = ("PATCH", f"issues/{found['number']}") if found else ("POST", "issues")
    return str(repository.send(method, path, {"title": title, "body": body})["html_url"])


def _find(repository: GitHubRepository, author: str) -> dict[str, Any] | None:
    for item in repository.pages("issues", state="open"):
        login = (item["user"] or {}).get("login")
        # GitHub lists pull requests as issues.
        if "pull_request" not in item and login == author and MARK in (item["body"] or ""):
            return item
    return None


def _close(found: dict[str, Any], run: str, repository: GitHubRepository) -> str:
    number = found["number"]
    repository.send("POST", f"issues/{number}/comments", {"body": PASSED.format(run=run)})
    closed = {"state": "closed", "state_reason": "completed"}
    return str(repository.send("PATCH", f"issues/{number}", closed)["html_url"])
