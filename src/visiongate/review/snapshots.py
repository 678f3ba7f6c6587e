"""What the report is told of the work tree and of its base: files of the line, read wherever they are to be had.

What git tracks is read at the base's commit. What DVC tracks is the same file where ``dvc.lock`` names the same md5; what
differs is fetched into a temporary clone of the base, all of it in one call, from the cache of this machine or else the remote.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from visiongate import paths
from visiongate.adapters.dvc import DvcError, fetch_outputs, run_dvc
from visiongate.adapters.git import GitError, Repository
from visiongate.errors import DataError
from visiongate.records.dvc_lock import parse_lock
from visiongate.records.preparation import parse_quarantine
from visiongate.records.verdict import parse_verdict
from visiongate.review.report import parsing, tables
from visiongate.review.report.snapshot import Snapshot

logger = logging.getLogger(__name__)
Read = Callable[[Path], bytes]  # raises DataError where there is no such file
NOT_RUN = "the stage that makes it has not run with what is here"
ABSENT = "not here; `dvc repro` makes it, `dvc pull` fetches it"


@dataclass(frozen=True, slots=True)
class Part:
    """Where a part of a snapshot comes from."""

    stage: str | None  # that writes it
    files: tuple[Path, ...]
    parse: Callable[..., Any]


PARTS = {
    "stages": Part(
        None,
        (paths.LOCK,),
        lambda content: parse_lock(content).digests(),
    ),
    "params": Part(None, (paths.PARAMS,), parsing.parse_params),
    "metrics": Part("evaluate", (paths.METRICS,), parsing.parse_values),
    "times": Part("evaluate", (paths.LATENCY,), parsing.parse_values),
    "verdict": Part("evaluate", (paths.GATE,), lambda content: parse_verdict(content, "it")),
    "intervals": Part("evaluate", (paths.EVALUATION / "intervals.json",), parsing.parse_intervals),
    "classes": Part("evaluate", (paths.EVALUATION / "per_class.csv",), parsing.parse_classes),
    "confusion": Part("evaluate", (paths.EVALUATION / "plots/confusion.csv",), parsing.parse_confusion),
    "slices": Part("evaluate", (paths.EVALUATION / "slices.csv",), parsing.parse_slices),
    "answers": Part("evaluate", (paths.EVALUATION / "predictions.parquet",), tables.parse_answers),
    "training": Part("train", (paths.TRAINING_SUMMARY,), parsing.parse_values),
    "course": Part("train", (paths.HISTORY,), parsing.parse_course),
    "expectations": Part("validation", (paths.VALIDATION / "result.json",), parsing.parse_expectations),
    "quarantine": Part("preparation", (paths.PREPARATION / "quarantine.csv",), parse_quarantine),
    "images": Part(
        "transformation",
        (paths.TRANSFORMED / "manifest.parquet", paths.TRANSFORMED / "transform.json"),
        tables.parse_images,
    ),
    "search": Part(
        "optimize",
        (paths.OPTIMIZE_SUMMARY, paths.OPTIMIZE / "study.json", paths.OPTIMIZE / "best_params.yaml"),
        parsing.parse_search,
    ),
    "registration": Part("register", (paths.REGISTRATION,), parsing.parse_registration),
}
NOT_COMPARED = {"search", "registration"}  # told of the work tree alone
# Outputs that git has, with the parameters and the lock; the others are DVC's.
OUTS_IN_GIT = (
    paths.METRICS,
    paths.LATENCY,
    paths.GATE,
    paths.TRAINING_SUMMARY,
    paths.OPTIMIZE_SUMMARY,
    paths.REGISTRATION,
)
IN_GIT = (paths.LOCK, paths.PARAMS, *OUTS_IN_GIT)


def take_snapshot(
    name: str, commit: str, read: Read, stale: Mapping[str, str], skip: Collection[str] = ()
) -> Snapshot:
    """Read what is known of a revision; what cannot be read is missing, with the reason.

    Args:
        name: How a person calls it.
        commit: Its hash.
        read: Gives a file's content.
        stale: Stages whose outputs are not its own, and why.
        skip: Parts that are not wanted.
    """
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for field, part in PARTS.items():
        if field in skip:
            continue
        if part.stage in stale:
            missing[field] = NOT_RUN
            continue
        try:
            found[field] = _parse(part, read)
        except DataError as error:
            missing[field] = str(error)
    return Snapshot(name, commit, **found, missing=missing)


def _parse(part: Part, read: Read) -> Any:  # noqa: ANN401 - a part of any kind
    contents = [read(path) for path in part.files]
    try:
        return part.parse(*contents)
    except DataError as error:
        raise DataError(f"{part.files[0]}: {error}") from None
    except Exception as error:  # noqa: BLE001 - whatever a stranger wrote there, the report is written
        raise DataError(f"{part.files[0]}: cannot be read ({type(error).__name__})") from None


def read_here(path: Path) -> bytes:
    """Read a file of the work tree.

    Raises:
        DataError: There is none.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(ABSENT) from None


