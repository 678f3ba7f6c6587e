"""``near_duplicates.csv``: the cluster of near-duplicates that a prepared image belongs to."""

import csv
from collections.abc import Iterable
from pathlib import Path

from visiongate.errors import DataError
from visiongate.records.files import write_csv

CLUSTERS_FILE = "near_duplicates.csv"
_COLUMNS = ("sha256", "cluster")


def write_clusters(directory: Path, clusters: Iterable[tuple[str, str]]) -> None:
    """Write ``near_duplicates.csv`` beside a prepared table, so that a new cluster changes no shard.

    Args:
        directory: The table's folder.
        clusters: The sha256 and the cluster's name of each image in a cluster.
    """
    rows = (dict(zip(_COLUMNS, pair, strict=True)) for pair in sorted(clusters))
    write_csv(directory / CLUSTERS_FILE, rows, _COLUMNS)


def read_clusters(directory: Path) -> dict[str, str]:
    """Read the cluster's name of each image in a cluster, by sha256.

    Raises:
        DataError: The file is missing.
    """
    path = directory / CLUSTERS_FILE
    if not path.exists():
        raise DataError(f"{path}: no such file; run `dvc repro` or `dvc pull`")
    with path.open(encoding="utf-8", newline="") as file:
        return {row["sha256"]: row["cluster"] for row in csv.DictReader(file)}
