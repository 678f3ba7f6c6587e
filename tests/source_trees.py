"""Sources of images for the tests of ingestion: trees in memory, and what is read from them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from visiongate.errors import DataError
from visiongate.ingestion.layouts import find_images
from visiongate.ingestion.source import Source, SourceImage
from visiongate.ingestion.trees import Tree
from visiongate.settings.dataset import Dataset
from visiongate.settings.loading import load_settings

ROOT = Path(__file__).parents[1]


def dataset(**changes: Any) -> Dataset:  # noqa: ANN401 - whatever the settings take
    known = load_settings(ROOT / "params.yaml").dataset
    return known.model_copy(update={"classes": None, "splits": None, **changes})


def tree(files: dict[str, bytes]) -> Tree:
    return Tree("tried", sorted(files), files.__getitem__, Counter())


def of_paths(*paths: str) -> Tree:
    return tree({path: path.encode() for path in paths})


def rows(source: Source) -> list[SourceImage]:
    found = list(source.read())
    assert len(found) == source.images
    assert Counter((image.label, image.split) for image in found) == source.counts
    assert [image.path for image in found] == sorted({image.path for image in found})
    return found


def placed(source: Source) -> list[tuple[str, str | None, str]]:
    return [(image.path, image.split, image.label) for image in rows(source)]


def refusal(found: Tree, **changes: object) -> str:
    with pytest.raises(DataError) as error:
        rows(find_images(found, dataset(**changes)))
    return str(error.value)