@contextmanager
def open_base(commit: str, stale: Collection[str]) -> Iterator[tuple[Read, Read]]:
    """Yield how a file of the work tree is read, and one of the base.

    What the work tree lacks is read at the base where it is the same there.

    Args:
        commit: The base's hash.
        stale: Stages of the work tree whose outputs are not what ``dvc.lock`` says.
    """
    outs = _read_outs(lambda path: _read_at(commit, path))
    same = _find_same(outs, stale)
    wanted = [path for path in _list_files(same, stale) if _find_out(path, outs)]
    with TemporaryDirectory(prefix="visiongate-base-") as temporary:
        fetched, trouble = Path(temporary, "clone"), "not there yet"
        try:
            fetched = _fetch(fetched, commit, wanted) if wanted else fetched
        except (DvcError, GitError) as error:
            trouble = f"cannot be fetched: {error}"

        def read_base(path: Path) -> bytes:
            if path in IN_GIT:
                return _read_at(commit, path)
            place = path if path in same and path.exists() else fetched / path
            try:
                return place.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                raise DataError(trouble if _find_out(path, outs) else "not there yet") from None

        yield lambda path: read_base(path) if path in same else read_here(path), read_base


def find_uncompared(stale: Collection[str]) -> set[str]:
    """Name the parts of the base that nothing of the work tree would be compared with."""
    return NOT_COMPARED | {name for name, part in PARTS.items() if part.stage in stale}


def _list_files(same: Collection[Path], stale: Collection[str]) -> Iterator[Path]:
    """List the files of DVC's that are wanted and not here: the base's, and the work tree's where the base has the same."""
    skipped = find_uncompared(stale)
    for name, part in PARTS.items():
        for path in part.files:
            if path not in IN_GIT and (path in same or name not in skipped):
                yield from [] if path in same and path.exists() else [path]


def _read_at(commit: str, path: Path) -> bytes:
    text = Repository(Path.cwd()).read(commit, path)
    if text is None:
        raise DataError("not there yet")
    return text.encode(errors="replace")


def _read_outs(read: Read) -> dict[str, str]:
    """Read the md5 of each output; none where ``dvc.lock`` is not to be read, which the snapshot tells."""
    try:
        return {path: str(md5) for path, md5 in parse_lock(read(paths.LOCK)).outs.items()}
    except DataError:
        return {}


def _find_same(outs: Mapping[str, str], stale: Collection[str]) -> set[Path]:
    """Find the files of DVC's that are the same in both revisions."""
    here = _read_outs(read_here)
    fresh = [part for part in PARTS.values() if part.stage not in stale]
    files = [path for part in fresh for path in part.files if path not in IN_GIT]
    return {path for path in files if (out := _find_out(path, outs)) and outs[out] == here.get(out)}


def _find_out(path: Path, outs: Mapping[str, str]) -> str | None:
    """Find the output that a file lies in."""
    return next((str(place) for place in (path, *path.parents) if place.as_posix() in outs), None)


def _fetch(clone: Path, commit: str, wanted: Sequence[Path]) -> Path:
    """Bring files of a commit in beside; return the folder that they are relative to."""
    here = Path.cwd().resolve()
    repository = Repository(here).root()
    Repository(repository).clone(clone, commit)
    folder = clone / here.relative_to(repository.resolve())
    fetch_outputs(here, folder, wanted, logger.info, partial(run_dvc, isolated=True))
    return folder
