"""Layouts: class folders, MNIST's IDX files, CIFAR-10's batches, and their errors."""

import gzip
import io
import struct
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from visiongate.errors import DataError
from visiongate.ingestion.embedded import open_digits
from visiongate.ingestion.layouts import find_images
from visiongate.ingestion.source import Source, SourceImage
from visiongate.ingestion.trees import Tree, open_tree
from visiongate.settings.dataset import Dataset
from visiongate.settings.loading import load_settings

ROOT = Path(__file__).parents[2]
SPLITS = {"train": "train", "val": "val", "test": "test"}


def dataset(**changes: Any) -> Dataset:  # noqa: ANN401 - whatever the settings take
    known = load_settings(ROOT / "params.yaml").dataset
    return known.model_copy(update={"classes": None, "splits": SPLITS, **changes})


def tree(files: dict[str, bytes]) -> Tree:
    return Tree("tried", sorted(files), files.__getitem__, Counter())


def of_paths(*paths: str) -> Tree:
    return tree({path: path.encode() for path in paths})


def rows(source: Source) -> list[SourceImage]:
    found = list(source.read())
    assert len(found) == source.images
    assert [image.path for image in found] == sorted({image.path for image in found})
    return found


def placed(source: Source) -> list[tuple[str, str | None, str]]:
    return [(image.path, image.split, image.label) for image in rows(source)]


def refusal(found: Tree, **changes: object) -> str:
    with pytest.raises(DataError) as error:
        rows(find_images(found, dataset(**changes)))
    assert "\n" not in str(error.value)
    return str(error.value)


# Class folders


def test_a_folder_is_the_class_of_all_images_below() -> None:
    source = find_images(of_paths("dog/1.png", "cat/2.jpg", "cat/deep/er/3.txt"), dataset())
    assert source.classes == ["cat", "dog"]
    assert placed(source) == [
        ("cat/2.jpg", None, "cat"),
        ("cat/deep/er/3.txt", None, "cat"),
        ("dog/1.png", None, "dog"),
    ]
    assert rows(source)[0].image == b"cat/2.jpg"


def test_folders_above_the_classes_are_splits() -> None:
    source = find_images(of_paths("Train/dog/1", "Train/cat/2", "test/dog/3", "val/cat/x/4"), dataset())
    assert placed(source) == [
        ("Train/cat/2", "train", "cat"),
        ("Train/dog/1", "train", "dog"),
        ("test/dog/3", "test", "dog"),
        ("val/cat/x/4", "val", "cat"),
    ]


def test_two_folders_may_form_one_split() -> None:
    source = find_images(of_paths("train/a/1", "val/b/2"), dataset(splits={"train": "train", "val": "train"}))
    assert {split for _, split, _ in placed(source)} == {"train"}


@pytest.mark.parametrize("wrapper", ["set/", "set/images/v1/"])
def test_wrapping_folders_are_skipped(wrapper: str) -> None:
    source = find_images(of_paths(f"{wrapper}train/a/1", f"{wrapper}test/b/2", "README"), dataset())
    assert placed(source) == [(f"{wrapper}test/b/2", "test", "b"), (f"{wrapper}train/a/1", "train", "a")]
    assert source.ignored == {"above the classes": 1}


def test_files_above_the_classes_are_ignored_and_counted() -> None:
    source = find_images(of_paths("readme.txt", "train/labels.csv", "train/a/1", "train/b/2"), dataset())
    assert source.images == 2
    assert source.ignored == {"above the classes": 2}


def test_named_classes_keep_their_order() -> None:
    assert find_images(of_paths("a/1", "b/2"), dataset(classes=["b", "a"])).classes == ["b", "a"]


def test_a_single_split_or_class_is_not_a_wrapper() -> None:
    assert placed(find_images(of_paths("train/a/1", "train/b/1"), dataset()))[0] == (
        "train/a/1",
        "train",
        "a",
    )
    assert "'b'" in refusal(of_paths("a/x/1"), classes=["a", "b"])


def test_groups_are_read_from_the_paths() -> None:
    source = find_images(of_paths("a/person12_x.png", "b/other.png"), dataset(group=r"(person\d+)_"))
    assert [image.group for image in rows(source)] == ["person12", None]


