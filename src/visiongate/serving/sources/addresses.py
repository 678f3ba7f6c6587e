"""From the address of a model to its source."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from visiongate.errors import SettingsError
from visiongate.records.registry_tags import CHAMPION
from visiongate.serving.sources.cache import ModelCache
from visiongate.serving.sources.model_sources import FileSource, FolderSource, ModelSource
from visiongate.serving.sources.registry_rest import RestRegistry, read_access
from visiongate.serving.sources.registry_source import ModelAddress, Registry, RegistrySource, parse_address
from visiongate.serving.sources.registry_sqlite import SQLITE, SqliteRegistry
from visiongate.serving.sources.work_tree import WorkTree
from visiongate.settings.serving import ServingRegistry
from visiongate.settings.serving_environment import Deployment
from visiongate.user_cache import cache_folder

# A model is a message of Protocol Buffers whose first field, the version of the format, is a number: onnx.proto, `ModelProto`.
ONNX_START = b"\x08"


@dataclass(frozen=True, slots=True)
class Places:
    """Where models may be.

    Attributes:
        deployment: The settings.
        work_tree: The model of the current folder; None if it is no work tree.
        environment: The environment variables, which have MLflow's credentials.
    """

    deployment: Deployment
    work_tree: WorkTree | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)


def find_source(text: str | None, places: Places) -> ModelSource:
    """Return the source of a model.

    Args:
        text: A file, a folder, or MLflow's address of a version; None for the champion.
        places: Where to look.

    Raises:
        SettingsError: There is no such file or folder, the file is no ONNX model, no registry is known, or its address is not
            supported.
    """
    if text is None:
        return _find_champion(places)
    if address := parse_address(text):
        return _make_source(address, places)
    path = Path(text)
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        _require_onnx(path)
        return FileSource(path, places.work_tree)
    raise SettingsError(
        f"{text}: no such model; name an ONNX file, a folder of `visiongate registry export`, models:/NAME@champion or "
        "models:/NAME/3"
    )


def _require_onnx(path: Path) -> None:
    """Check a file's first byte, so that a mistake in its name ends the start; the model itself is loaded later."""
    try:
        with path.open("rb") as file:
            start = file.read(1)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; name an ONNX file that can be read") from None
    if start != ONNX_START:
        raise SettingsError(
            f"{path}: not an ONNX model; name a file such as models/model.onnx, or a folder of `visiongate registry export`"
        )


def _find_champion(places: Places) -> ModelSource:
    name, work_tree = places.deployment.registered_name, places.work_tree
    if name is None:
        raise SettingsError(
            "serving.model: no model is named, and there is no params.yaml here, which names the registered model; name a "
            "file, a folder or models:/NAME@champion, or set MODEL_PATH"
        )
    committed = FileSource(work_tree.model, work_tree) if work_tree and work_tree.model.exists() else None
    return _make_source(ModelAddress(name, None, CHAMPION), places, committed)


def _make_source(
    address: ModelAddress, places: Places, committed: FileSource | None = None
) -> RegistrySource:
    settings = places.deployment.serving.registry
    folder = Path(settings.cache) if settings.cache else cache_folder() / "served"
    registry = _find_registry(address, settings, places.environment)
    return RegistrySource(registry, address, ModelCache(folder), committed)


def _find_registry(
    address: ModelAddress, settings: ServingRegistry, environment: Mapping[str, str]
) -> Registry:
    uri, timeout = settings.uri, settings.timeout_seconds
    if uri is None:
        raise SettingsError(
            f"{address}: no registry is known; set serving.registry.uri or MLFLOW_TRACKING_URI"
        )
    if uri.startswith(("http://", "https://")):
        return RestRegistry(read_access(uri, timeout, environment))
    if uri.startswith(SQLITE):
        return SqliteRegistry(Path(uri.removeprefix(SQLITE)).absolute(), timeout)
    raise SettingsError(
        f"serving.registry.uri = {uri.partition(':')[0]}:…: not supported; name an MLflow server (https://…) or a SQLite file "
        "(sqlite:///…), or copy the model with `visiongate registry export --to`"
    )
