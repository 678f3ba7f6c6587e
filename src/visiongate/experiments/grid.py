"""What a sweep is to try: a grid or a list of overrides, every combination composed and checked before anything runs.

DVC can expand a sweep itself, ``dvc exp run --queue -S model.lr=0.01,0.1``. It is not used for that: it numbers the
experiments in the order of the grid, so that a value more gives each another name and nothing can be resumed; it takes no list;
and it puts `model.lr=abc` into the queue as well. The grammar is the same.
"""

import hashlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.errors import SettingsError
from visiongate.settings.composition import compose_params, expand_sweeps

MOST = 200  # combinations, unless more are asked for by force
DIGITS = 8  # of a combination's hash


@dataclass(frozen=True, slots=True)
class Combination:
    """One experiment to run."""

    name: str  # the same for the same parameters, stage and code
    overrides: tuple[str, ...]

    @property
    def label(self) -> str:
        """The overrides as a person writes them."""
        return " ".join(self.overrides) or "no override"


@dataclass(frozen=True, slots=True)
class Identity:
    """What names the experiments of a sweep, besides their parameters."""

    prefix: str
    commit: str  # that they start from
    stage: str
    changes: str  # to the commit, of the files


def read_grid(text: str) -> list[list[str]]:
    """Split a grid into overrides, as a shell does.

    Raises:
        SettingsError: A quotation has no end, or there is nothing.
    """
    overrides = _split(text, "GRID")
    if not overrides:
        raise SettingsError(
            "GRID is empty: give overrides, as in GRID='model.lr=0.01,0.1 model.batch_size=32,64'"
        )
    return [overrides]


def read_list(path: Path) -> list[list[str]]:
    """Read a list: overrides on each line, which may be grids themselves; ``#`` begins a comment.

    Raises:
        SettingsError: The file cannot be read, is empty, or a quotation has no end.
    """
    if path.exists() and not path.is_file():
        raise SettingsError(f"LIST={path}: no plain file")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SettingsError(f"LIST={path}: {reason}") from None
    lines = [_split(line, f"{path}:{number}") for number, line in enumerate(text.splitlines(), start=1)]
    if not any(lines):
        raise SettingsError(f"LIST={path}: nothing to try: give overrides on each line, as in model.lr=0.1")
    return [line for line in lines if line]


def _split(text: str, source: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise SettingsError(f"{source}: {text.strip()}: {str(error).lower()}") from None


def plan_sweep(
    lines: Sequence[Sequence[str]], conf: Path, identity: Identity, most: int
) -> list[Combination]:
    """Expand each line into its combinations, compose and check every one, and name it by what it comes to.

    Combinations that come to the same parameters are one.

    Args:
        lines: Overrides, which may sweep over values.
        conf: The settings' source.
        identity: What else distinguishes the experiments.
        most: Combinations that are allowed.

    Raises:
        SettingsError: An override is wrong, with the combination it is in, or there are too many.
    """
    expanded = [overrides for line in lines for overrides in expand_sweeps(list(line), most)]
    if len(expanded) > most:
        raise SettingsError(f"{len(expanded)} combinations, more than {most}")
    given = (identity.commit, identity.stage, identity.changes)
    found: dict[str, Combination] = {}
    for overrides in expanded:
        name = f"{identity.prefix}-{_hash((_compose(conf, overrides), *given))}"
        found.setdefault(name, Combination(name, tuple(overrides)))
    return list(found.values())


def _compose(conf: Path, overrides: list[str]) -> str:
    try:
        return compose_params(conf, overrides)
    except SettingsError as error:
        raise SettingsError(f"{' '.join(overrides)}: {error}") from None


def _hash(texts: Iterable[str]) -> str:
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:DIGITS]
