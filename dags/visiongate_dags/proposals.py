"""Propose a promoted model: a branch of the project, and a pull request if there is a token of GitHub."""

import logging
import os
from pathlib import Path

from visiongate_dags.clone import Clone, commit_results
from visiongate_dags.errors import RunError
from visiongate_dags.processes import explain, read, run
from visiongate_dags.results import Values

TOKEN = "GITHUB_TOKEN"  # noqa: S105 - the name of a variable
OPEN = Path(__file__).with_name("open_pull_request.py")
# The DVC remote in the repository, and how much of it git may hold.
STORE = "store"
MAX_STORE_BYTES = 3_000_000

logger = logging.getLogger(__name__)


def propose(clone: Clone, made: Values, base: str) -> Values:
    """Propose the model if it was promoted and is not that of the base; return the branch and the address of the pull request.

    What cannot be shared fails no run, because the model is registered: the log says what to do by hand.

    Args:
        clone: The clone of the run.
        made: The registration.
        base: The commit that the run started from.

    Raises:
        RunError: Git failed.
    """
    if made["decision"] != "promoted" or made["model_md5"] in clone.git("show", f"{base}:dvc.lock"):
        return {}
    _share_outputs(clone)
    branch = commit_results(clone)
    logger.info("The model is proposed as branch %s of %s", branch, clone.project.folder)
    if not os.environ.get(TOKEN):
        return {"branch": branch}
    try:
        return {"branch": branch, "pull_request": _open_pull_request(clone, branch, made)}
    except RunError as error:
        logger.warning("No pull request: %s; run `git push origin %s` and open it by hand", error, branch)
        return {"branch": branch}


def _share_outputs(clone: Clone) -> None:
    """Push the outputs to the default remote, also if it is the one in the repository, unless they are too large for git."""
    dvc = [str(clone.project.python), "-m", "dvc"]
    remote = read([*dvc, "config", "core.remote"], clone.folder, clone.environment()).strip()
    ended = run([*dvc, "push", "--quiet"], clone.folder, clone.environment())
    if ended.status:
        logger.warning("%s; run `dvc push` in %s", explain(ended, "dvc push"), clone.folder)
    if remote != STORE:
        return
    store = clone.folder / ".dvc" / STORE
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    if size <= MAX_STORE_BYTES:
        clone.git("add", "--all", "--force", "--", str(store))
    else:
        logger.warning(
            "The branch has no data: %.1f MB are too large for git; run `make store` on the branch, or set a remote with "
            "`visiongate remote set s3://bucket/path`",
            size / 1e6,
        )


def _open_pull_request(clone: Clone, branch: str, made: Values) -> str:
    """Push the branch where the project came from, and open the pull request.

    Raises:
        RunError: Git or GitHub refused.
    """
    project = clone.project
    base = project.git("branch", "--show-current") or "main"
    project.git("push", "--quiet", "origin", branch)
    title = f"Airflow: {made['name']} version {made['version']}"
    body = f"The gate passed, and the registry promoted the model:\n\n> {made['reason']}\n"
    command = [str(project.python), str(OPEN), branch, base, title, body]
    return read(command, clone.folder, clone.environment(PYTHONPATH="src")).strip()
