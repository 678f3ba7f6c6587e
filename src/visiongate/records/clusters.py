"""``near_duplicates.csv``: the cluster of near-duplicates that a prepared image of the source belongs to.

``near_collected.csv`` has the clusters with collected images, and all their members. The two are separate, because collected
images must not change which images of the source belong together.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from visiongate.records.files import read_output, write_csv

CLUSTERS_FILE = "near_duplicates.csv"
NEAR_COLLECTED_FILE = "near_collected.csv"
_COLUMNS = ("sha256", "cluster")


def write_clusters(directory: Path, clusters: Iterable[tuple[str, str]], file: str = CLUSTERS_FILE) -> None:
    """Write the clusters beside a prepared table, so that a new cluster changes no shard.

    Args:
        directory: The table's folder.
        clusters: The sha256 and the cluster's name of each image in a cluster.
        file: The name of the file.
    """
    rows = (dict(zip(_COLUMNS, pair, strict=True)) for pair in sorted(clusters))
    write_csv(directory / file, rows, _COLUMNS)


def read_clusters(directory: Path, file: str = CLUSTERS_FILE) -> dict[str, str]:
    """Read the cluster's name of each image in a cluster, by sha256.

    Raises:
        DataError: The file is missing.
    """
    text = read_output(directory / file).decode()
    return {row["sha256"]: row["cluster"] for row in csv.DictReader(io.StringIO(text, newline=""))}
