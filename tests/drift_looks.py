"""What a drift check that runs each week must look at."""

from collections.abc import Sequence

import click

from visiongate.cli import main
from visiongate.settings.monitoring import Drift

WEEK_HOURS = 7 * 24
# Of false alarms in a year.
MOST_ALARMS = 0.05


def weekly_problems(arguments: Sequence[str]) -> list[str]:
    """Return what is wrong with the arguments of a check: it looks at each week once, and seldom sees what is not there."""
    command, *options = arguments
    try:
        found = main.commands[command].make_context(command, options).params
    except (KeyError, click.ClickException) as error:
        return [f"visiongate {' '.join(arguments)}: {error}"]
    problems = []
    window = found["window"] or Drift().window_hours
    if window != WEEK_HOURS:
        problems.append(f"a window of {window:g} hours, and a look each week")
    if (level := found["level"] or Drift().yearly_level) > MOST_ALARMS:
        problems.append(f"false alarms of {level} a year")
    return problems
