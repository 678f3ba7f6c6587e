"""``visiongate branch``: turn an experiment into a branch."""

from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.commands.selection import Selection, describe, find_selected
from visiongate.experiments.branching import BranchPlan, make_branch
from visiongate.settings.composition import CONF


def run(experiment: str, name: str, metric: str) -> int:
    """Make the branch and print the next steps.

    Raises:
        VisiongateError: There is no such experiment, the name is invalid or exists, or ``conf/`` cannot compose to the
            experiment's parameters.
    """
    directory = Path.cwd()
    selected = find_selected(Selection(experiment, metric), directory)
    plan = BranchPlan(name, CONF, paths.PARAMS)
    recipe = make_branch(Repository(directory), selected, plan, describe(selected, metric, plan.recipe))
    print(_format_next_steps(selected.name, name, recipe))
    return 0


def _format_next_steps(experiment: str, branch: str, recipe: Path | None) -> str:
    chosen = f"; {CONF}/config.yaml chooses its recipe {recipe}" if recipe else ""
    return (
        f"Made branch {branch} of experiment {experiment}{chosen}. Next:\n"
        f"  git switch {branch} && dvc checkout && visiongate repro   # runs the stages that the experiment skipped\n"
        "  make store      # shares its outputs through git; with a remote of the team: visiongate remote push\n"
        f'  git add --all && git commit -m "Take {experiment}" && git push -u origin {branch}\n'
        "Then open a pull request."
    )
