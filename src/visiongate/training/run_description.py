"""What a training run was, as MLflow shows it: its settings and its images."""

from pathlib import Path

from visiongate.images.pixels import load_split
from visiongate.records.splits import SPLITS
from visiongate.records.transform import read_transform
from visiongate.training.fingerprint import data_sha256


def describe_run(directory: Path) -> dict[str, dict[str, object]]:
    """Return the parameters of a run besides its settings.

    Args:
        directory: The folder of the pixel arrays.

    Raises:
        DataError: A file of the pixel arrays is missing or invalid.
    """
    transform = read_transform(directory)
    counts = {name: len(load_split(directory, name).labels) for name in SPLITS}
    is_split = transform.protocol == "holdout"
    return {
        "data": {
            "sha256": data_sha256(directory),
            "size": transform.size,
            "mode": transform.mode,
            "protocol": transform.protocol,
            "folds": transform.folds,
            "images": counts if is_split else sum(counts.values()),
        }
    }
