"""The models that predict: the champion of the registry, registered versions, and files."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.adapters.mlflow.registry import (
    URI_START,
    Version,
    fetch_model,
    find_champion,
    find_selected,
)
from visiongate.adapters.mlflow.store import Store, TrackingError, has_store, open_store
from visiongate.errors import DataError
from visiongate.models.classifier import Classifier, make_classifier
from visiongate.models.predictor import open_predictor
from visiongate.records.evaluation import read_metrics
from visiongate.records.files import sha256_of
from visiongate.settings.schema import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CommittedModel:
    """The model of the work tree.

    Attributes:
        path: Its file.
        metrics: The file with its metrics, which has its threshold, if any.
    """

    path: Path
    metrics: Path

    def read_threshold(self) -> float | None:
        """Return the threshold that it was evaluated with; None for the most probable class.

        Raises:
            DataError: The file of the metrics is invalid.
        """
        return read_metrics(self.metrics).get("threshold") if self.metrics.exists() else None


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model's file, and what is known about it.

    Attributes:
        name: Short, of its columns.
        path: The file.
        threshold: That it was evaluated with, if any.
        origin: Where it comes from, in a few words.
    """

    name: str
    path: Path
    threshold: float | None
    origin: str


def find_models(names: Sequence[str], committed: CommittedModel, settings: Settings) -> list[ModelFile]:
    """Return the files of models, whose names differ.

    Args:
        names: Files, numbers of versions, aliases, or ``models:/NAME/3``; if empty, the champion of the registry, or the model
            of the work tree if there is no champion.
        committed: The model of the work tree.
        settings: The sections ``tracking`` and ``registry``.

    Raises:
        TrackingError: MLflow failed, there is no such version, or its file is not the registered one.
        DataError: A file is missing.
    """
    if not names:
        return [_find_default(committed, settings)]
    found = [_find(name, committed, settings) for name in dict.fromkeys(names)]
    short = [each.name for each in found]
    return [
        each if short.count(each.name) == 1 else ModelFile(name, each.path, each.threshold, each.origin)
        for name, each in zip(dict.fromkeys(names), found, strict=True)
    ]


def load_classifier(file: ModelFile, threshold: float | None) -> Classifier:
    """Load a model.

    Args:
        file: The model's file.
        threshold: In place of its own.

    Raises:
        DataError: The file is not a model that the train stage exported, or the threshold does not fit its classes.
    """
    model = open_predictor(file.path, shares_cores=True)
    own = file.threshold if threshold is None else threshold
    return make_classifier(file.name, model, own, sha256_of(file.path))


def _find_default(committed: CommittedModel, settings: Settings) -> ModelFile:
    name = settings.registry.name
    reason = f"the registry has no champion of {name}"
    store = champion = None
    try:
        store = open_store(settings.tracking) if has_store(settings.tracking) else None
        champion = find_champion(store, name) if store else None
    except TrackingError as error:
        reason = str(error)
    if store and champion:
        return _registered(store, champion)
    logger.warning("No champion: %s", reason)
    return _committed(committed)


def _find(name: str, committed: CommittedModel, settings: Settings) -> ModelFile:
    path = Path(name)
    if not name.startswith(URI_START) and (path.is_file() or path.suffix == ".onnx"):
        if not path.is_file():
            raise DataError(f"{name}: no such model file")
        is_committed = committed.path.exists() and path.samefile(committed.path)
        return _committed(committed) if is_committed else ModelFile(path.stem, path, None, str(path))
    store = open_store(settings.tracking) if has_store(settings.tracking) else None
    if store is None:
        raise TrackingError(
            f"{name}: no such file, and the registry is empty; name a file, or run `visiongate registry register`"
        )
    return _registered(store, _find_version(store, settings.registry.name, name))


def _find_version(store: Store, model: str, name: str) -> Version:
    version = find_selected(store, model, name)
    if version is None:
        raise TrackingError(
            f"{name}: neither a file nor a version or alias of {model}; list the versions with `visiongate registry list`"
        )
    return version


def _committed(committed: CommittedModel) -> ModelFile:
    return ModelFile(committed.path.stem, committed.path, committed.read_threshold(), str(committed.path))


def _registered(store: Store, version: Version) -> ModelFile:
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    origin = f"{version.name} version {version.number}{aliases}"
    return ModelFile(f"v{version.number}", fetch_model(store, version), version.threshold, origin)
