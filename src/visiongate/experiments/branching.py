"""An experiment as a branch, on which ``conf/`` composes to its parameters.

`dvc exp branch` alone is not enough: `params.yaml` is composed from `conf/`, so the next `make repro` on that branch would undo
the experiment, and `make check` refuses it. So a second commit adds the parameters as a recipe, and has `conf/` choose it.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from visiongate.adapters.dvc import run_dvc
from visiongate.adapters.git import GitError, Repository
from visiongate.experiments.listing import Experiment
from visiongate.experiments.recipe import PRIMARY, RECIPES, RecipeError, check_recipe, find_recipe
from visiongate.records.files import write_text
from visiongate.settings.composition import compose_params

CHOICE = re.compile(r"^(\s*- experiment:\s*)\S+", flags=re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch to make."""

    name: str
    conf: Path  # from the root of the repository
    params: Path

    @property
    def recipe(self) -> str:
        """The name of its recipe."""
        return re.sub(r"\W+", "_", self.name).strip("_").lower() or "branch"


def make_branch(repository: Repository, experiment: Experiment, wanted: Branch, comment: str) -> Path | None:
    """Make a branch of an experiment, or nothing at all, and leave the workspace as it is.

    Args:
        repository: Where the experiment is.
        experiment: One that has run.
        wanted: The branch.
        comment: On top of its recipe.

    Returns:
        The recipe that was added; None where ``conf/`` composes to the experiment's parameters as it is.

    Raises:
        GitError: The name is none or is taken, or nothing can be committed.
        RecipeError: ``conf/`` cannot yield the parameters.
        DvcError: DVC refuses.
    """
    if not repository.is_branch_name(wanted.name):
        raise GitError(f"NAME={wanted.name}: git allows no branch of this name")
    if repository.has_branch(wanted.name):
        raise GitError(
            f"NAME={wanted.name}: there is such a branch; choose another, or delete it: git branch -D {wanted.name}"
        )
    run_dvc(["exp", "branch", experiment.rev, wanted.name], repository.directory)
    try:
        return _settle(repository, experiment, wanted, comment)
    except BaseException:
        repository.run("update-ref", "-d", f"refs/heads/{wanted.name}")
        raise


def _settle(repository: Repository, experiment: Experiment, wanted: Branch, comment: str) -> Path | None:
    """Commit the recipe on the branch, in a work tree of its own."""
    with tempfile.TemporaryDirectory(prefix="visiongate-branch-") as folder:
        root = Path(folder) / "tree"
        repository.run("worktree", "add", "--quiet", str(root), wanted.name)
        try:
            recipe = _write(root, experiment, wanted, comment)
            tree = Repository(root)
            tree.run("add", "--all")
            if tree.run("status", "--porcelain"):
                message = f"Choose the settings of experiment {experiment.name}"
                tree.run("commit", "--quiet", "--no-verify", "--message", message)
        finally:
            repository.run("worktree", "remove", "--force", str(root))
    return recipe


def _write(root: Path, experiment: Experiment, wanted: Branch, comment: str) -> Path | None:
    conf, path = root / wanted.conf, wanted.conf / RECIPES / f"{wanted.recipe}.yaml"
    found = find_recipe(conf, experiment.params)
    if found.choices or found.values:
        if (root / path).exists():
            raise RecipeError(f"{path}: there is a recipe of this name; choose another, NAME=...")
        write_text(root / path, found.text(comment))
        _choose(conf / PRIMARY, wanted.recipe)
        check_recipe(conf, wanted.recipe, experiment.params)
    write_text(root / wanted.params, compose_params(conf))
    return path if found.choices or found.values else None


def _choose(primary: Path, recipe: str) -> None:
    text = primary.read_text(encoding="utf-8")
    chosen, count = CHOICE.subn(rf"\g<1>{recipe}", text)
    if count != 1:
        raise RecipeError(
            f"{primary.parent.name}/{primary.name}: `defaults` has no line `- experiment: null` to choose by"
        )
    write_text(primary, chosen)
