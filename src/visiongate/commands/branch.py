"""Make an experiment a branch: ``make branch FROM=experiment NAME=branch``."""

import argparse
import sys
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import GitError, Repository
from visiongate.commands.experiments import METRIC
from visiongate.commands.selection import Wanted, describe, find_wanted
from visiongate.errors import VisiongateError
from visiongate.experiments.branching import Branch, make_branch
from visiongate.experiments.listing import Experiment
from visiongate.settings.composition import CONF


def branch(wanted: Wanted, name: str, directory: Path) -> str:
    """Make the branch and say what to do with it.

    Raises:
        VisiongateError: There is no such experiment, the name is none or is taken, or ``conf/`` cannot yield the parameters.
    """
    if not name:
        raise GitError("NAME names no branch: make branch FROM=experiment NAME=branch")
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
        f"  git switch {name} && dvc checkout && make repro   # runs what the experiment left out\n"
        "  make store                        # or, with a remote of the team, make push: its outputs, for the others\n"
        f'  git add --all && git commit -m "Take {experiment.name}" && git push -u origin {name}\n'
        "and open a pull request."
    )


def main(arguments: list[str]) -> int:
    """Make the branch that the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(prog="make branch", description="Make an experiment a branch.")
    parser.add_argument("--from", dest="source", required=True, help="an experiment, or best")
    parser.add_argument("--name", required=True, help="of the branch")
    parser.add_argument("--metric", default=METRIC, help="that the best is best by")
    options = parser.parse_args(arguments)
    try:
        print(branch(Wanted(options.source, options.metric), options.name, Path.cwd()))
    except VisiongateError as error:
        print(f"branch: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
