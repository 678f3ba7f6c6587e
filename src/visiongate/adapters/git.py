"""Git, called as a process. DVC keeps each experiment as a commit under ``refs/exps``."""

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.errors import VisiongateError

UNKNOWN = "unknown"
SHORT_COMMIT = 7
# refs/exps/<2 digits>/<38 digits>/NAME, where the 40 digits are the commit that the experiment started from.
_REFERENCE_PREFIX = len("refs/exps/12/") + 38


class GitError(VisiongateError):
    """Git is missing or failed, or the repository has no such revision."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit that is checked out.

    Attributes:
        sha: ``unknown`` without git or a commit.
        dirty: Whether tracked files differ from the commit; None without git.
    """

    sha: str
    dirty: bool | None

    def tags(self) -> dict[str, str]:
        """Return MLflow tags."""
        dirty = UNKNOWN if self.dirty is None else str(self.dirty).lower()
        return {"mlflow.source.git.commit": self.sha, "visiongate.git_dirty": dirty}


@dataclass(frozen=True, slots=True)
class ExperimentReference:
    """An experiment that has run: its name, its commit, and the commit that it started from."""

    name: str
    baseline: str
    rev: str


class Repository:
    """The git repository that a directory lies in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def root(self) -> Path:
        """Return the root of the work tree.

        Raises:
            GitError: The directory lies in no repository.
        """
        return Path(self.run("rev-parse", "--show-toplevel").strip())

    def commit(self, revision: str) -> str:
        """Return the full hash of a branch, tag or commit.

        Raises:
            GitError: There is no such revision, no commit, or no repository.
        """
        sha = self._try("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if sha is not None:
            return sha.strip()
        if self._try("rev-parse", "--git-dir") is None:
            raise GitError(f"{self.directory}: not a git repository")
        if self._try("rev-parse", "--verify", "--quiet", "HEAD") is None:
            raise GitError('the repository has no commit yet; run git add -A && git commit -m "Start"')
        raise GitError(
            f"{revision}: no such git revision; fetch it, as with `git fetch origin {revision}:{revision}`, or choose one "
            "of `git log --oneline`"
        )

    def checked_out(self, ignored: Iterable[Path] = ()) -> Commit:
        """Return the commit that is checked out, and whether tracked files differ from it.

        Args:
            ignored: Files and folders whose changes do not count, because the pipeline writes them.
        """
        options = ("--porcelain=v2", "--branch", "--untracked-files=no")
        try:
            status = self._try("--no-optional-locks", "status", *options, "--", *_pathspec(ignored))
        except GitError:
            status = None
        if status is None:
            return Commit(UNKNOWN, None)
        lines = status.splitlines()
        sha = next(line.split()[2] for line in lines if line.startswith("# branch.oid"))
        dirty = any(not line.startswith("#") for line in lines)
        return Commit(UNKNOWN if sha == "(initial)" else sha, dirty)

    def read(self, revision: str, path: Path) -> str | None:
        """Return a file's text at a revision, None if the revision does not have the file.

        Raises:
            GitError: There is no such revision.
        """
        return self._try("show", f"{self.commit(revision)}:./{path.as_posix()}")

    def experiments(self) -> list[ExperimentReference]:
        """List the experiments that have run, from every commit."""
        references = []
        for line in self.run("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines():
            rev, _, ref = line.partition(" ")
            start, name = ref[:_REFERENCE_PREFIX], ref[_REFERENCE_PREFIX + 1 :]
            baseline = "".join(start.split("/")[2:])
            # DVC keeps its stashes under refs/exps too.
            if name and len(baseline) == len(rev):
                references.append(ExperimentReference(name, baseline, rev))
        return references

    def changes(self, ignored: Iterable[Path]) -> tuple[list[str], str]:
        """Return the tracked files that differ from the last commit, and the differences as text."""
        paths = _pathspec(ignored)
        names = self.run("diff", "HEAD", "--name-only", "--relative", "-z", "--", *paths)
        text = self.run("diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--", *paths)
        return [name for name in names.split("\0") if name], text

    def differs(self, path: Path) -> bool:
        """Return whether a file differs from the last commit, or git does not track it; an ignored file does not differ."""
        status = self._try("--no-optional-locks", "status", "--porcelain", "--", path.as_posix())
        return status is None or bool(status)

    def untracked(self, folders: Sequence[str]) -> list[str]:
        """List the files in some folders that git neither tracks nor ignores."""
        names = self.run("ls-files", "--others", "--exclude-standard", "-z", "--", *folders)
        return [name for name in names.split("\0") if name]

    def is_branch_name(self, name: str) -> bool:
        """Return whether a branch may have this name."""
        checked = None if name.startswith("-") else self._try("check-ref-format", "--branch", name)
        return checked is not None and checked.strip() == name != "HEAD"

    def has_branch(self, name: str) -> bool:
        """Return whether a branch of this name exists."""
        return self._try("rev-parse", "--verify", "--quiet", f"refs/heads/{name}") is not None

    def clone(self, folder: Path, commit: str) -> None:
        """Check a commit out in a new clone, which shares the objects of this repository.

        Raises:
            GitError: The repository does not have the commit.
        """
        if self._try("cat-file", "-e", f"{commit}^{{commit}}") is None:
            raise GitError(f"commit {commit} is not in this repository; run `git fetch` if it was pushed")
        self.run("clone", "--quiet", "--shared", "--no-checkout", str(self.directory), str(folder))
        Repository(folder).run("checkout", "--quiet", "--detach", commit)

    def address(self) -> str:
        """Return the address of the remote ``origin`` without its password, otherwise the path of the root."""
        url = self._try("remote", "get-url", "origin")
        if url is None:
            return (self._try("rev-parse", "--show-toplevel") or str(self.directory)).strip()
        scheme, mark, rest = url.strip().rpartition("://")
        return scheme + mark + (rest.rpartition("@")[2] if mark else rest)

    def run(self, *arguments: str) -> str:
        """Run git and return its standard output.

        Raises:
            GitError: Git failed; the message has the first line of its output.
        """
        result = self._run(arguments)
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[0]
            raise GitError(f"git {arguments[0]}: {reason.removeprefix('fatal: ')}")
        return result.stdout

    def _try(self, *arguments: str) -> str | None:
        """Run git and return its standard output, None if it failed."""
        result = self._run(arguments)
        return None if result.returncode else result.stdout

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - a list of arguments, no shell
                ["git", *arguments],  # noqa: S607 - git is found by PATH
                cwd=self.directory,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except FileNotFoundError:
            raise GitError("git is not installed") from None


def _pathspec(ignored: Iterable[Path]) -> list[str]:
    return [".", *(f":(exclude){path.as_posix()}" for path in ignored)]
