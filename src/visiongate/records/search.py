"""The files that ``optimize`` writes: ``reports/optimize.json``, and the tables and settings in ``reports/optimize``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from visiongate.errors import DataError
from visiongate.records.files import write_csv, write_json, write_text
from visiongate.records.json_record import parse_record, read_record
from visiongate.records.parsing import check_type, parse_yaml

STUDY_FILE, BEST_FILE = "study.json", "best_params.yaml"
TRIALS_FILE, CURVES_FILE, IMPORTANCE_FILE = "trials.csv", "curves.csv", "importance.csv"

Value = bool | int | float | str | None
# By dotted name, such as ``model.lr``.
Values = dict[str, Value]
_VALUES = TypeAdapter(Values)


@dataclass(frozen=True, slots=True)
class ConfirmationSummary:
    """The gain of the best trial on fresh seeds, with its confidence interval and p-value."""

    seeds: int
    mean_difference: float
    low: float
    high: float
    confidence: float
    p_value: float


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """The content of ``optimize.json``.

    Attributes:
        trials: Finished trials.
        pruned: Pruned trials.
        epochs: Epochs trained in all trials.
        best_trial: Index of the best trial.
        best_value: Its metric.
        current_value: The metric of the current settings; None if their training diverged.
        beats_current: Whether fresh seeds show that the best trial is better than the current settings.
        confirmed: The gain on fresh seeds; None if nothing was confirmed.
    """

    trials: int
    pruned: int
    epochs: int
    best_trial: int
    best_value: float
    current_value: float | None
    beats_current: bool
    confirmed: ConfirmationSummary | None = None


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """The content of ``study.json``.

    Attributes:
        settings: The settings that the result depends on.
        data: Hash of the pixel arrays.
        beaten: Whether a trial has a better metric than the current settings.
        conclusion: Whether the best trial is better than the current settings, in a sentence.
    """

    settings: Mapping[str, Any]
    data: str
    beaten: bool
    conclusion: str


def write_summary(path: Path, summary: SearchSummary) -> None:
    """Write ``optimize.json``. DVC shows its numbers as metrics, so that an absent confirmation is left out."""
    content = asdict(summary)
    write_json(
        path, {key: value for key, value in content.items() if key != "confirmed" or value is not None}
    )


def read_summary(path: Path) -> SearchSummary:
    """Read ``optimize.json``.

    Raises:
        DataError: The file is missing or invalid.
    """
    return read_record(path, SearchSummary)


def parse_summary(content: bytes, source: str = "optimize.json") -> SearchSummary:
    """Parse the content of ``optimize.json``.

    Raises:
        DataError: The content is invalid.
    """
    return parse_record(content, SearchSummary, source)


def write_study(folder: Path, study: StudyRecord) -> None:
    """Write ``study.json``."""
    write_json(folder / STUDY_FILE, asdict(study))


def read_study(folder: Path) -> StudyRecord:
    """Read ``study.json``.

    Raises:
        DataError: The file is missing or invalid.
    """
    return read_record(folder / STUDY_FILE, StudyRecord)


def parse_study(content: bytes, source: str = STUDY_FILE) -> StudyRecord:
    """Parse the content of ``study.json``.

    Raises:
        DataError: The content is invalid.
    """
    return parse_record(content, StudyRecord, source)


def write_best(folder: Path, values: Values) -> None:
    """Write ``best_params.yaml``: the settings of the best trial by dotted name."""
    write_text(folder / BEST_FILE, yaml.safe_dump(values, sort_keys=True))


def read_best(folder: Path) -> Values:
    """Read ``best_params.yaml``.

    Raises:
        DataError: The file is missing or invalid.
    """
    path = folder / BEST_FILE
    try:
        return parse_best(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `dvc repro optimize` or `dvc pull`") from None


def parse_best(content: bytes, source: str = BEST_FILE) -> Values:
    """Parse the content of ``best_params.yaml``.

    Raises:
        DataError: The content is invalid.
    """
    try:
        return check_type(_VALUES, parse_yaml(content))
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def write_tables(
    folder: Path,
    trials: Sequence[Mapping[str, Any]],
    curves: Iterable[Mapping[str, Any]],
    importances: Mapping[str, float],
) -> None:
    """Write ``trials.csv``, ``curves.csv`` and ``importance.csv``.

    Args:
        folder: The folder.
        trials: A row per trial, all with the same columns: ``trial``, ``state``, ``value``, ``best``, ``epochs`` and the
            searched settings.
        curves: A row per epoch of a trial: ``trial``, ``epoch``, ``value``.
        importances: The share of the variation that each setting explains.
    """
    write_csv(folder / TRIALS_FILE, trials, list(trials[0]))
    write_csv(folder / CURVES_FILE, curves, ["trial", "epoch", "value"])
    rows = ({"setting": key, "importance": value} for key, value in importances.items())
    write_csv(folder / IMPORTANCE_FILE, rows, ["setting", "importance"])
