"""CML's command-line client (https://cml.dev), which writes comments, checks and pull requests."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from visiongate.adapters.github import FIXES
from visiongate.errors import VisiongateError

# Where `npm install --prefix .cml @dvcorg/cml` installs the client.
LOCAL_CLIENT = Path(".cml/node_modules/.bin/cml")
NO_TELEMETRY = {"ITERATIVE_DO_NOT_TRACK": "true"}
# The client retries when GitHub limits its requests.
TIMEOUT_SECONDS = 300.0


class CmlError(VisiongateError):
    """CML's client is missing or failed."""


def run_cml(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run the client and return its standard output.

    Args:
        arguments: A command and its options. The client reads the token from ``REPO_TOKEN`` or ``GITHUB_TOKEN``.
        environment: Variables to set besides those of this process.

    Raises:
        CmlError: The client is not installed, timed out or failed.
    """
    command = str(LOCAL_CLIENT.absolute()) if LOCAL_CLIENT.exists() else shutil.which("cml")
    if command is None:
        raise CmlError("CML's client is not installed; run `npm install --prefix .cml @dvcorg/cml@0.20.6`")
    try:
        with _copy_git_config() as config:
            done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
                [command, *arguments],
                env={**os.environ, **NO_TELEMETRY, **(environment or {}), "GIT_CONFIG_GLOBAL": str(config)},
                capture_output=True,
                text=True,
                check=False,
                timeout=TIMEOUT_SECONDS,
            )
    except subprocess.TimeoutExpired:
        raise CmlError(f"cml {arguments[0]}: timed out after {TIMEOUT_SECONDS:.0f} s; try again") from None
    if done.returncode:
        raise CmlError(f"cml {' '.join(arguments[:2])}: {_describe_failure(done.stderr)}")
    return done.stdout.strip()


@contextmanager
def _copy_git_config() -> Iterator[Path]:
    """Yield a copy of the user's git settings, because the client adds ``safe.directory = *`` to them."""
    original = Path(os.environ.get("GIT_CONFIG_GLOBAL", "~/.gitconfig")).expanduser()
    with tempfile.TemporaryDirectory(prefix="visiongate-git-") as folder:
        config = Path(folder, "gitconfig")
        config.write_bytes(original.read_bytes() if original.is_file() else b"")
        yield config


def _describe_failure(output: str) -> str:
    """Return the last message of the client's log, which has a JSON object per line, with the fix if it is known."""
    messages = [_parse_message(line) for line in output.splitlines() if line.strip()]
    message = messages[-1] if messages else "failed without a message"
    fix = next((fix for text, fix in FIXES.items() if text in message), None)
    return f"{message}; {fix}" if fix else message


def _parse_message(line: str) -> str:
    try:
        return str(json.loads(line)["message"])
    except (ValueError, TypeError, KeyError):
        return line.strip()
