"""The files of the search: what it depends on, its tables and best settings, and their comparison with the current ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from visiongate.errors import DataError
from visiongate.records.files import read_output, write_csv, write_json, write_text
from visiongate.records.json_record import parse_record, read_record
from visiongate.records.parsing import check_type, parse_yaml

STUDY_FILE, BEST_FILE, COMPARISON_FILE = "study.json", "best_params.yaml", "comparison.json"
TRIALS_FILE, CURVES_FILE, IMPORTANCE_FILE = "trials.csv", "curves.csv", "importance.csv"

Value = bool | int | float | str | None
# By dotted name, such as ``model.lr``.
Values = dict[str, Value]
_VALUES = TypeAdapter(Values)


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """The content of ``optimize.json``.

    Attributes:
        trials: Finished trials.
        pruned: Pruned trials.
        failed: Trials that could not be trained.
        epochs: Epochs trained in all trials.
        best_trial: Index of the best trial.
        best_value: Its metric.
    """

    trials: int
    pruned: int
    failed: int
    epochs: int
    best_trial: int
    best_value: float


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """The content of ``study.json`` in the search's folder.

    Attributes:
        settings: The settings that the result depends on.
        data: Hash of the pixel arrays.
        guessed: The metric of guessing the most frequent class, if no trial is better; otherwise None.
    """

    settings: dict[str, Any]
    data: str
    guessed: float | None = None


@dataclass(frozen=True, slots=True)
class TestedGain:
    """The mean gain of the best over the current settings, with its confidence interval and p-value."""

    mean: float
    low: float
    high: float
    confidence: float
    p_value: float


@dataclass(frozen=True, slots=True)
class RecommendationSummary:
    """The content of ``recommendation.json``.

    Attributes:
        better: Whether the best settings are shown to be better than the current ones.
        seeds: Fresh seeds that both were trained with.
        best_value: Mean metric of the best settings over these seeds; None without any.
        current_value: Mean metric of the current settings.
        gain: None if the comparison ended before the last seed.
    """

    better: bool
    seeds: int
    best_value: float | None = None
    current_value: float | None = None
    gain: TestedGain | None = None


@dataclass(frozen=True, slots=True)
class RecommendationRecord:
    """The content of ``comparison.json``.

    Attributes:
        current: The current values of the searched settings.
        adoptable: Whether the best settings may be better than the current ones.
        conclusion: Whether they are shown to be better, in a sentence.
    """

    current: Values
    adoptable: bool
    conclusion: str


def write_summary(path: Path, summary: SearchSummary) -> None:
    """Write ``optimize.json``."""
    write_json(path, asdict(summary))


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


def write_recommendation(path: Path, summary: RecommendationSummary) -> None:
    """Write ``recommendation.json``. DVC shows its numbers as metrics, so that absent ones are left out."""
    write_json(path, {key: value for key, value in asdict(summary).items() if value is not None})


def parse_recommendation(content: bytes, source: str = "recommendation.json") -> RecommendationSummary:
    """Parse the content of ``recommendation.json``.

    Raises:
        DataError: The content is invalid.
    """
    return parse_record(content, RecommendationSummary, source)


def write_comparison(folder: Path, record: RecommendationRecord) -> None:
    """Write ``comparison.json``."""
    write_json(folder / COMPARISON_FILE, asdict(record))


def read_comparison(folder: Path) -> RecommendationRecord:
    """Read ``comparison.json``.

    Raises:
        DataError: The file is missing or invalid.
    """
    return read_record(folder / COMPARISON_FILE, RecommendationRecord)


def parse_comparison(content: bytes, source: str = COMPARISON_FILE) -> RecommendationRecord:
    """Parse the content of ``comparison.json``.

    Raises:
        DataError: The content is invalid.
    """
    return parse_record(content, RecommendationRecord, source)


def read_values(path: Path) -> Values:
    """Read settings by dotted name from a JSON file.

    Raises:
        DataError: The file is missing or invalid.
    """
    values: Values = read_record(path, Values)
    return values


def read_study_settings(path: Path) -> dict[str, Any]:
    """Read the settings that a search depends on, as nested mappings.

    Raises:
        DataError: The file is missing or invalid.
    """
    settings: dict[str, Any] = read_record(path, dict[str, Any])
    return settings


def write_best(folder: Path, values: Values) -> None:
    """Write ``best_params.yaml``: the settings of the best trial by dotted name."""
    write_text(folder / BEST_FILE, yaml.safe_dump(values, sort_keys=True))


def read_best(folder: Path) -> Values:
    """Read ``best_params.yaml``.

    Raises:
        DataError: The file is missing or invalid.
    """
    path = folder / BEST_FILE
    return parse_best(read_output(path), str(path))


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
        trials: A row per trial, all with the same columns: ``trial``, ``state``, ``value``, ``best``, ``epochs``, ``problem``
            and the searched settings.
        curves: A row per epoch of a trial: ``trial``, ``epoch``, ``value``.
        importances: The share of the variation that each setting explains.
    """
    write_csv(folder / TRIALS_FILE, trials, list(trials[0]))
    write_csv(folder / CURVES_FILE, curves, ["trial", "epoch", "value"])
    rows = ({"setting": key, "importance": value} for key, value in importances.items())
    write_csv(folder / IMPORTANCE_FILE, rows, ["setting", "importance"])
