"""What DVC's messages mean and what to do about them, in one line each.

DVC passes on what its storage clients say, on several lines and without the cure. The table is of symptoms as DVC 3.67 with
s3fs 2026.9 prints them; the tests bring about each of those on S3 and on disk.
"""

import re
from typing import NamedTuple

LONGEST = 300  # characters of an unknown message that are passed on


class Symptom(NamedTuple):
    """A pattern in what DVC says, and a sentence in which the pattern's groups are filled in."""

    pattern: re.Pattern[str]
    meaning: str


def _symptom(pattern: str, meaning: str) -> Symptom:
    return Symptom(re.compile(pattern, re.IGNORECASE | re.MULTILINE), meaning)


# The first that is found counts: what is wrong altogether comes before what went wrong with one object.
SYMPTOMS = (
    _symptom(
        r"Unable to locate credentials|NoCredentialsError|Unable to (?:retrieve|load) credentials",
        "no AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    _symptom(
        r"Partial credentials found.*?missing: (\S+)",
        "the AWS credentials lack {0}: set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    _symptom(
        r"The config profile \((.*?)\) could not be found",
        "the AWS profile {0} does not exist: name one of ~/.aws/config in AWS_PROFILE",
    ),
    _symptom(
        r"\((ExpiredToken|ExpiredTokenException|TokenRefreshRequired)\)|Token has expired",
        "the AWS session has expired: log in again (`aws sso login`, or new keys) and repeat the command",
    ),
    _symptom(
        r"\((InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|AuthorizationHeaderMalformed)\)",
        "the storage does not take these AWS credentials ({0}): check AWS_PROFILE, or the keys",
    ),
    _symptom(
        r"\((RequestTimeTooSkewed)\)",
        "this machine's clock is wrong by minutes, so that the storage refuses its requests: set it, and repeat",
    ),
    _symptom(
        r"\((NoSuchBucket)\)|The specified bucket does not exist",
        "the bucket does not exist: make it, or mend the remote's address",
    ),
    _symptom(
        r"\((?:AccessDenied|AllAccessDisabled)\)|\(403\)|Forbidden|Access Denied",
        "the storage refuses access: the AWS credentials are wrong or expired, or have no rights on the bucket",
    ),
    _symptom(
        r"Could not connect to the endpoint URL: \"(https?://[^/\"]+)|Connect timeout on endpoint URL: \"(https?://[^/\"]+)",
        "{0} cannot be reached: check the network and the endpoint, and repeat the command",
    ),
    _symptom(
        r"Read timeout on endpoint URL: \"(https?://[^/\"]+)",
        "{0} does not answer: repeat the command later",
    ),
    _symptom(
        r"No space left on device|Disk quota exceeded|File too large|database or disk is full|disk I/O error",
        "the disk is full: make room, and repeat the command, which goes on where it stopped",
    ),
    _symptom(
        r"Permission denied: '(.*?)'",
        "{0}: no right to read or write there: choose another place, or have the rights changed",
    ),
    _symptom(
        r"SlowDown|ServiceUnavailable|InternalError|Internal Server Error|\(50\d\)",
        "the storage fails at the moment: repeat the command later",
    ),
    _symptom(
        r"Connection (?:was closed|reset|broken)|Server disconnected|Response payload is not completed|IncompleteRead"
        r"|Connection refused|Temporary failure",
        "the connection to the storage broke off: repeat the command, which goes on where it stopped",
    ),
    _symptom(
        r"^Expected checksum \S+ did not match",
        "an object came damaged from the remote: repeat the command, and if that does not help, `make push` in a clone "
        "that has the data whole",
    ),
    _symptom(
        r"Checkout failed for following targets:\s*(\S+)",
        "{0} is missing or damaged in the remote: run `visiongate remote push` in a clone that has the data",
    ),
    _symptom(
        r"requires these missing dependencies: (.*?)\. To",
        "this kind of remote needs packages that are not installed: {0}",
    ),
    _symptom(
        r"Unable to acquire lock|is busy, it is being blocked|Unable to lock",
        "another DVC command is running in this repository: wait for it to end",
    ),
)
ERROR = re.compile(r"^(?:\d{4}-\d\d-\d\d [\d:,]+ )?ERROR: (?:unexpected error - )?(.*)", re.MULTILINE)


def explain(said: str) -> str:
    """Say in one line what DVC's output means and what to do; where the table does not know it, DVC's own first error."""
    return find_symptom(said) or _first_error(said)


def find_symptom(said: str) -> str | None:
    """Say in one line what DVC's output means and what to do, None where the table does not know it.

    What DVC calls an error counts before what it tells under ``--verbose``, where the client's tries that came to a good end
    are told too.
    """
    for text in ("\n".join(ERROR.findall(said)), said):
        for pattern, meaning in SYMPTOMS:
            if found := pattern.search(text):
                return meaning.format(*filter(None, found.groups()))
    return None


def _first_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    chosen = next(iter(ERROR.findall(said)), lines[-1] if lines else "no reason given")
    return chosen if len(chosen) <= LONGEST else chosen[:LONGEST] + "…"
