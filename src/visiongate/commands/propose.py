"""Open a pull request with the model at hand, if it was promoted: ``make propose``, which the weekly retraining ends with."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from visiongate import paths
from visiongate.errors import DataError, VisiongateError
from visiongate.files import read_json
from visiongate.pull_requests.cml import run_cml
from visiongate.tracking.revisions import read_at

AUTHOR, EMAIL = "github-actions[bot]", "41898282+github-actions[bot]@users.noreply.github.com"
# What belongs to a run, as far as git holds it. The client leaves out what did not change.
FILES = ("dvc.lock", "params.yaml", "reports/*.json", "reports/*.md", ".dvc/store/**")
BODY = """\
The data were fetched anew, and what they changed was rebuilt. The gate passed, and the registry promoted the model:

> {reason}

The report follows as a comment. If it does not, the pull request was opened with GitHub's own token, which starts no workflow:
close and reopen it.
"""


def main() -> int:
    """Open the pull request and print where it is; return the exit status."""
    try:
        print(propose())
    except VisiongateError as error:
        print(f"propose: {error}", file=sys.stderr)
        return 1
    return 0


def propose() -> str:
    """Open a pull request, unless there is nothing to propose; return a line that says which.

    Raises:
        VisiongateError: There is no registration, or the client or GitHub refuses.
    """
    for path in (paths.LOCK, paths.REGISTRATION):
        if not path.exists():
            raise DataError(f"{path}: no such file; `make repro` writes it")
    model = _model_md5(paths.LOCK.read_text(encoding="utf-8"))
    if model == _model_md5(read_at("HEAD", paths.LOCK, Path.cwd()) or ""):
        return "The model is the committed one: nothing to propose"
    registration: dict[str, Any] = read_json(paths.REGISTRATION)
    if registration["decision"] != "promoted":
        return f"Not proposed: {registration['decision']}, {registration['reason']}"
    title = f"Retrain on today's data: model {model[:8]}"
    options = {
        "--title": title,
        "--message": title,
        "--body": BODY.format(reason=registration["reason"]),
        "--branch": f"retrain-{model[:12]}",
        "--target-branch": _branch(),
        "--user-name": AUTHOR,
        "--user-email": EMAIL,
    }
    return run_cml(["pr", "create", *itertools.chain(*options.items()), *FILES])


def _model_md5(lock: str) -> str:
    """Return the md5 that a ``dvc.lock`` names for the model; nothing where it names none."""
    stages = (yaml.safe_load(lock) or {}).get("stages", {}).values()
    outs = [out for stage in stages for out in stage.get("outs", [])]
    return next((str(out["md5"]) for out in outs if out["path"] == paths.MODEL_ONNX.as_posix()), "")


def _branch() -> str:
    answer = subprocess.run(
        ["git", "branch", "--show-current"],  # noqa: S607 - git is found by PATH
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
