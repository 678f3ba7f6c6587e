"""What to do next: the settings that the search suggests, what the registry decided, and how to make all this again."""

import shlex

from visiongate.review.report.markdown import (
    MOST_SENTENCE,
    NOTHING,
    code,
    fence,
    figure,
    reveal,
    setting,
    table,
)
from visiongate.review.report.snapshot import Judged

ADOPT = "make adopt NAME=tuned\ndvc exp run -S experiment=tuned"
MOST_LOG_LINES, MOST_LOG_LETTERS = 30, 300
UNKNOWN = "unknown"


def tell_search(judged: Judged, rows: int) -> str:
    """Say what `optimize` suggests, and whether it is shown to be better."""
    found = judged.now.search
    if found is None:
        return ""
    current = "undefined" if found.current is None else figure(found.current)
    told = f"{found.trials:,} trials: {code(found.metric)} {figure(found.best)} at best, {current} with the current settings."
    if not found.beaten:
        return f"{told} No trial beats them: keep them."
    verdict = f"\n\n{code(found.verdict, MOST_SENTENCE)}" if found.verdict else ""
    if not found.better:
        return f"{told} Not shown to be more than seed noise: keep the current settings.{verdict}"
    params = judged.now.params or {}
    cells = [
        [code(name), setting(params[name]) if name in params else NOTHING, setting(value)]
        for name, value in list(found.values.items())[:rows]
    ]
    suggested = table(["parameter", "now", "suggested"], cells)
    return f"{told} Better by more than seed noise.{verdict}\n\n{suggested}\n\n{fence(ADOPT, 'sh')}"


def tell_registration(judged: Judged) -> str:
    """Say what `register` decided."""
    found = judged.now.registration
    if found is None:
        return ""
    version = f"{code(found.name)} version {code(found.version)}"
    return f"{version}: **{code(found.decision)}**. {code(found.reason, MOST_SENTENCE)}"


def tell_how(judged: Judged) -> str:
    """Write the three commands that make this report again."""
    base = f" BASE={_quote(judged.base.name)}" if judged.base else ""
    checkout = [] if judged.now.commit == UNKNOWN else [f"git checkout {_quote(judged.now.commit)}"]
    commands = fence("\n".join([*checkout, "make repro", f"make report{base}"]), "sh")
    return (
        commands
        if judged.now.clean
        else f"Once what is changed here is committed, with that commit:\n\n{commands}"
    )


def _quote(name: str) -> str:
    """Quote a name for a shell, on one line and without what cannot be seen."""
    return shlex.quote(" ".join(reveal(name).split())[:MOST_LOG_LETTERS])


def show_log(log: str) -> str:
    """Show the end of a log, as it would be seen on a terminal."""
    lines = [reveal(line.rpartition("\r")[2])[:MOST_LOG_LETTERS] for line in log.rstrip().split("\n")]
    return fence("\n".join(lines[-MOST_LOG_LINES:]), "text") if log.strip() else ""