@pytest.mark.parametrize(
    ("paths", "changes", "message"),
    [
        ((), {}, "tried: no image"),
        (("1.png", "2.png"), {}, "tried: no image"),
        (("a/1", "a/2"), {}, "only class"),
        (("a/1", "b/1", "c/1"), {"classes": ["a", "b"]}, "'c'"),
        (("a/1", "b/1"), {"classes": ["a", "b", "c"]}, "'c'"),
        (("train/a/1", "extra/b/1"), {}, "extra beside train"),
    ],
)
def test_invalid_class_folders_are_refused(
    paths: tuple[str, ...], changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(of_paths(*paths), **changes)


def test_a_named_class_may_be_called_train() -> None:
    source = find_images(of_paths("train/1", "car/2"), dataset(classes=["car", "train"]))
    assert placed(source) == [("car/2", None, "car"), ("train/1", None, "train")]


# IDX


def idx(values: np.ndarray, magic: int) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", magic, *values.shape) + values.tobytes()


def idx_files(*, train: int = 6, test: int = 3, suffix: str = "") -> dict[str, bytes]:
    generator = np.random.default_rng(0)
    files = {}
    for part, count in (("train", train), ("t10k", test)):
        images = generator.integers(0, 256, (count, 4, 5), dtype=np.uint8)
        labels = (np.arange(count) % 3).astype(np.uint8)
        files[f"{part}-images-idx3-ubyte{suffix}"] = idx(images, 0x803)
        files[f"{part}-labels-idx1-ubyte{suffix}"] = idx(labels, 0x801)
    return {name: gzip.compress(content) if suffix else content for name, content in files.items()}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_give_images_and_splits(suffix: str) -> None:
    files = idx_files(suffix=suffix)
    source = find_images(tree(files | {"LICENSE": b""}), dataset())
    assert source.classes == ["0", "1", "2"]
    assert source.ignored == {"not IDX": 1}
    assert placed(source)[2:4] == [("test/000002.png", "test", "2"), ("train/000000.png", "train", "0")]
    content = files[f"train-images-idx3-ubyte{suffix}"]
    pixels = np.frombuffer((gzip.decompress(content) if suffix else content)[16:], np.uint8).reshape(-1, 4, 5)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(rows(source)[3].image))), pixels[0])


def test_compressed_idx_files_in_a_zip_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mnist.zip", "w") as archive:
        for name, content in idx_files(suffix=".gz").items():
            archive.writestr(f"mnist/{name}", content)
    with open_tree(tmp_path / "mnist.zip", dataset().limits) as found:
        assert len(rows(find_images(found, dataset()))) == 9


def test_the_training_files_alone_suffice() -> None:
    files = {name: content for name, content in idx_files().items() if "train" in name}
    assert find_images(tree(files), dataset()).images == 6


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (IMAGES, b""),
        (IMAGES, idx(np.zeros((6, 4, 5), np.uint8), 0x801)),
        (IMAGES, idx(np.zeros((6, 4, 5), np.uint8), 0x803)[:-1]),
        (IMAGES, idx(np.zeros((6, 4, 5), np.uint8), 0x803) + b"x"),
        (IMAGES, struct.pack(">4I", 0x803, *[2**32 - 1] * 3)),
        (IMAGES, idx(np.zeros((6, 0, 5), np.uint8), 0x803)),
        (LABELS, idx(np.zeros(6, np.uint8), 0x803)),
    ],
)
def test_a_damaged_idx_file_is_named(name: str, content: bytes) -> None:
    assert name in refusal(tree(idx_files() | {name: content}))


def test_idx_files_need_as_many_labels_as_images() -> None:
    images = idx(np.zeros((5, 4, 5), np.uint8), 0x803)
    assert "5 images but 6 labels" in refusal(tree(idx_files() | {IMAGES: images}))


def test_a_missing_idx_file_is_named() -> None:
    files = idx_files()
    del files[LABELS]
    assert LABELS in refusal(tree(files))


