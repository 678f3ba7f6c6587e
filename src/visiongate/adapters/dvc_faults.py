"""DVC's failures, explained in one line each.

DVC prints the messages of its storage clients, on several lines and without a fix.
The patterns are of DVC 3.67 and s3fs 2026.9.
"""

import re
from typing import NamedTuple

# Characters of an unknown message.
MAX_LENGTH = 300


class Fault(NamedTuple):
    """A pattern in DVC's output, and an explanation in which the pattern's groups are filled in."""

    pattern: re.Pattern[str]
    explanation: str


def _fault(pattern: str, explanation: str) -> Fault:
    return Fault(re.compile(pattern, re.IGNORECASE | re.MULTILINE), explanation)


# The first match counts, so general causes come before failures of single objects.
FAULTS = (
    _fault(
        r"Unable to locate credentials|NoCredentialsError|Unable to (?:retrieve|load) credentials|Partial credentials found",
        "no complete AWS credentials found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    _fault(
        r"The config profile \((.*?)\) could not be found",
        "the AWS profile {0} does not exist; set AWS_PROFILE to one of ~/.aws/config",
    ),
    _fault(
        r"\((ExpiredToken|ExpiredTokenException|TokenRefreshRequired)\)|Token has expired",
        "the AWS session has expired; log in again (`aws sso login`, or new keys)",
    ),
    _fault(
        r"\((InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|AuthorizationHeaderMalformed)\)",
        "the storage rejects the AWS credentials ({0}); check AWS_PROFILE, or the keys",
    ),
    _fault(r"\((RequestTimeTooSkewed)\)", "the clock of this machine is wrong; set it"),
    _fault(
        r"\((NoSuchBucket)\)|The specified bucket does not exist",
        "the bucket does not exist; create it, or correct the address of the remote",
    ),
    _fault(
        r"\((?:AccessDenied|AllAccessDisabled)\)|\(403\)|Forbidden|Access Denied",
        "the storage denies access; check the AWS credentials and their rights on the bucket",
    ),
    _fault(
        r"(?:Could not connect to the|Connect timeout on) endpoint URL: \"(https?://[^/\"]+)",
        "{0} cannot be reached; check the network and the endpoint",
    ),
    _fault(r"Read timeout on endpoint URL: \"(https?://[^/\"]+)", "{0} does not answer; try again later"),
    _fault(
        r"No space left on device|Disk quota exceeded|File too large|database or disk is full|disk I/O error",
        "the disk is full; free some space and run the command again, which resumes",
    ),
    _fault(r"Permission denied: '(.*?)'", "{0}: permission denied; check the owner and the permissions"),
    _fault(
        r"SlowDown|ServiceUnavailable|InternalError|Internal Server Error|\(50\d\)",
        "the storage fails at the moment; try again later",
    ),
    _fault(
        r"Connection (?:was closed|reset|broken)|Server disconnected|Response payload is not completed|IncompleteRead"
        r"|Connection refused|Temporary failure",
        "the connection to the storage failed; run the command again, which resumes",
    ),
    _fault(
        r"^Expected checksum \S+ did not match",
        "an object of the remote is damaged; run the command again, or `visiongate remote push` in a clone with intact data",
    ),
    _fault(
        r"Checkout failed for following targets:\s*(\S+)",
        "{0} is missing or damaged in the remote; run `visiongate remote push` in a clone that has the data",
    ),
    _fault(
        r"requires these missing dependencies: (.*?)\. To",
        "this kind of remote needs packages that are not installed: {0}",
    ),
    _fault(
        r"Unable to acquire lock|is busy, it is being blocked|Unable to lock",
        "another DVC command is running in this repository; wait for it to end",
    ),
)
_ERROR = re.compile(r"^(?:\d{4}-\d\d-\d\d [\d:,]+ )?ERROR: (?:unexpected error - )?(.*)", re.MULTILINE)


def explain(output: str) -> str:
    """Return the cause and the fix of a failure; for an unknown failure, DVC's first error."""
    return find_fault(output) or _first_error(output)


def find_fault(output: str) -> str | None:
    """Return the cause and the fix of a failure, None if it is unknown.

    Errors count before other output, because ``--verbose`` also shows attempts that succeeded later.
    """
    for text in ("\n".join(_ERROR.findall(output)), output):
        for pattern, explanation in FAULTS:
            if match := pattern.search(text):
                return explanation.format(*filter(None, match.groups()))
    return None


def _first_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    error = next(iter(_ERROR.findall(output)), lines[-1] if lines else "no reason given")
    return error if len(error) <= MAX_LENGTH else error[:MAX_LENGTH] + "…"
