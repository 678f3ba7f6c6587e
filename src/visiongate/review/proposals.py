"""Propose a promoted model in a pull request."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visiongate import paths
from visiongate.adapters.cml import run_cml
from visiongate.adapters.dvc import run_dvc
from visiongate.adapters.git import Repository
from visiongate.errors import DataError
from visiongate.records.dvc_lock import parse_lock
from visiongate.records.registration import read_registration
from visiongate.review.comments import WORKFLOW_AUTHOR

EMAIL = "41898282+github-actions[bot]@users.noreply.github.com"
# What `visiongate collect` and `dvc add` write.
COLLECTED = ("data/collected.csv", "data/collected.dvc", "data/corrections.csv")
# The files of a run in git. CML commits those that changed.
FILES = ("dvc.lock", "params.yaml", "reports/*.json", "reports/*.md", ".dvc/store/**", *COLLECTED)
# The DVC remote in the repository.
STORE = Path(".dvc/store")
MAX_STORE_BYTES = 3_000_000
BODY = """\
The data were fetched again and the affected stages rerun. The gate passed, and the registry {decision} the model:

> {reason}

{next}The report follows as a comment. If it does not, the pull request was opened with GitHub's own token, which starts no
workflow: close and reopen the pull request.
"""
TAUGHT = """\
The model learned from labels that the service collected. They train and never judge, so that the test images cannot show
what they taught. After the merge, the model is the challenger: let it predict beside the champion as a shadow. Then
`visiongate rollout --apply` promotes it if it is better on the images of the service.

"""


def propose_model(max_store_bytes: int = MAX_STORE_BYTES) -> str:
    """Open a pull request with the current model if it was promoted; return its address, or why there is none.

    A challenger that learned from newly collected labels is proposed, too.

    Args:
        max_store_bytes: The limit of the store in the repository, if it is the default remote.

    Raises:
        VisiongateError: The model is not registered, or CML or GitHub refused.
    """
    for path in (paths.LOCK, paths.REGISTRATION):
        if not path.exists():
            raise DataError(f"{path}: no such file; run `visiongate repro`")
    repository = Repository(Path.cwd())
    model = _model_md5(paths.LOCK.read_bytes())
    if model == _model_md5((repository.read("HEAD", paths.LOCK) or "").encode()):
        return "Not proposed: the model is the committed one"
    registration = read_registration(paths.REGISTRATION)
    is_taught = registration.decision == "registered" and any(
        repository.differs(Path(path)) for path in COLLECTED
    )
    if registration.decision != "promoted" and not is_taught:
        return f"Not proposed: {registration.decision}, {registration.reason}"
    _fill_store(repository, max_store_bytes)
    # Git does not know those that are new, and CML commits what changed.
    repository.run("add", "--", *(path for path in COLLECTED if Path(path).exists()))
    title = f"Retrain on current data: model {model[:8]}"
    options = {
        "--title": title,
        "--message": title,
        "--body": BODY.format(
            decision=registration.decision, reason=registration.reason, next=TAUGHT if is_taught else ""
        ),
        "--branch": f"retrain-{model[:12]}",
        "--target-branch": repository.run("branch", "--show-current").strip(),
        "--user-name": WORKFLOW_AUTHOR,
        "--user-email": EMAIL,
    }
    command = ["pr", "create", *itertools.chain(*options.items()), *FILES]
    with _restored_settings(repository):
        return run_cml(command, {"GITHUB_SHA": repository.commit("HEAD")})


def _fill_store(repository: Repository, limit: int) -> None:
    """Push the outputs to the store in the repository if it is the default remote.

    Other objects stay in the store, because they may be the only copies; `make store` removes them.
    """
    if run_dvc(["config", "core.remote"], repository.directory).strip() != STORE.name:
        return
    run_dvc(["push", "--remote", STORE.name], repository.directory)
    size = sum(path.stat().st_size for path in STORE.rglob("*") if path.is_file())
    if size > limit:
        raise DataError(
            f"{STORE}: {size / 1e6:.1f} MB are more than the limit of {limit / 1e6:.1f} MB for git; set a remote with "
            "`visiongate remote set s3://bucket/path`"
        )
    repository.run("add", "--all", "--force", "--", str(STORE))


@contextmanager
def _restored_settings(repository: Repository) -> Iterator[None]:
    """Restore the repository's git settings, to which the client adds the token and an author."""
    config = Path(repository.run("rev-parse", "--git-path", "config").strip())
    before = config.read_bytes()
    try:
        yield
    finally:
        config.write_bytes(before)


def _model_md5(lock: bytes) -> str:
    """Return the md5 of the model in a ``dvc.lock``; an empty string if there is none."""
    return parse_lock(lock).outs.get(paths.MODEL_ONNX.as_posix()) or ""
