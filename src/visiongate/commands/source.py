"""The source of images that a user names: a folder, an archive, an address, or a data set of ``conf/dataset``."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from visiongate.adapters.git import GitError, Repository
from visiongate.errors import DataError
from visiongate.ingestion.fetching import file_name
from visiongate.settings.composition import CONF
from visiongate.settings.dataset_page import FOLDER, derive_name
from visiongate.settings.overrides import suggest

PAGES = CONF / "dataset"


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where images come from.

    Attributes:
        name: A name for the data set.
        page: The name of its file in ``conf/dataset``, if it has one.
        values: Otherwise ``path`` or ``url`` of the section ``dataset``.
    """

    name: str
    page: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)


def find_source(text: str) -> ImageSource:
    """Find the source that a user names.

    Raises:
        DataError: There is no such folder, archive or data set, or its path is not UTF-8.
    """
    pages = sorted(path.stem for path in PAGES.glob("*.yaml") if path.stem != FOLDER)
    if text in pages:
        return ImageSource(text, text)
    if "://" in text:
        return ImageSource(derive_name(file_name(text) or urlsplit(text).netloc), None, {"url": text})
    path = Path(text).expanduser()
    if not path.exists():
        raise DataError(f"{text}: no such folder, archive, address or data set{suggest(text, pages)}")
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise DataError(f"{text!r}: the path is not UTF-8; rename the folder") from None
    # The name of `.` and of `photos/..` as well.
    absolute = Path(os.path.normpath(path.absolute()))
    return ImageSource(derive_name(absolute.name), None, {"path": _portable(absolute)})


def _portable(path: Path) -> str:
    """Return a path relative to the repository if a clone has the images too; otherwise the absolute path.

    An experiment in a temporary copy of the repository finds files that git or DVC tracks at their relative path, and others at
    their absolute path only.
    """
    root = Path.cwd()
    if not path.is_relative_to(root) or path == root:
        return str(path)
    relative = path.relative_to(root)
    try:
        tracked = bool(Repository(root).run("ls-files", "--", f":(literal){relative}"))
    except GitError:
        tracked = False
    return str(relative if tracked or path.with_name(f"{path.name}.dvc").exists() else path)
