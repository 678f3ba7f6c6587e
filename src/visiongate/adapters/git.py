"""What git knows: commits, experiments, changes. DVC keeps an experiment as a commit under ``refs/exps``."""

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.errors import VisiongateError

FIRST_COMMIT = (
    'there is no commit yet, and an experiment starts from one: git add -A && git commit -m "Start"'
)
SHORTEST = 7  # digits of a commit that stand for it
ROOT_LENGTH = (
    len("refs/exps/12/") + 38
)  # refs/exps/<two digits>/<38 more digits>/NAME: the commit it started from


class GitError(VisiongateError):
    """This is no git repository, has no commit, or not the revision that is asked for."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An experiment that has run."""

    name: str
    baseline: str  # the commit that it started from
    rev: str  # its own


class Repository:
    """A git repository, called as a process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def commit(self, revision: str) -> str:
        """Return the full name of a commit.

        Raises:
            GitError: There is none of this name, or none at all.
        """
        found = self._ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if found is not None:
            return found.strip()
        if self._ask("rev-parse", "--git-dir") is None:
            raise GitError(f"{self.directory}: not a git repository, in which DVC keeps its experiments")
        if self._ask("rev-parse", "--verify", "--quiet", "HEAD") is None:
            raise GitError(FIRST_COMMIT)
        raise GitError(f"{revision}: no such git revision here; `git log --oneline` lists them")

    def references(self) -> list[Reference]:
        """List the experiments that have run, from whatever commit."""
        told = self._tell("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
        found = []
        for line in told.splitlines():
            rev, _, ref = line.partition(" ")
            start, name = ref[:ROOT_LENGTH], ref[ROOT_LENGTH + 1 :]
            baseline = "".join(start.split("/")[2:])
            if name and len(baseline) == len(rev):  # DVC keeps its stashes there too
                found.append(Reference(name, baseline, rev))
        return found

    def read(self, revision: str, path: Path) -> str | None:
        """Return a file's text at a commit; None where the commit does not have it."""
        return self._ask("show", f"{revision}:./{path.as_posix()}")

    def changes(self, besides: Iterable[Path]) -> tuple[list[str], str]:
        """Return the files that differ from the last commit, and how, but for some paths; only those that git tracks."""
        paths = [".", *(f":(exclude){path.as_posix()}" for path in besides)]
        names = self._tell("diff", "HEAD", "--name-only", "--relative", "-z", "--", *paths)
        text = self._tell("diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--", *paths)
        return [name for name in names.split("\0") if name], text

    def untracked(self, within: Sequence[str]) -> list[str]:
        """List the files in some folders that git neither tracks nor ignores."""
        told = self._tell("ls-files", "--others", "--exclude-standard", "-z", "--", *within)
        return [name for name in told.split("\0") if name]

    def is_branch_name(self, name: str) -> bool:
        """Say whether a branch may have this name."""
        told = None if name.startswith("-") else self._ask("check-ref-format", "--branch", name)
        return told is not None and told.strip() == name != "HEAD"

    def has_branch(self, name: str) -> bool:
        """Say whether there is such a branch."""
        return self._ask("rev-parse", "--verify", "--quiet", f"refs/heads/{name}") is not None

    def run(self, *arguments: str) -> str:
        """Run git and return what it prints.

        Raises:
            GitError: It refused.
        """
        return self._tell(*arguments)

    def _tell(self, *arguments: str) -> str:
        done = self._run(arguments)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it failed"])[0]
            raise GitError(f"git {arguments[0]}: {said.removeprefix('fatal: ')}")
        return done.stdout

    def _ask(self, *arguments: str) -> str | None:
        """Return what git prints; None where it refuses."""
        done = self._run(arguments)
        return None if done.returncode else done.stdout

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - git with arguments that are given one by one
                ["git", *arguments],  # noqa: S607 - git is found by PATH, as by whoever works here
                cwd=self.directory,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except FileNotFoundError:
            raise GitError("git is not installed, in which DVC keeps its experiments") from None


class Finished:
    """The experiments of one commit that have run, as git has them."""

    def __init__(self, repository: Repository, commit: str) -> None:
        self._repository = repository
        self._commit = commit

    def names(self) -> set[str]:
        """Name them."""
        return {each.name for each in self._repository.references() if each.baseline == self._commit}

    def fingerprint(self) -> str:
        """Return a text that changes when an experiment, of whatever commit, ends or fails."""
        return self._repository.run("for-each-ref", "refs/exps")