def test_an_idx_label_without_a_class_is_refused() -> None:
    assert "label 2" in refusal(tree(idx_files()), classes=["a", "b"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "damaged"),
        (gzip.compress(b"x" * 100)[:-9], "truncated"),
        (gzip.compress(bytes(10**6)), "1,000"),
    ],
    # A compressed file holds the time of its creation, so the content cannot name the test.
    ids=["no-gzip", "truncated", "too-large"],
)
def test_a_damaged_compressed_idx_file_is_named(content: bytes, message: str) -> None:
    limits = dataset().limits.model_copy(update={"max_file_bytes": 1000})
    name = "train-labels-idx1-ubyte.gz"
    assert f"{name}: {message}" in refusal(
        tree(idx_files(suffix=".gz") | {name: content}), limits=limits
    ).replace("more than dataset.limits.max_file_bytes = ", "")


# CIFAR-10

NAMES = ["airplane", "cat", "ship"]
BATCH = "cifar-10-batches-bin/"


def cifar_files() -> dict[str, bytes]:
    generator = np.random.default_rng(0)
    files = {f"{BATCH}batches.meta.txt": "\n".join([*NAMES, ""]).encode(), f"{BATCH}readme.html": b""}
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        records = generator.integers(0, 256, (4, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(4) % 3
        files[BATCH + name] = records.tobytes()
    return files


def test_cifar_batches_give_images_and_splits() -> None:
    files = cifar_files()
    source = find_images(tree(files), dataset(classes=["ship", "cat", "airplane"]))
    assert source.classes == ["ship", "cat", "airplane"]
    assert source.ignored == {"not a batch": 2}
    found = placed(source)
    assert Counter(split for _, split, _ in found) == {"train": 8, "test": 4}
    assert found[4:6] == [("train/000000.png", "train", "airplane"), ("train/000001.png", "train", "cat")]
    planes = np.frombuffer(files[f"{BATCH}data_batch_1.bin"], np.uint8)[1:3073].reshape(3, 32, 32)
    pixels = np.asarray(Image.open(io.BytesIO(rows(source)[4].image)))
    np.testing.assert_array_equal(pixels, planes.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{BATCH}data_batch_1.bin": b"x" * 3072}, "data_batch_1.bin"),
        ({f"{BATCH}data_batch_1.bin": b""}, "data_batch_1.bin"),
        ({f"{BATCH}data_batch_1.bin": b"\x03" + bytes(3072)}, "label 3"),
        ({f"{BATCH}batches.meta.txt": b"cat\ndog\nfox"}, "cat, dog, fox"),
        ({f"{BATCH}batches.meta.txt": b"cat\ndog\ncat\n"}, "cat, dog, cat"),
    ],
)
def test_damaged_cifar_batches_are_named(changes: dict[str, bytes], message: str) -> None:
    assert message in refusal(tree(cifar_files() | changes), classes=NAMES)


def test_cifar_class_names_are_read_by_line() -> None:
    files = cifar_files() | {f"{BATCH}batches.meta.txt": b"pick-up truck\r\nhouse cat\n\nsail ship\n"}
    assert find_images(tree(files), dataset()).classes == ["pick-up truck", "house cat", "sail ship"]


def test_cifar_without_class_names_is_refused() -> None:
    files = cifar_files()
    del files[f"{BATCH}batches.meta.txt"]
    assert "batches.meta.txt" in refusal(tree(files))
    assert find_images(tree(files), dataset(classes=NAMES)).images == 12


def test_pickled_cifar_is_refused() -> None:
    paths = of_paths("cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/batches.meta")
    assert "cifar-10-binary.tar.gz" in refusal(paths)


# Digits


def test_the_digits_are_complete_and_in_order() -> None:
    images = rows(open_digits())
    digits = load_digits()
    assert len(images) == 1797
    assert [image.label for image in images] == [str(target) for target in digits.target]
    pixels = np.asarray(Image.open(io.BytesIO(images[5].image)))
    np.testing.assert_array_equal(pixels, np.rint(digits.images[5] * 255 / 16))
    assert images[5].path == "load_digits/0005.png"
    assert len({image.image for image in images}) == 1797
