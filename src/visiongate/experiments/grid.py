"""The combinations of a sweep, composed and validated before anything runs.

``dvc exp run --queue -S model.lr=0.01,0.1`` expands the same grammar. However, it numbers the experiments in order, so that a
grid with one more value cannot resume. It also accepts no list, and it queues invalid values.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.errors import SettingsError
from visiongate.settings.composition import compose_params
from visiongate.settings.grammar import expand_sweeps

HASH_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Combination:
    """An experiment to run. Its name is the same for the same parameters, stage and code."""

    name: str
    overrides: tuple[str, ...]

    @property
    def label(self) -> str:
        """The overrides as text."""
        return " ".join(self.overrides) or "no override"


@dataclass(frozen=True, slots=True)
class SweepIdentity:
    """The values besides the parameters that an experiment's name depends on.

    Attributes:
        prefix: The start of the name.
        commit: The commit that it starts from.
        stage: The last stage to run.
        changes: The uncommitted changes.
    """

    prefix: str
    commit: str
    stage: str
    changes: str


def read_list(path: Path) -> list[list[str]]:
    """Read the overrides on each line of a file; ``#`` starts a comment.

    Raises:
        SettingsError: The file cannot be read or has no overrides, or a quotation is not closed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SettingsError(f"{path}: {reason}") from None
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            lines.append(shlex.split(line, comments=True))
        except ValueError as error:
            raise SettingsError(f"{path}:{number}: {line.strip()}: {str(error).lower()}") from None
    if not any(lines):
        raise SettingsError(f"{path}: no overrides; write some on each line, such as model.lr=0.1")
    return [line for line in lines if line]


def plan_sweep(
    lines: Sequence[Sequence[str]], conf: Path, identity: SweepIdentity, limit: int
) -> list[Combination]:
    """Expand each line into combinations, compose each one and name it. Those with equal parameters are one combination.

    Args:
        lines: Overrides, some with several values.
        conf: The folder of the groups.
        identity: The other values that the names depend on.
        limit: The maximum number of combinations.

    Raises:
        SettingsError: A combination is invalid, or there are too many.
    """
    expanded = [overrides for line in lines for overrides in expand_sweeps(list(line), limit)]
    if len(expanded) > limit:
        raise SettingsError(f"{len(expanded)} combinations, more than {limit}; use --force to allow them")
    combinations: dict[str, Combination] = {}
    for overrides in expanded:
        name = _name(_compose(conf, overrides), identity)
        combinations.setdefault(name, Combination(name, tuple(overrides)))
    return list(combinations.values())


def _compose(conf: Path, overrides: list[str]) -> str:
    try:
        return compose_params(conf, overrides)
    except SettingsError as error:
        raise SettingsError(f"{' '.join(overrides)}: {error}") from None


def _name(params: str, identity: SweepIdentity) -> str:
    parts = (params, identity.commit, identity.stage, identity.changes)
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{identity.prefix}-{digest[:HASH_DIGITS]}"
