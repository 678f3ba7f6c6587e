"""GitHub's REST API, for the calls that CML's client has no command for."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests

from visiongate.errors import VisiongateError

TIMEOUT_SECONDS = 30.0
# GitHub returns at most 100.
ITEMS_PER_PAGE = 100
MEDIA_TYPE = "application/vnd.github+json"
# Fixes for GitHub's messages, which CML's client passes on.
FIXES = {
    "Resource not accessible by integration": "give the job `pull-requests: write`, for an issue `issues: write`; a run for a "
    "fork never gets it, so that the workflow `comment` writes for forks",
    "Bad credentials": "the token is wrong or expired; replace the secret that contains it",
}


class GitHubError(VisiongateError):
    """GitHub is unreachable or refused a request."""


@dataclass(frozen=True, slots=True)
class GitHubRepository:
    """A repository on GitHub.

    Attributes:
        api: The address of the REST API.
        slug: ``owner/name``.
        token: A token of GitHub.
    """

    api: str
    slug: str
    token: str

    def pages(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page after page.

        Args:
            path: The path in the repository, such as ``issues/12/comments``.
            query: Parameters of the address.

        Raises:
            GitHubError: GitHub is unreachable or refused.
        """
        url: str | None = self._url(path)
        parameters: dict[str, str] = {**query, "per_page": str(ITEMS_PER_PAGE)}
        while url:
            response = self._request("GET", url, parameters)
            yield from _parse_items(response)
            url, parameters = response.links.get("next", {}).get("url"), {}

    def item(self, path: str, **query: str) -> dict[str, Any]:
        """Return the item at a path in the repository.

        Args:
            path: The path in the repository, such as ``pulls/12``.
            query: Parameters of the address.

        Raises:
            GitHubError: GitHub is unreachable or refused.
        """
        content: dict[str, Any] = self._request("GET", self._url(path), query).json()
        return content

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create or change the item at a path in the repository, and return it.

        Args:
            method: ``POST`` or ``PATCH``.
            path: The path in the repository.
            body: The item's fields.

        Raises:
            GitHubError: GitHub is unreachable or refused.
        """
        content: dict[str, Any] = self._request(method, self._url(path), {}, body).json()
        return content

    def delete(self, path: str) -> None:
        """Delete the item at a path in the repository."""
        self._request("DELETE", self._url(path), {})

    def _url(self, path: str) -> str:
        return f"{self.api}/repos/{self.slug}/{path}"

    def _request(
        self, method: str, url: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": MEDIA_TYPE}
        try:
            response = requests.request(
                method, url, params=dict(query), json=body, headers=headers, timeout=TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            raise GitHubError(f"{self.api}: is unreachable ({type(error).__name__}); try again") from None
        if not response.ok:
            raise GitHubError(f"{method} {url}: {response.status_code} {_describe_failure(response)}")
        return response


def open_repository(environment: Mapping[str, str] = os.environ) -> GitHubRepository:
    """Return the repository that a workflow runs for, from the variables that GitHub sets.

    Raises:
        GitHubError: A variable is missing.
    """
    names = {"api": "GITHUB_API_URL", "slug": "GITHUB_REPOSITORY", "token": "GITHUB_TOKEN"}
    missing = [name for name in names.values() if not environment.get(name)]
    if missing:
        raise GitHubError(f"{', '.join(missing)}: not set; set it, or run this in a workflow on GitHub")
    return GitHubRepository(**{key: environment[name] for key, name in names.items()})


def run_address(environment: Mapping[str, str]) -> str:
    """Return the address of the workflow run that this is, from the variables that GitHub sets; empty without them."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, slug, run = (environment.get(name, "") for name in names)
    return f"{server}/{slug}/actions/runs/{run}" if run else ""


def _parse_items(response: requests.Response) -> list[dict[str, Any]]:
    try:
        content = response.json()
    except ValueError:
        content = None
    if not isinstance(content, list):
        raise GitHubError(
            f"GET {response.url}: the response is not a list but {response.text[:80]!r}; try again"
        )
    return content


def _describe_failure(response: requests.Response) -> str:
    try:
        message = response.json()["message"]
    except (ValueError, TypeError, KeyError):
        return response.reason
    return f"{message}; {FIXES[message]}" if message in FIXES else str(message)
