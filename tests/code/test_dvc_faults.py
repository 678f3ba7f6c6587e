"""DVC's failures are explained in one line."""

import pytest

from visiongate.adapters.dvc_faults import explain, find_fault

CALLED = "when calling the PutObject operation"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("ERROR: unexpected error - Unable to locate credentials", "AWS credentials"),
        (
            "ERROR: unexpected error - Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY",
            "AWS_SECRET_ACCESS_KEY",
        ),
        (f"ERROR: failed - The x: An error occurred (TokenRefreshRequired) {CALLED}", "has expired"),
        (f"ERROR: failed - The x: An error occurred (InvalidAccessKeyId) {CALLED}", "(InvalidAccessKeyId)"),
        (f"ERROR: failed - The x: An error occurred (RequestTimeTooSkewed) {CALLED}", "clock"),
        (f"ERROR: failed - The x: An error occurred (AccessDenied) {CALLED}", "denies access"),
        (f"ERROR: failed - The x: An error occurred (SlowDown) {CALLED}", "fails at the moment"),
        (
            'ERROR: Connect timeout on endpoint URL: "https://s3.x.org/b/k"',
            "https://s3.x.org cannot be reached",
        ),
        ("ERROR: unexpected error - database or disk is full", "the disk is full"),
        ("ERROR: unexpected error - [Errno 13] Permission denied: '/mnt/x'", "/mnt/x: permission denied"),
        (
            "ERROR: URL 'gs://b' is supported but requires these missing dependencies: ['gcsfs']. To install dvc",
            "needs packages that are not installed: ['gcsfs']",
        ),
        ("ERROR: Unable to acquire lock. Most likely another DVC process", "another DVC command is running"),
    ],
)
def test_a_known_fault_is_explained(output: str, expected: str) -> None:
    assert expected in explain(f"WARNING: something\n{output}\n\nHaving any troubles?")
    assert "\n" not in explain(output)


def test_an_error_counts_before_an_attempt_that_succeeded_later() -> None:
    output = (
        "2026-11-21 14:30:20,480 DEBUG: Server disconnected\n"
        "2026-11-21 14:30:21,480 ERROR: unexpected error - No space left on device\n"
    )
    assert explain(output).startswith("the disk is full")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("ERROR: unexpected error - something new\nERROR: more", "something new"),
        ("2026-11-21 14:30:21,480 ERROR: something new\nTraceback", "something new"),
        ("usage: dvc\nthe last line\n", "the last line"),
        ("", "no reason given"),
        ("ERROR: " + "x" * 1000, "x" * 300 + "…"),
    ],
)
def test_an_unknown_error_is_passed_on_in_one_line(output: str, expected: str) -> None:
    assert find_fault(output) is None
    assert explain(output) == expected
