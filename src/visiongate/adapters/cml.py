"""CML's command-line client, https://cml.dev, which writes comments, checks and pull requests."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from visiongate.adapters.github import ADVICE, PullRequestError

LOCAL = Path(".cml/node_modules/.bin/cml")  # where `make cml` puts it
# Whoever runs this did not ask for their runs to be counted elsewhere.
QUIET = {"ITERATIVE_DO_NOT_TRACK": "true"}
SECONDS = 300.0  # the client waits and tries again where GitHub asks it to


def run_cml(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run the client and return what it prints.

    Args:
        arguments: A command and its options; the token comes from ``REPO_TOKEN`` or ``GITHUB_TOKEN``.
        environment: Variables to set besides those of this process.

    Raises:
        PullRequestError: It is not installed, takes too long, or fails; the message has its reason.
    """
    command = str(LOCAL.absolute()) if LOCAL.exists() else shutil.which("cml")
    if command is None:
        raise PullRequestError("CML's client is not installed: `make cml` does it, given Node.js and npm")
    try:
        with _own_git_config() as config:
            done = subprocess.run(  # noqa: S603 - our own words, and paths of files
                [command, *arguments],
                env={**os.environ, **QUIET, **(environment or {}), "GIT_CONFIG_GLOBAL": str(config)},
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
            )
    except subprocess.TimeoutExpired:
        raise PullRequestError(
            f"cml {arguments[0]}: no answer from GitHub in {SECONDS:.0f} s; try again"
        ) from None
    if done.returncode:
        raise PullRequestError(f"cml {' '.join(arguments[:2])}: {_explain(done.stderr)}")
    return done.stdout.strip()


@contextmanager
def _own_git_config() -> Iterator[Path]:
    """Yield a copy of the user's git settings: the client writes ``safe.directory = *`` into them, and adds to it each time."""
    theirs = Path(os.environ.get("GIT_CONFIG_GLOBAL", "~/.gitconfig")).expanduser()
    with tempfile.TemporaryDirectory(prefix="visiongate-git-") as folder:
        config = Path(folder, "gitconfig")
        config.write_bytes(theirs.read_bytes() if theirs.is_file() else b"")
        yield config


def _explain(output: str) -> str:
    """Return the client's error out of its log of JSON lines, with what to do about it where that is known."""
    messages = [_message(line) for line in output.splitlines() if line.strip()]
    told = messages[-1] if messages else "it failed, and did not say why"
    advice = next((advice for reason, advice in ADVICE.items() if reason in told), None)
    return f"{told}; {advice}" if advice else told


def _message(line: str) -> str:
    try:
        return str(json.loads(line)["message"])
    except (ValueError, TypeError, KeyError):
        return line.strip()
