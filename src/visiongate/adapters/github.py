"""The few calls to GitHub's REST API that CML's client has no command for."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests

from visiongate.errors import VisiongateError

TIMEOUT = 30.0  # seconds without a byte
PER_PAGE = 100  # the most that GitHub gives
ACCEPT = "application/vnd.github+json"


class PullRequestError(VisiongateError):
    """GitHub, or CML's client, does not do what is asked."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on GitHub, and what opens it."""

    api: str  # address of the REST API
    slug: str  # owner/name
    token: str

    def pages(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page after page.

        Args:
            path: Below the repository, as ``issues/12/comments``.
            query: Of the address.

        Raises:
            PullRequestError: GitHub cannot be reached, or refuses.
        """
        url: str | None = self._address(path)
        parameters: dict[str, str] = {**query, "per_page": str(PER_PAGE)}
        while url:
            answer = self._ask("GET", url, parameters)
            yield from _items(answer)
            url, parameters = answer.links.get("next", {}).get("url"), {}

    def item(self, path: str) -> dict[str, Any]:
        """Return what lies at a path below the repository.

        Raises:
            PullRequestError: GitHub cannot be reached, or refuses.
        """
        content: dict[str, Any] = self._ask("GET", self._address(path), {}).json()
        return content

    def delete(self, path: str) -> None:
        """Delete what lies at a path below the repository."""
        self._ask("DELETE", self._address(path), {})

    def _address(self, path: str) -> str:
        return f"{self.api}/repos/{self.slug}/{path}"

    def _ask(self, method: str, url: str, query: Mapping[str, str]) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": ACCEPT}
        try:
            answer = requests.request(method, url, params=dict(query), headers=headers, timeout=TIMEOUT)
        except requests.RequestException as error:
            raise PullRequestError(
                f"{self.api}: cannot be reached ({type(error).__name__}); try again"
            ) from None
        if not answer.ok:
            raise PullRequestError(f"{method} {url}: {answer.status_code} {_reason(answer)}")
        return answer


def open_repository(environment: Mapping[str, str] = os.environ) -> Repository:
    """Return the repository that a workflow runs for, from the variables that GitHub sets.

    Raises:
        PullRequestError: One is missing.
    """
    names = {"api": "GITHUB_API_URL", "slug": "GITHUB_REPOSITORY", "token": "GITHUB_TOKEN"}
    missing = [name for name in names.values() if not environment.get(name)]
    if missing:
        raise PullRequestError(
            f"{', '.join(missing)} not set: a workflow on GitHub has it, or set it yourself"
        )
    return Repository(**{key: environment[name] for key, name in names.items()})


def _items(answer: requests.Response) -> list[dict[str, Any]]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    if not isinstance(content, list):
        raise PullRequestError(f"GET {answer.url}: no list came, but {answer.text[:80]!r}; try again")
    return content


def _reason(answer: requests.Response) -> str:
    try:
        message = answer.json()["message"]
    except (ValueError, TypeError, KeyError):
        return answer.reason
    return f"{message}; {ADVICE[message]}" if message in ADVICE else str(message)


# What GitHub says no with, by what to do about it.
ADVICE = {
    "Resource not accessible by integration": "the job's `permissions` must let it write pull requests, and a run for a fork "
    "never may: there the workflow `comment` writes",
    "Bad credentials": "the token is wrong or has expired: see the secret that holds it",
}
