# ruff: noqa: INP001 - a script
"""Start the workflow `retrain` on GitHub if a new model is due: ``python start_workflow.py TOKEN_FILE retrain-check``.

Runs in the image of the service, with its standard library only. The files `api` and `repository` beside it have the address of
GitHub's API and OWNER/NAME.

Exits with 0 if the workflow has been started, with 3 if GitHub refuses, and otherwise with the status of the check.
"""

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Final

TIMEOUT_SECONDS: Final = 30
REFUSED: Final = 3
EVENT: Final = "retrain"


def main(token: Path, command: list[str]) -> int:
    """Run the check, and start the workflow if a model is due; return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "retrain.json"
        # The report and not the status alone, because Python exits with 1 after an error, too.
        status = subprocess.call(["visiongate", *command, "--json", str(path)])  # noqa: S603, S607 - of the image
        report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if report.get("verdict") != "retrain":
        return status
    here = Path(__file__).parent
    api, repository = (
        (here / name).read_text(encoding="utf-8").strip().rstrip("/") for name in ("api", "repository")
    )
    reasons = [check["check"] for check in report["checks"] if check["due"]]
    return start(f"{api}/repos/{repository}/dispatches", token.read_text(encoding="utf-8").strip(), reasons)


def start(address: str, token: str, reasons: list[str]) -> int:
    """Send the event; return the exit status."""
    request = urllib.request.Request(  # noqa: S310 - an address of the operator
        address,
        data=json.dumps({"event_type": EVENT, "client_payload": {"reasons": reasons}}).encode(),
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310 - as above
            print(f"{address}: started the workflow {EVENT}: {', '.join(reasons)}")
    except OSError as error:
        print(
            f"{address}: the workflow {EVENT} was not started: {error}; the token of the Secret visiongate-retrain needs the "
            "right to write the contents of the repository",
            file=sys.stderr,
        )
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
