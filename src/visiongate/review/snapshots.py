"""Read the records of the work tree and of the base.

Git has some files of the base. A file that DVC tracks is read in the work tree if both ``dvc.lock`` files have the same md5 for
it. The others are fetched into a temporary clone of the base, in one call, from the local cache or the remote.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from visiongate import paths
from visiongate.adapters.dvc import DvcError, fetch_outputs, run_dvc
from visiongate.adapters.git import GitError, Repository
from visiongate.errors import DataError
from visiongate.records import evaluation
from visiongate.records.corrections import parse_corrections
from visiongate.records.dvc_lock import parse_lock
from visiongate.records.history import parse_history
from visiongate.records.predictions import parse_predictions
from visiongate.records.preparation import parse_corrected, parse_quarantine
from visiongate.records.registration import parse_registration
from visiongate.records.transform import TRANSFORM_FILE, parse_transform
from visiongate.records.validation import ExpectationResult, parse_validation
from visiongate.records.verdict import GateVerdict, parse_verdict
from visiongate.review import parsing
from visiongate.review.snapshot import Snapshot

# Raises DataError if the file does not exist.
Read = Callable[[Path], bytes]
OUTDATED = "the stage that writes it has not run with the current code, data and parameters"
NOT_IN_BASE = "the revision does not have it"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """A record of a snapshot: the stage that writes its files, and the parser of their contents."""

    stage: str | None
    files: tuple[Path, ...]
    parse: Callable[..., Any]


def _parse_expectations(content: bytes) -> tuple[ExpectationResult, ...]:
    return parse_validation(content).expectations


def _parse_verdict(content: bytes) -> GateVerdict:
    return parse_verdict(content, paths.GATE.name)


PARTS = {
    "stages": Part(None, (paths.LOCK,), lambda content: parse_lock(content).digests()),
    "params": Part(None, (paths.PARAMS,), parsing.parse_params),
    "metrics": Part("evaluate", (paths.METRICS,), evaluation.parse_metrics),
    "times": Part("evaluate", (paths.LATENCY,), evaluation.parse_metrics),
    "verdict": Part("evaluate", (paths.GATE,), _parse_verdict),
    "intervals": Part("evaluate", (paths.EVALUATION / "intervals.json",), evaluation.parse_intervals),
    "classes": Part("evaluate", (paths.EVALUATION / "per_class.csv",), evaluation.parse_classes),
    "confusion": Part("evaluate", (paths.EVALUATION / "plots/confusion.csv",), evaluation.parse_confusion),
    "slices": Part("evaluate", (paths.EVALUATION / "slices.csv",), evaluation.parse_slices),
    "predictions": Part("evaluate", (paths.EVALUATION / "predictions.parquet",), parse_predictions),
    "training": Part("train", (paths.TRAINING_SUMMARY,), parsing.parse_values),
    "history": Part("train", (paths.HISTORY,), parse_history),
    "expectations": Part("validation", (paths.VALIDATION / "result.json",), _parse_expectations),
    "quarantine": Part("preparation", (paths.PREPARATION / "quarantine.csv",), parse_quarantine),
    "corrections": Part(None, (paths.CORRECTIONS,), parse_corrections),
    "corrected": Part("preparation", (paths.PREPARATION / "corrections.csv",), parse_corrected),
    "images": Part(
        "transformation",
        (paths.TRANSFORMED / "manifest.parquet", paths.TRANSFORMED / TRANSFORM_FILE),
        parsing.parse_images,
    ),
    "transform": Part("transformation", (paths.TRANSFORMED / TRANSFORM_FILE,), parse_transform),
    "search": Part(
        "recommend",
        (
            paths.OPTIMIZE_SUMMARY,
            paths.RECOMMENDATION_SUMMARY,
            paths.RECOMMENDATION / "comparison.json",
            paths.OPTIMIZE / "best_params.yaml",
        ),
        parsing.parse_search,
    ),
    "registration": Part("register", (paths.REGISTRATION,), parse_registration),
}
# The report does not compare these with the base.
NOT_COMPARED = {"search", "registration", "transform"}
# Records that do not depend on the images.
WITHOUT_IMAGES = {"stages", "params", "corrections"}
OUTS_IN_GIT = (
    paths.METRICS,
    paths.LATENCY,
    paths.GATE,
    paths.TRAINING_SUMMARY,
    paths.STUDY,
    paths.CURRENT,
    paths.OPTIMIZE_SUMMARY,
    paths.RECOMMENDATION_SUMMARY,
    paths.REGISTRATION,
)
IN_GIT = (paths.LOCK, paths.PARAMS, paths.CORRECTIONS, *OUTS_IN_GIT)


def take_snapshot(
    name: str, commit: str, read: Read, stale: Collection[str] = (), skipped: Collection[str] = ()
) -> Snapshot:
    """Read the records of a revision. A record that cannot be read is missing, with the reason.

    Args:
        name: The name of the revision, such as ``main``.
        commit: Its hash.
        read: Returns the content of a file.
        stale: Stages whose outputs are outdated, so that they are not read.
        skipped: Records that are not needed.
    """
    records: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for field in PARTS.keys() - set(skipped):
        try:
            records[field] = _read_part(PARTS[field], read, stale)
        except DataError as error:
            missing[field] = str(error)
    return Snapshot(
        name, commit, **records, missing={field: missing[field] for field in PARTS if field in missing}
    )


def forget_results(snapshot: Snapshot, reason: str) -> Snapshot:
    """Return a snapshot without what was measured on its images, which is not comparable for the reason."""
    dropped = [name for name in PARTS if name not in WITHOUT_IMAGES | NOT_COMPARED]
    missing = {name: why for name, why in snapshot.missing.items() if name not in dropped}
    nothing: dict[str, Any] = dict.fromkeys(dropped)
    return replace(snapshot, **nothing, missing=missing | dict.fromkeys(dropped, reason))


def _read_part(part: Part, read: Read, stale: Collection[str]) -> Any:  # noqa: ANN401
    if part.stage in stale:
        raise DataError(OUTDATED)
    contents = [read(path) for path in part.files]
    try:
        return part.parse(*contents)
    except DataError as error:
        raise DataError(_name_file(part.files[0], str(error))) from None
    # The report is written even if an untrusted file is invalid.
    except Exception as error:  # noqa: BLE001
        raise DataError(f"{part.files[0]}: is invalid ({type(error).__name__})") from None


def _name_file(path: Path, message: str) -> str:
    return message if message.startswith(path.name) else f"{path}: {message}"


def read_here(path: Path) -> bytes:
    """Return the content of a file of the work tree.

    Raises:
        DataError: The file does not exist.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        # `visiongate repro` also composes params.yaml again.
        raise DataError(f"{path}: no such file; run `visiongate repro`") from None


