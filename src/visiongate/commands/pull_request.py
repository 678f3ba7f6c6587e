"""``visiongate pr``: write to pull requests on GitHub, through CML."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visiongate import paths
from visiongate.adapters.cml import run_cml
from visiongate.adapters.dvc import run_dvc
from visiongate.adapters.git import Repository
from visiongate.adapters.github import PullRequestError, open_repository
from visiongate.adapters.github import Repository as Hosted
from visiongate.errors import DataError, VisiongateError
from visiongate.records.dvc_lock import parse_lock
from visiongate.records.files import read_json
from visiongate.review.comments import AUTHOR, post_check, post_report
from visiongate.review.events import PullRequest, find_pull_request, read_event
from visiongate.review.verdicts import read_gate_verdict
from visiongate.settings.loading import load_settings

COMMITTER, EMAIL = "github-actions[bot]", "41898282+github-actions[bot]@users.noreply.github.com"
# What belongs to a run, as far as git holds it. The client leaves out what did not change.
FILES = ("dvc.lock", "params.yaml", "reports/*.json", "reports/*.md", ".dvc/store/**")
STORE = Path(".dvc/store")  # the remote of this name, in the repository
BODY = """\
The data were fetched again and the affected stages rerun. The gate passed, and the registry promoted the model:

> {reason}

The report follows as a comment. If it does not, the pull request was opened with GitHub's own token, which starts no workflow:
close and reopen the pull request.
"""
STORE_LIMIT = 2_000_000


def comment(number: int | None, base: str | None, folder: Path | None, *, check: bool, failed: bool) -> int:
    """Post the report as the pull request's comment, or update the comment.

    A check beside the commit carries the verdict where the run's own status cannot be trusted.

    Raises:
        PullRequestError: There is no report, or GitHub or CML refused.
    """
    if not paths.REPORT.exists():
        raise PullRequestError(f"{paths.REPORT}: no such file; run `visiongate report`")
    repository = open_repository()
    pull_request = _choose(number, repository, check=check)
    if pull_request is None:
        print("The pull request is closed or has a newer commit: no comment posted")
        return 0
    print(post_report(paths.REPORT, pull_request, repository, os.environ.get("COMMENT_AUTHOR") or AUTHOR))
    if check:
        post_check(paths.REPORT, pull_request, passed=not failed and _passes(base, folder))
    return 0


def _passes(base: str | None, folder: Path | None) -> bool:
    """Return whether the gate passes; False if it cannot be judged, for which the report gives the reason."""
    try:
        return read_gate_verdict(folder, base, load_settings().gate).passed
    except VisiongateError:
        return False


def _choose(number: int | None, repository: Hosted, *, check: bool) -> PullRequest | None:
    if number is None:
        return find_pull_request(read_event(), repository)
    head = str(repository.item(f"pulls/{number}")["head"]["sha"]) if check else ""
    return PullRequest(number, head)


def propose() -> int:
    """Open a pull request with the current model, if it was promoted.

    Raises:
        VisiongateError: There is no registration, or CML or GitHub refused.
    """
    print(_propose(STORE_LIMIT))
    return 0


def _propose(store_limit: int) -> str:
    """Open a pull request, unless there is nothing to propose; return a line that says which.

    Args:
        store_limit: The most bytes that the store in the repository may hold, where that is the default remote.

    Raises:
        VisiongateError: There is no registration, or the client or GitHub refuses.
    """
    for path in (paths.LOCK, paths.REGISTRATION):
        if not path.exists():
            raise DataError(f"{path}: no such file; `make repro` writes it")
    repository = Repository(Path.cwd())
    model = _model_md5(paths.LOCK.read_bytes())
    if model == _model_md5((repository.read("HEAD", paths.LOCK) or "").encode()):
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
        "--target-branch": repository.run("branch", "--show-current").strip(),
        "--user-name": COMMITTER,
        "--user-email": EMAIL,
    }
    _fill_store(repository, store_limit)
    with _kept_settings(repository):
        return run_cml(
            ["pr", "create", *itertools.chain(*options.items()), *FILES],
            {"GITHUB_SHA": repository.commit("HEAD")},
        )


def _fill_store(repository: Repository, limit: int) -> None:
    """Put what the new lock names into the store in the repository, if that is the default remote: else nobody could pull it.

    What it holds besides stays, for it may be the only copy of what was not pulled: `make store` sweeps.
    """
    if run_dvc(["config", "core.remote"], repository.directory).strip() != STORE.name:
        return
    run_dvc(["push", "--remote", STORE.name], repository.directory)
    size = sum(path.stat().st_size for path in STORE.rglob("*") if path.is_file())
    if size > limit:
        raise DataError(
            f"{STORE}: {size / 1e6:.1f} MB, more than git should hold ({limit / 1e6:.1f}): `make remote URL=s3://bucket/path` "
            "sets a remote for them; nothing was proposed"
        )
    repository.run("add", "--all", "--force", "--", str(STORE))


@contextmanager
def _kept_settings(repository: Repository) -> Iterator[None]:
    """Give the repository its own git settings back: the client writes the token and another author into them."""
    config = Path(repository.run("rev-parse", "--git-path", "config").strip())
    before = config.read_bytes()
    try:
        yield
    finally:
        config.write_bytes(before)


def _model_md5(lock: bytes) -> str:
    """Return the md5 that a ``dvc.lock`` names for the model; nothing where it names none."""
    return parse_lock(lock).outs.get(paths.MODEL_ONNX.as_posix()) or ""
