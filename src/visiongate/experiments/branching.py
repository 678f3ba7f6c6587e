"""An experiment as a branch whose ``conf/`` composes to its parameters.

``dvc exp branch`` alone leaves ``conf/`` as it was, so that the next `visiongate repro` would compose the old parameters again.
A second commit on the branch adds the parameters as a recipe and makes ``conf/config.yaml`` choose it.
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
from visiongate.settings.dataset_page import choose_default


@dataclass(frozen=True, slots=True)
class BranchPlan:
    """A branch to make.

    Attributes:
        name: The branch's name.
        conf: The folder of the groups, relative to the repository's root.
        params: The file with the parameters, relative to the repository's root.
    """

    name: str
    conf: Path
    params: Path

    @property
    def recipe(self) -> str:
        """The name of the recipe."""
        return re.sub(r"\W+", "_", self.name).strip("_").lower() or "branch"


def make_branch(
    repository: Repository, experiment: Experiment, plan: BranchPlan, comment: str
) -> Path | None:
    """Make a branch from an experiment. The work tree does not change; if an error is raised, there is no branch.

    Args:
        repository: The repository.
        experiment: A finished experiment.
        plan: The branch.
        comment: The comment at the top of the recipe.

    Returns:
        The path of the recipe; None if ``conf/`` composes to the experiment's parameters without one.

    Raises:
        GitError: The name is invalid or exists, or the commit failed.
        RecipeError: ``conf/`` cannot compose to the parameters.
        DvcError: DVC failed.
    """
    if not repository.is_branch_name(plan.name):
        raise GitError(f"{plan.name}: git does not allow this name of a branch; choose another")
    if repository.has_branch(plan.name):
        raise GitError(
            f"{plan.name}: the branch exists; choose another name, or run `git branch -D {plan.name}`"
        )
    run_dvc(["exp", "branch", experiment.rev, plan.name], repository.directory)
    try:
        return _commit_recipe(repository, experiment, plan, comment)
    except BaseException:
        repository.run("update-ref", "-d", f"refs/heads/{plan.name}")
        raise


def _commit_recipe(
    repository: Repository, experiment: Experiment, plan: BranchPlan, comment: str
) -> Path | None:
    """Commit the recipe on the branch, in a temporary work tree."""
    with tempfile.TemporaryDirectory(prefix="visiongate-branch-") as folder:
        root = Path(folder) / "tree"
        repository.run("worktree", "add", "--quiet", str(root), plan.name)
        try:
            recipe = _write_recipe(root, experiment, plan, comment)
            tree = Repository(root)
            tree.run("add", "--all")
            if tree.run("status", "--porcelain"):
                message = f"Choose the settings of experiment {experiment.name}"
                tree.run("commit", "--quiet", "--no-verify", "--message", message)
        finally:
            repository.run("worktree", "remove", "--force", str(root))
    return recipe


def _write_recipe(root: Path, experiment: Experiment, plan: BranchPlan, comment: str) -> Path | None:
    conf, path = root / plan.conf, plan.conf / RECIPES / f"{plan.recipe}.yaml"
    recipe = find_recipe(conf, experiment.params)
    is_needed = bool(recipe.choices or recipe.values)
    if is_needed:
        if (root / path).exists():
            raise RecipeError(f"{path}: the recipe exists; choose another name of the branch")
        write_text(root / path, recipe.format(comment))
        _choose_recipe(conf / PRIMARY, plan.recipe)
        check_recipe(conf, plan.recipe, experiment.params)
    write_text(root / plan.params, compose_params(conf))
    return path if is_needed else None


def _choose_recipe(primary: Path, recipe: str) -> None:
    write_text(primary, choose_default(primary.read_text(encoding="utf-8"), RECIPES, recipe))
