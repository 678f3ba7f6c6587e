"""What a drift check that runs each week must look at."""

from collections.abc import Sequence

import click

from visiongate.cli import main

WEEK_HOURS, WEEKS = 7 * 24, 52
# Of false alarms in a year.
MOST_ALARMS = 0.06


def weekly_problems(arguments: Sequence[str]) -> list[str]:
    """Return what is wrong with the arguments of a check: it looks at each week once, and seldom sees what is not there."""
    command, *options = arguments
    try:
        found = main.commands[command].make_context(command, options).params
    except (KeyError, click.ClickException) as error:
        return [f"visiongate {' '.join(arguments)}: {error}"]
    problems = []
    if found["window"] != WEEK_HOURS:
        problems.append(f"a window of {found['window']:g} hours, and a look each week")
    if found["level"] is None or WEEKS * found["level"] > MOST_ALARMS:
        problems.append(f"a level of {found['level']}, and {WEEKS} looks a year")
    return problems
