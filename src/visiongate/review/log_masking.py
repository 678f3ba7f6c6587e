"""Mask secrets in a log. GitHub masks the log of a job, but not comments and artifacts."""

import re
from collections.abc import Mapping

SECRET_NAME = re.compile("key|secret|token|password", re.IGNORECASE)
# A shorter value may be an ordinary word.
MIN_SECRET = 8
SECRET = re.compile(
    r"(?P<scheme>://)[^\s/@]*:[^\s/@]*(?=@)|\bgh[a-z]_\w{16,}|\bgithub_pat_\w+|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
)


def mask_secrets(text: str, environment: Mapping[str, str]) -> str:
    """Replace the values of secret variables, passwords in addresses, and tokens of GitHub and AWS by asterisks."""
    known = [
        value for name, value in environment.items() if SECRET_NAME.search(name) and len(value) >= MIN_SECRET
    ]
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return SECRET.sub(lambda match: f"{match['scheme'] or ''}***", text)
