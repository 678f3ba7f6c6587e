"""Open a pull request for a branch that was pushed. A script for the project's environment, called in a clone.

``python open_pull_request.py BRANCH BASE TITLE BODY`` prints the address.
"""

import sys

from visiongate.adapters.github import GitHubError, open_repository


def main(arguments: list[str]) -> int:
    """Open the pull request and print its address; return the exit status."""
    branch, base, title, body = arguments
    try:
        opened = open_repository().send(
            "POST", "pulls", {"title": title, "head": branch, "base": base, "body": body}
        )
    except GitHubError as error:
        print(f"pull request: {error}", file=sys.stderr)
        return 1
    print(opened["html_url"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
