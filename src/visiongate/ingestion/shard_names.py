"""The splits that the names of shards give, such as ``data/train-00000-of-00002.parquet`` and ``train/0001.parquet``."""

import posixpath
import re
from collections.abc import Sequence

from visiongate.errors import DataError
from visiongate.ingestion.setting_advice import advise_on_exclusion, advise_on_splits
from visiongate.ingestion.split_names import recognize_splits
from visiongate.ingestion.table_columns import name_split
from visiongate.settings.dataset import Dataset
from visiongate.text_tables import join_first

# The number at the end of a shard's name, and how many there are.
NUMBER = re.compile(r"[-_.]?\d+(-of-\d+)?$")
MAX_LISTED = 3


def find_shard_splits(source: str, shards: Sequence[str], dataset: Dataset) -> dict[str, str | None]:
    """Return the split of each shard, or None for all if no name gives one.

    Args:
        source: The name of the source, for messages.
        shards: Paths without extension.
        dataset: The settings.

    Raises:
        DataError: Some names give a split, others do not, or the shards are those of several data sets.
    """
    names = {shard: NUMBER.sub("", posixpath.basename(shard)) for shard in shards}
    if dataset.splits == {}:
        return dict.fromkeys(shards)
    common = recognize_splits(sorted({*filter(None, names.values())}))
    found = {shard: common.get(name) or _find_split(shard, name, dataset) for shard, name in names.items()}
    others = sorted({names[shard] or shard for shard, split in found.items() if split is None})
    if others and any(found.values()):
        raise DataError(
            f"{source}: the names of some shards give a split, but not {join_first(others, MAX_LISTED)}; give them one: "
            f"{advise_on_splits(others, dataset)}; or leave them out with dataset.exclude; or ignore all splits: "
            "dataset.splits={}"
        )
    _check_folders(source, shards, dataset)
    return found


def _find_split(shard: str, name: str, dataset: Dataset) -> str | None:
    folders = shard.split("/")[-2::-1]
    return next(filter(None, (name_split(each, dataset) for each in (name, *folders))), None)


def _check_folders(source: str, shards: Sequence[str], dataset: Dataset) -> None:
    """Refuse shards in several folders that are no splits, such as the configurations of a data set."""
    folders = {
        "/".join(folder for folder in shard.split("/")[:-1] if not name_split(folder, dataset))
        for shard in shards
    }
    if len(folders) > 1:
        listed = sorted(folders)
        exclusion = advise_on_exclusion(list(filter(None, listed[1:])), dataset)
        raise DataError(
            f"{source}: the shards lie in {len(folders)} folders: {join_first((each or '.' for each in listed), MAX_LISTED)}; "
            f"if these are several data sets, keep one: {exclusion}; otherwise move the shards into one folder"
        )