@contextmanager
def open_base(commit: str, skipped: Collection[str]) -> Iterator[Read]:
    """Yield a function that reads a file of the base.

    Args:
        commit: The hash of the base.
        skipped: Records that are not needed.
    """
    outs, here = _read_outs(lambda path: _read_at(commit, path)), _read_outs(read_here)
    files = {path for name in PARTS.keys() - set(skipped) for path in PARTS[name].files if path not in IN_GIT}
    known = {path: out for path in files if (out := _find_out(path, outs))}
    same = {path for path, out in known.items() if outs[out] == here.get(out) and path.exists()}
    with TemporaryDirectory(prefix="visiongate-base-") as temporary:
        folder, failure = _fetch(Path(temporary, "clone"), commit, sorted(known.keys() - same))

        def read(path: Path) -> bytes:
            if path in IN_GIT:
                return _read_at(commit, path)
            try:
                return (path if path in same else folder / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                raise DataError(failure if path in known else NOT_IN_BASE) from None

        yield read


def find_uncompared(stale: Collection[str]) -> set[str]:
    """Return the records that the report does not compare, or that are outdated in the work tree."""
    return NOT_COMPARED | {name for name, part in PARTS.items() if part.stage in stale}


def _read_at(commit: str, path: Path) -> bytes:
    text = Repository(Path.cwd()).read(commit, path)
    if text is None:
        raise DataError(NOT_IN_BASE)
    return text.encode(errors="replace")


def _read_outs(read: Read) -> Mapping[str, str | None]:
    """Return the md5 of each output; nothing if ``dvc.lock`` is invalid, which the snapshot reports."""
    try:
        return parse_lock(read(paths.LOCK)).outs
    except DataError:
        return {}


def _find_out(path: Path, outs: Mapping[str, str | None]) -> str | None:
    """Return the output that a file belongs to."""
    return next((str(parent) for parent in (path, *path.parents) if parent.as_posix() in outs), None)


def _fetch(clone: Path, commit: str, wanted: list[Path]) -> tuple[Path, str]:
    """Fetch files of a commit into a clone; return the folder that has them, and why they are missing if they are."""
    here = Path.cwd().resolve()
    root = Repository(here).root().resolve()
    folder = clone / here.relative_to(root)
    try:
        if wanted:
            Repository(root).clone(clone, commit)
            fetch_outputs(here, folder, wanted, _log.info, partial(run_dvc, isolated=True))
    except (DvcError, GitError) as error:
        return folder, f"it cannot be fetched: {error}"
    return folder, NOT_IN_BASE
