"""The ingestion and transformation stages, run in this process on a handful of images."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visiongate import paths
from visiongate.errors import DataError
from visiongate.images.folds import load_folds
from visiongate.images.integrity import check_arrays
from visiongate.images.pixels import load_split
from visiongate.images.table import iterate_images, read_table, write_shards
from visiongate.ingestion import stage as ingestion
from visiongate.records.clusters import write_clusters
from visiongate.records.collected import change_collected
from visiongate.records.conversion import ChosenConversion, Conversion, write_conversion
from visiongate.records.dataset import read_dataset, write_dataset
from visiongate.records.splits import SPLITS
from visiongate.settings.loading import load_settings
from visiongate.settings.schema import Settings
from visiongate.transformation import stage as transformation

ROOT = Path(__file__).parents[2]
OWN_FILE = "conf/dataset/folder.yaml"
CLASSES = {"cat": 60, "dog": 180}


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv(ingestion.MIRROR, raising=False)
    monkeypatch.chdir(tmp_path)
    change_collected(paths.COLLECTED)
    return None


def settings(**dataset: Any) -> Settings:  # noqa: ANN401 - any setting
    loaded = load_settings(ROOT / "params.yaml")
    changes = {"name": "folder", "path": OWN_FILE, "url": None, "files": {}, "classes": None, "limit": None}
    section = loaded.dataset.model_copy(update=changes | dataset)
    return loaded.model_copy(update={"dataset": section})


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (9, 8), level).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(folder: Path) -> Path:
    for index in range(40):
        name = ("cat", "dog")[index % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{index:02d}.png").write_bytes(png(CLASSES[name] + index))
    (folder / "readme.txt").write_text("above the classes")
    return folder


def zip_folder(folder: Path) -> Path:
    with zipfile.ZipFile("set.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    return Path("set.zip")


def test_a_folder_becomes_an_image_table() -> None:
    ingestion.run(settings(path=str(write_folder(Path("mine")))))
    dataset, table = read_dataset(paths.RAW), read_table(paths.RAW)
    assert (dataset.classes, dataset.images, dataset.source) == (["cat", "dog"], 40, "mine")
    assert dataset.ignored == {"not an image: .txt": 1}
    assert dataset.layout == "2 classes; root mine"
    assert dataset.source_sha256 == dataset.content_sha256
    assert table.column("path").to_pylist()[0] == "cat/00.png"
    assert next(iterate_images(paths.RAW)) == png(60)


@pytest.mark.parametrize("source", ["path", "url", "folder", "mirror"])
def test_an_archive_or_a_url_gives_the_same_images(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(Path("mine")).resolve()
    archive = zip_folder(folder).resolve()
    if source == "mirror":
        monkeypatch.setenv(ingestion.MIRROR, str(archive.parent))
    urls = {
        "path": {"path": str(archive)},
        "url": {"url": archive.as_uri()},
        "folder": {"url": f"{folder.as_uri()}/"},
        "mirror": {"url": "https://example.org/set.zip"},
    }
    ingestion.run(settings(**urls[source]))
    assert read_dataset(paths.RAW).images == 40
    assert next(iterate_images(paths.RAW)) == png(60)


def test_a_limit_takes_images_at_regular_intervals() -> None:
    ingestion.run(settings(path=str(write_folder(Path("mine"))), limit=10))
    table = read_table(paths.RAW, ["label"]).column("label").to_pylist()
    assert (table.count("cat"), table.count("dog")) == (5, 5)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, "dataset.path"),
        ({"path": "missing"}, "dataset.path"),
        ({"url": "embedded://unknown"}, "embedded://digits"),
    ],
)
def test_a_missing_source_names_the_setting(changes: dict[str, str], key: str) -> None:
    with pytest.raises(DataError, match=key):
        ingestion.run(settings(**changes))


def test_a_source_without_images_is_an_error() -> None:
    Path("empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        ingestion.run(settings(path="empty"))


def prepare(folder: Path) -> None:
    """Prepare all images of a folder."""
    ingestion.run(settings(path=str(folder)))
    write_shards(paths.PREPARED, read_table(paths.RAW).to_pylist())
    write_dataset(paths.PREPARED, read_dataset(paths.RAW))
    write_clusters(paths.PREPARED, [])
    write_conversion(paths.PREPARED, ChosenConversion(Conversion(12, "gray")))


def test_transformation_writes_arrays_and_transform(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    prepare(write_folder(Path("mine")))
    transformation.run(with_protocol("holdout"))
    transform = check_arrays(paths.TRANSFORMED)
    splits = [load_split(paths.TRANSFORMED, split) for split in SPLITS]
    assert sum(len(split.images) for split in splits) == 40
    assert splits[0].images.shape[1:] == transform.input_shape
    assert (transform.classes, transform.protocol, transform.folds) == (["cat", "dog"], "holdout", None)
    assert (transform.depth, transform.background) == (12, "gray")
    assert caplog.messages[-1].splitlines() == [
        "40 images, protocol holdout, method stratified",
        "class          train  val  test",
        "cat            16     2    2",
        "dog            16     2    2",
        "all 2 classes  32     4    4",
    ]


def test_few_images_are_divided_into_folds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    prepare(write_folder(Path("mine")))
    transformation.run(with_protocol("auto"))
    transform = check_arrays(paths.TRANSFORMED)
    assert (transform.protocol, transform.folds) == ("cross_validation", 5)
    folded = load_folds(paths.TRANSFORMED)
    for fold in folded:
        numbers = [np.bincount(folded.split(fold, split).labels).tolist() for split in SPLITS]
        assert numbers == [[12, 12], [4, 4], [4, 4]]
    assert "protocol cross_validation, method kfold\nclass          fold 0" in caplog.text


def test_small_classes_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(Path("mine"))
    for number in range(13):
        (folder / "dog" / f"{2 * number + 1:02d}.png").unlink()
    prepare(folder)
    transformation.run(with_protocol("auto"))
    assert "1 of 2 classes have fewer than 10 images, such as 'dog' (7): " in caplog.text


def with_protocol(protocol: str) -> Settings:
    evaluation = settings().evaluation.model_copy(update={"protocol": protocol})
    return settings().model_copy(update={"evaluation": evaluation})


@pytest.mark.parametrize(
    ("pattern", "count"), [(r"(0)\d\.png", 30), (r"pet(\d+)", 40), (r"/(\d)", 0), (None, 0)]
)
def test_an_expression_that_finds_no_group_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pattern: str | None, count: int
) -> None:
    ingestion.run(settings(url=str(write_folder(tmp_path / "photos")), group=pattern))

    assert (f"finds no group in {count} of 40 paths, such as " in caplog.text) == (count > 0)
