import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visiongate.config import Split, Transformation
from visiongate.data.pixels import (
    Row,
    Transform,
    channel_statistics,
    load_split,
    read_manifest,
    read_transform,
    write_splits,
    write_transform,
)
from visiongate.errors import DataError

SETTINGS = Transformation(
    size=4, mode="RGB", resize="stretch", split=Split(train=0.7, val=0.15, test=0.15, seed=0)
)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def row(split: str, place: int, label: int = 0) -> Row:
    return Row(split, place, label, f"{split}/{place}.png", "0" * 64, None)


def test_images_go_to_their_place_in_their_split(tmp_path: Path) -> None:
    rows = [row("train", 0, 1), row("test", 0, 2), row("train", 1, 3), row("val", 0, 4)]
    write_splits(tmp_path, rows, [png(10), png(20), png(30), png(40)], SETTINGS)
    train = load_split(tmp_path, "train")
    assert train.images.dtype == np.uint8
    assert train.images.shape == (2, 4, 4, 3)
    assert [image[0, 0, 0] for image in train.images] == [10, 30]
    assert train.labels.tolist() == [1, 3]
    assert read_manifest(tmp_path, "test").column("path").to_pylist() == ["test/0.png"]


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_splits(folder, [row("train", 0)], [png(5)], SETTINGS)
        contents.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert contents[0] == contents[1]


def test_an_image_that_cannot_be_decoded_is_named_and_leaves_no_array(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train/0\.png: not an image of a known format"):
        write_splits(tmp_path, [row("train", 0)], [b"text"], SETTINGS)
    assert not list(tmp_path.iterdir())


def test_channel_statistics_are_those_of_numpy() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    mean, std = channel_statistics(images, chunk=7)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)))


def test_images_of_one_colour_are_refused() -> None:
    with pytest.raises(DataError, match="one colour"):
        channel_statistics(np.full((3, 4, 4, 1), 128, np.uint8))


def test_a_transform_survives_the_file(tmp_path: Path) -> None:
    transform = Transform(4, "RGB", "stretch", [0.1, 0.2, 0.3], [0.4, 0.5, 0.6], ["a", "b"])
    write_transform(tmp_path, transform)
    assert read_transform(tmp_path) == transform
    assert transform.input_shape == (4, 4, 3)
