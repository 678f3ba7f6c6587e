"""Download a data set from Kaggle with Kaggle's own client."""

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from visiongate.errors import DataError
from visiongate.ingestion.download import DISK_FULL, OFFLINE_HINT, one_line

SCHEME = "kaggle"
CREDENTIALS_HINT = (
    "set KAGGLE_USERNAME and KAGGLE_KEY (see https://www.kaggle.com/settings), in the environment or in .env"
)


def download_from_kaggle(url: str, target: Path) -> Path:
    """Download a data set as a zip, unless the target exists. Kaggle's client resumes an interrupted download.

    Args:
        url: ``kaggle://OWNER/DATASET``.
        target: The zip, named ``DATASET.zip``.

    Raises:
        DataError: The URL is invalid, the credentials are missing, or the download fails.
    """
    parts = urlsplit(url)
    slug = f"{parts.netloc}/{parts.path.strip('/')}"
    if not re.fullmatch(r"[\w-]+/[\w-]+", slug):
        raise DataError(
            f"{url}: invalid; use kaggle://OWNER/DATASET as in the address of the data set's page"
        )
    # The client writes to the target itself, so a marker states that the download is complete.
    marker = target.with_name(f".{target.name}.complete")
    if not (target.exists() and marker.exists()):
        marker.unlink(missing_ok=True)
        client = _open_client(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            client.dataset_download_files(slug, path=str(target.parent), quiet=True, unzip=False)
        except OSError as error:
            # The errors of requests are OSErrors too.
            if error.errno in DISK_FULL:
                raise
            raise DataError(
                f"{url}: {one_line(error)}; check the name; {CREDENTIALS_HINT}; {OFFLINE_HINT}"
            ) from None
        marker.touch()
    return target


def _open_client(url: str) -> Any:  # noqa: ANN401 - a package without types
    try:
        # The import already looks for credentials, and prints a page of advice and exits if there are none.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            from kaggle.api.kaggle_api_extended import KaggleApi  # noqa: PLC0415

            client = KaggleApi()
            client.authenticate()
    except (SystemExit, OSError, ValueError):
        raise DataError(f"{url}: Kaggle needs an account; {CREDENTIALS_HINT}") from None
    return client
