"""``visiongate branch``: turn an experiment into a branch."""

from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.commands.selection import Wanted, describe, find_wanted
from visiongate.experiments.branching import Branch, make_branch
from visiongate.experiments.listing import Experiment
from visiongate.settings.composition import CONF


def run(experiment: str, name: str, metric: str) -> int:
    """Make the branch and print the next steps.

    Raises:
        VisiongateError: As `branch`.
    """
    print(branch(Wanted(experiment, metric), name, Path.cwd()))
    return 0


def branch(wanted: Wanted, name: str, directory: Path) -> str:
    """Make the branch and say what to do with it.

    Raises:
        VisiongateError: There is no such experiment, the name is none or is taken, or ``conf/`` cannot yield the parameters.
    """
    experiment = find_wanted(wanted, directory)
    plan = Branch(name, CONF, paths.PARAMS)
    recipe = make_branch(
        Repository(directory), experiment, plan, describe(experiment, wanted.metric, plan.recipe)
    )
    return _tell(experiment, name, recipe)


def _tell(experiment: Experiment, name: str, recipe: Path | None) -> str:
    chosen = f", whose settings are in {recipe}, chosen in {CONF}/config.yaml" if recipe else ""
    return (
        f"Branch {name} holds experiment {experiment.name}{chosen}. Next:\n"
        f"  git switch {name} && dvc checkout && visiongate repro   # runs the stages that the experiment skipped\n"
        "  make store      # shares its outputs through git; with a remote of the team: visiongate remote push\n"
        f'  git add --all && git commit -m "Take {experiment.name}" && git push -u origin {name}\n'
        "and open a pull request."
    )
