"""Logging: messages on standard error, and in a file for each run under ``logs/``."""

import logging
import warnings
from pathlib import Path

LOGS = Path("logs")
CONSOLE_FORMAT = "%(message)s"
FILE_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure(level: str, file: Path | None = None) -> None:
    """Send the package's messages to standard error, and to a file if one is given.

    Args:
        level: Lowest level on standard error. A file always gets ``INFO`` and above.
        file: Replaced if it exists.
    """
    # Pillow and pydicom warn about damaged and unusual images, which are reported one by one where they matter.
    warnings.filterwarnings("ignore", module=r"(PIL|pydicom)\.")
    logger = logging.getLogger("visiongate")
    logger.handlers.clear()
    logger.propagate = False
    logger.setLevel(min(logging.getLevelNamesMapping()[level], logging.INFO))
    console = logging.StreamHandler()
    console.setLevel(level)
    console.setFormatter(logging.Formatter(CONSOLE_FORMAT))
    logger.addHandler(console)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = logging.FileHandler(file, mode="w", encoding="utf-8")
        kept.setFormatter(logging.Formatter(FILE_FORMAT))
        logger.addHandler(kept)
