"""The gate's verdict on the work tree, or on the files of another run."""

from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.errors import DataError
from visiongate.gate.rejudging import apply_own_rules, compare_with_base, has_same_rules, skip_drops
from visiongate.records.evaluation import parse_metrics
from visiongate.records.verdict import GateVerdict, parse_verdict
from visiongate.review.parsing import describe_other_data, parse_params
from visiongate.review.snapshots import Read, read_here
from visiongate.review.untrusted_artifacts import open_folder
from visiongate.settings.gate import Gate

METRICS_FILES = (paths.METRICS, paths.LATENCY)


def read_gate_verdict(folder: Path | None, base: str | None, gate: Gate) -> GateVerdict:
    """Return the verdict, with the rules on the largest drop if there is a base.

    The verdict on the work tree is the one that `evaluate` wrote. The verdict of another run is not trusted: the rules of this
    work tree are applied to its values. If the base has another data set or other classes than the work tree, nothing is
    compared; another run cannot claim that.

    Args:
        folder: The files of another run; None for the work tree.
        base: A git revision, with whose committed metrics the drop is measured.
        gate: The rules.

    Raises:
        DataError: A file is missing or invalid, or `evaluate` applied other rules.
        GitError: The base does not exist.
    """
    read: Read = read_here if folder is None else open_folder(folder)
    verdict = parse_verdict(_read(read, paths.GATE), str(paths.GATE))
    if folder is not None:
        verdict = apply_own_rules(verdict, gate.rules)
    elif not has_same_rules(verdict, gate.rules):
        raise DataError(
            f"{paths.GATE}: other rules than those of {paths.PARAMS} were applied; run `dvc repro evaluate`"
        )
    if base is None:
        return verdict
    other = "" if folder is not None else _find_other_data(base)
    if other:
        return skip_drops(verdict, gate.rules, other)
    metrics: dict[str, float] = {}
    for path in METRICS_FILES:
        metrics |= parse_metrics(_read(read, path), str(path))
    return compare_with_base(verdict, gate.rules, metrics, _read_base_metrics(base))


def _read(read: Read, path: Path) -> bytes:
    try:
        return read(path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _find_other_data(base: str) -> str:
    """Return how the data set of a revision differs from that of the work tree; empty if it does not, or has none."""
    text = Repository(Path.cwd()).read(base, paths.PARAMS)
    if text is None:
        return ""
    return describe_other_data(parse_params(read_here(paths.PARAMS)), parse_params(text.encode()))


def _read_base_metrics(base: str) -> dict[str, float]:
    """Return the metrics that a revision has committed; nothing if it has none."""
    metrics: dict[str, float] = {}
    for path in METRICS_FILES:
        text = Repository(Path.cwd()).read(base, path)
        if text is not None:
            metrics |= parse_metrics(text.encode(), f"{path} of {base}")
    return metrics
