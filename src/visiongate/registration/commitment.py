"""Whether a model belongs to a commit. Only such a model moves the aliases of the registry.

DVC sets ``DVC_EXP_BASELINE_REV`` and ``DVC_EXP_NAME`` for every stage of `dvc exp run`, in the work tree, in a temporary copy
and in the queue.
"""

import os

from visiongate.adapters.git import SHORT_COMMIT, UNKNOWN, Commit, Repository
from visiongate.adapters.mlflow.runs import WRITTEN_BY_PIPELINE
from visiongate.text_tables import join_first

COMMIT = 'git add --all && git commit -m "Take this model"'
PROMOTE = "`visiongate registry promote`"
SHOWN = 3


def explain_uncommitted(repository: Repository, commit: Commit) -> str | None:
    """Return why the model belongs to no commit, and the commands that change this; None if it belongs to one.

    Args:
        repository: The repository of the work tree.
        commit: The commit that is checked out.
    """
    if "DVC_EXP_BASELINE_REV" in os.environ:
        name = os.environ.get("DVC_EXP_NAME", "best")
        return (
            f"it is from the experiment {name}: make it a branch with `visiongate branch {name} {name}`, then run "
            f"{PROMOTE} on the branch"
        )
    if commit.sha == UNKNOWN:
        return f"there is no git commit: `git init && {COMMIT}`, then {PROMOTE}"
    if commit.dirty:
        changed, _ = repository.changes(WRITTEN_BY_PIPELINE)
        files = join_first(changed, SHOWN)
        return f"tracked files differ from commit {commit.sha[:SHORT_COMMIT]} ({files}): `{COMMIT}`, then {PROMOTE}"
    return None
