"""``near_duplicates.csv``: the cluster of near-duplicates that a prepared image belongs to."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from visiongate.records.files import read_output, write_csv

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
    text = read_output(directory / CLUSTERS_FILE).decode()
    return {row["sha256"]: row["cluster"] for row in csv.DictReader(io.StringIO(text, newline=""))}
