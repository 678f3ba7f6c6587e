"""Fetch a file from where MLflow stores artifacts: through its server, from a folder, or from a bucket."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from visiongate.serving.sources.model_sources import UnreachableError

PROXIED = "mlflow-artifacts"


def fetch_artifact(address: str, target: Path, download: Callable[[str, Path], None]) -> None:
    """Copy a file.

    Args:
        address: A path, ``file:``, ``mlflow-artifacts:``, or an address that fsspec knows, such as ``s3:``.
        target: The path to write.
        download: Gets a file that MLflow's server hands out, by its address.

    Raises:
        UnreachableError: The file cannot be read.
    """
    parts = urlsplit(address)
    if parts.scheme == PROXIED:
        download(address, target)
    elif parts.scheme in {"", "file"}:
        _copy(Path(unquote(parts.path) if parts.scheme else address), target)
    else:
        _fetch_remote(address, parts.scheme, target)


def _copy(path: Path, target: Path) -> None:
    try:
        content = path.open("rb")
    except OSError as error:
        raise UnreachableError(
            f"{path}: {error.strerror}; the registry has the model there: make that folder available, or copy the model with "
            "`visiongate registry export --to`"
        ) from None
    with content, target.open("wb") as copy:
        shutil.copyfileobj(content, copy)


def _fetch_remote(address: str, scheme: str, target: Path) -> None:
    try:
        filesystem, path = importlib.import_module("fsspec.core").url_to_fs(address)
        filesystem.get_file(path, str(target))
    except (ImportError, ValueError):
        raise UnreachableError(
            f"{address}: reading {scheme}:// needs more packages; run: pip install 'fsspec[{scheme}]', start the MLflow server "
            "with --serve-artifacts, or copy the model with `visiongate registry export --to`"
        ) from None
    # Each storage has errors of its own.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnreachableError(f"{address}: {reason}; check the credentials and the endpoint") from error
