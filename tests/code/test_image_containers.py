"""Files of many images: Parquet, NumPy's arrays and WebDataset's tars, and their errors."""

import io
import json
import resource
import tarfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from source_trees import dataset, placed, refusal, rows, tree
from visiongate.errors import DataError
from visiongate.ingestion.fetching import DownloadOptions
from visiongate.ingestion.inspection import inspect_source
from visiongate.ingestion.layouts import find_images
from visiongate.ingestion.source import Source, SourceImage
from visiongate.ingestion.trees import open_tree
from visiongate.settings.dataset import LabelTable

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(**changes: object) -> LabelTable:
    return dataset().table.model_copy(update=changes)


def limits(**changes: int) -> Any:  # noqa: ANN401 - a part of the settings
    return dataset().limits.model_copy(update=changes)


def read(path: Path, **changes: object) -> tuple[Source, list[SourceImage]]:
    settings = dataset(**changes)
    with open_tree(path, settings) as found:
        source = find_images(found, settings)
        return source, rows(source)


def problem(path: Path, **changes: object) -> str:
    with pytest.raises(DataError) as error:
        read(path, **changes)
    return str(error.value)


# Parquet


def features(**names: list[str]) -> dict[bytes, bytes]:
    """Return Hugging Face's metadata of columns with named labels."""
    labels = {name: {"names": each, "_type": "ClassLabel"} for name, each in names.items()}
    return {b"huggingface": json.dumps({"info": {"features": labels}}).encode()}


def shard(
    start: int = 0,
    count: int = 4,
    names: Mapping[str, list[str]] | None = None,
    **columns: list[Any],
) -> bytes:
    """Return a file with images, named by their number, and the labels 0, 1, 0, 1, … unless there are other columns."""
    images = [{"bytes": b"image %d" % index, "path": f"{index}.jpg"} for index in range(start, start + count)]
    labels = {} if columns else {"label": [index % 2 for index in range(count)]}
    content = pa.table({"image": pa.array(images, STRUCT), **labels, **columns})
    named = {"label": ["dog", "cat"]} if names is None else names
    buffer = io.BytesIO()
    pq.write_table(content.replace_schema_metadata(features(**named)), buffer, row_group_size=3)
    return buffer.getvalue()


def test_shards_of_hugging_face_give_images_names_and_splits() -> None:
    files = {
        "data/train-00000-of-00002.parquet": shard(0),
        "data/train-00001-of-00002.parquet": shard(4),
        "data/validation-00000-of-00001.parquet": shard(8, 2),
        "README.md": b"",
    }
    source = find_images(tree(files), dataset())
    assert source.classes == ["dog", "cat"]
    assert source.layout == "2 classes × 2 given splits (train, val); images in 3 Parquet files"
    assert source.ignored == {"not a Parquet file of images": 1}
    found = rows(source)
    assert [image.image for image in found] == [b"image %d" % index for index in range(10)]
    assert found[5] == SourceImage(b"image 5", "cat", "data/train-00001-of-00002/0000001-5.jpg", "train")
    assert find_images(tree(files), dataset(classes=["cat", "dog"])).classes == ["cat", "dog"]
    assert {image.split for image in rows(find_images(tree(files), dataset(splits={})))} == {None}


def test_a_single_file_of_bytes_and_texts_is_read(tmp_path: Path) -> None:
    content = pa.table(
        {"img": [b"1", b"2", b"3", None], "species": ["a", "b", None, "a"], "patient": ["p", "q", "r", "p"]}
    )
    pq.write_table(content, tmp_path / "pets.parquet")
    source, found = read(tmp_path / "pets.parquet")
    assert [(image.path, image.image, image.label, image.group) for image in found] == [
        ("pets/0000000", b"1", "a", "p"),
        ("pets/0000001", b"2", "b", "q"),
        ("pets/0000003", b"", "a", "p"),
    ]
    assert source.ignored == {"without a label": 1}
    assert "image: img; label: species; group: patient (guessed" in source.warnings[0]


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (("default/train/0000.parquet", "default/test/0000.parquet"), {"train", "test"}),
        (("train.parquet", "test.parquet"), {"train", "test"}),
        (("pets-train-0.parquet", "pets-val-0.parquet"), {"train", "val"}),
        (("0000.parquet", "0001.parquet"), {None}),
    ],
)
def test_names_of_shards_give_the_splits(paths: tuple[str, ...], splits: set[str | None]) -> None:
    found = rows(find_images(tree({path: shard(index * 4) for index, path in enumerate(paths)}), dataset()))
    assert {image.split for image in found} == splits


def test_shards_with_and_without_a_split_need_a_setting() -> None:
    files = {"train-0.parquet": shard(0), "extra-0.parquet": shard(4)}
    assert "'dataset.splits={extra: train}'" in refusal(tree(files))
    found = rows(find_images(tree(files), dataset(splits={"extra": "test"})))
    assert {image.split for image in found} == {"train", "test"}
    several = {f"{name}/train-0.parquet": shard() for name in ("large", "small")}
    assert "\"dataset.exclude=['small/*']\"" in refusal(tree(several))


def test_a_column_of_splits_is_read_if_it_is_chosen() -> None:
    content = shard(label=[0, 1, 0, 1], part=["train", "train", "test", "later"])
    message = refusal(tree({"a.parquet": content}), table=table(split="part"))
    assert "'later' in column 'part' is no split" in message
    found = find_images(
        tree({"a.parquet": content}), dataset(table=table(split="part"), splits={"later": "val"})
    )
    assert [image.split for image in rows(found)] == ["train", "train", "test", "val"]


def test_several_columns_of_labels_need_a_choice() -> None:
    names = {"fine_label": ["ox", "ax"], "coarse_label": ["tool", "animal"]}
    files = {"a.parquet": shard(names=names, fine_label=[0, 1, 0, 1], coarse_label=[1, 0, 1, 0])}
    assert "several columns may be that of the labels: fine_label, coarse_label" in refusal(tree(files))
    source = find_images(tree(files), dataset(table=table(label="coarse_label")))
    assert [label for _, _, label in placed(source)] == ["animal", "tool"] * 2


def test_hidden_and_unknown_labels_are_found() -> None:
    source = find_images(tree({"a.parquet": shard(label=[0, 1, -1, None])}), dataset())
    assert source.ignored == {"without a label": 2}
    assert len(rows(source)) == 2
    assert "label 7 in column 'label' has no name: there are 2" in refusal(
        tree({"a.parquet": shard(label=[0, 1, 7, 1])})
    )
    numbers = find_images(tree({"a.parquet": shard(names={}, label=[10, 2, 10, 2])}), dataset())
    assert numbers.classes == ["2", "10"]


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        ({"a.parquet": shard()[:-20]}, {}, "a.parquet: damaged: "),
        ({"a.parquet": shard(kind=["dog"] * 4, names={}).replace(b"dog", b"d\xffg")}, {}, "a.parquet: damaged: 'utf-8'"),
        ({"a.parquet": shard(label=[[0], [1], [0], [1]])}, {"table": table(label="label")}, "'label' holds lists"),
        ({"a.parquet": shard(age=[1, 2, 3, 4], size=[1, 2, 3, 4])}, {}, "choose one of age, size"),
        ({"a.parquet": shard()}, {"table": table(image="label")}, "column 'label' holds no images; those of images are image"),
        ({"a.parquet": shard()}, {"table": table(label="kind")}, "no column 'kind'"),
        ({"a.parquet": shard()}, {"table": table(label=["label", "x"])}, "no column 'x'"),
        ({"a.parquet": shard(a=[0] * 4, b=[1] * 4)}, {"table": table(label=["a", "b"])}, "names several columns"),
        ({"a.parquet": shard(), "b.parquet": shard(4, names={}, kind=[1] * 4)}, {}, "b.parquet: no column 'label'"),
        ({"a.parquet": shard()}, {"limits": limits(max_file_bytes=3)}, "row 0: 7 bytes in an image"),
        ({"a.parquet": shard()}, {"limits": limits(max_total_bytes=30)}, "dataset.limits.max_total_bytes"),
        ({"a.parquet": shard(), "b.parquet": shard(4)}, {"limits": limits(max_files=5)}, "8 images, more than"),
    ],
)  # fmt: skip
def test_parquet_files_that_cannot_be_read_are_named(
    files: dict[str, bytes], changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(tree(files), **changes)


@pytest.mark.parametrize("extra", [{}, {"patient": ["a", "b", "c", "d"]}])
def test_paths_of_rows_give_groups_and_exclude(extra: dict[str, list[Any]]) -> None:
    content = shard(label=[0, 1, 0, 1], **extra)
    settings = dataset(group=r"(\d)\.jpg", exclude=["*/0000003-*"])
    source = find_images(tree({"a.parquet": content}), settings)
    assert [image.group for image in rows(source)] == ["0", "1", "2"]
    assert source.ignored == {"excluded": 1}


def test_a_path_instead_of_an_image_is_refused() -> None:
    images = pa.array([{"bytes": None, "path": "/etc/passwd"}] * 2, STRUCT)
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": images, "label": ["a", "b"]}), buffer)
    message = refusal(tree({"a.parquet": buffer.getvalue()}))
    assert "row 0 has the path '/etc/passwd' instead of an image" in message


def test_files_of_features_beside_images_are_ignored() -> None:
    files = {"a/1.jpg": b"", "b/2.jpg": b"", "features.parquet": shard(), "x.npz": b"no array"}
    source = find_images(tree(files), dataset())
    assert source.classes == ["a", "b"]


# NumPy's arrays

GENERATOR = np.random.default_rng(0)
GRAY = GENERATOR.integers(0, 256, (6, 9, 8), dtype=np.uint8)
COLOR = GENERATOR.integers(0, 256, (4, 9, 8, 3), dtype=np.uint8)
LABELS = np.array([[0], [1], [10], [0], [1], [10]], np.uint8)


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def test_arrays_of_medmnist_give_images_and_splits(tmp_path: Path) -> None:
    content = npz(
        train_images=GRAY, train_labels=LABELS, val_images=GRAY[:3], val_labels=LABELS[:3],
        test_images=GRAY[3:], test_labels=LABELS[3:],
    )  # fmt: skip
    (tmp_path / "organmnist.npz").write_bytes(content)
    source, found = read(tmp_path / "organmnist.npz")
    assert source.classes == ["0", "1", "10"]
    assert source.layout == "3 classes × 3 given splits (train, val, test); arrays in organmnist.npz"
    assert Counter(image.split for image in found) == {"train": 6, "val": 3, "test": 3}
    assert found[4].path == "train/0000001.png"
    assert found[4].label == "1"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found[4].image))), GRAY[1])
    (tmp_path / "labels.txt").write_text("")
    folder, again = read(tmp_path)
    assert again == found
    assert folder.ignored == {"not an array of images": 1}


@pytest.mark.parametrize(
    ("arrays", "changes", "expected"),
    [
        ({"images": COLOR, "labels": np.array(["b", "a", "b", "a"])}, {}, ["b", "a", "b", "a"]),
        ({"x_train": COLOR, "y_train": np.array([0, 1, 1, 0])}, {"classes": ["no", "yes"]}, ["no", "yes", "yes", "no"]),
        ({"images": GRAY[:4, ..., None], "labels": np.array([1, 0, 1, 0])}, {}, ["1", "0", "1", "0"]),
    ],
)  # fmt: skip
def test_other_arrays_are_read(
    arrays: dict[str, np.ndarray], changes: dict[str, Any], expected: list[str]
) -> None:
    found = rows(find_images(tree({"a.npz": npz(**arrays)}), dataset(**changes)))
    assert [image.label for image in found] == expected
    pixels = next(each for name, each in arrays.items() if each.dtype == np.uint8)
    for image, wanted in zip(found, pixels, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image.image))), wanted.squeeze())


ONES = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        ({"train_images": GRAY}, {}, "train_images without train_labels; add the labels"),
        ({"images": GRAY / 255, "labels": LABELS}, {}, "images: float64; save pixels from 0 to 255 as uint8"),
        ({"images": np.asfortranarray(GRAY), "labels": LABELS}, {}, "uint8 in Fortran's order"),
        ({"images": np.zeros((4, 9, 9, 9), np.uint8), "labels": ONES}, {}, "shape 4×9×9×9 is not N×H×W or N×H×W×3: volumes"),
        ({"images": np.zeros((4, 0, 9), np.uint8), "labels": ONES}, {}, "shape 4×0×9"),
        ({"images": GRAY[:4], "labels": np.eye(4, 14, dtype=np.uint8)}, {}, "labels: 14 labels per image"),
        ({"images": GRAY, "labels": ONES}, {}, "labels: 4 values of type int64 for 6 images"),
        ({"images": GRAY[:4], "labels": ONES / 2}, {}, "4 values of type float64"),
        ({"images": GRAY[:4], "labels": np.array(["a", {}, "b", ()], object)}, {}, "values of type object"),
        ({"images": GRAY[:4], "labels": ONES}, {"limits": limits(max_file_bytes=71)}, "72 bytes in an image"),
        ({"images": GRAY[:4], "labels": ONES}, {"limits": limits(max_files=3)}, "4 images, more than"),
        ({"images": GRAY[:4], "labels": ONES}, {"limits": limits(max_total_bytes=99)}, "dataset.limits.max_total_bytes"),
        ({"images": GRAY[:4], "labels": ONES}, {"classes": ["a"]}, "1 label is not among dataset.classes"),
        ({"images": GRAY[:2], "labels": ONES[:1].repeat(2)}, {}, "'0' is the only label"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_labeled_images_are_refused(
    arrays: dict[str, np.ndarray], changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(tree({"a.npz": npz(**arrays)}), **changes)


def test_an_image_of_an_array_may_be_excluded() -> None:
    found = tree({"a.npz": npz(images=GRAY[:4], labels=np.array([0, 1, 2, 1]))})
    source = find_images(found, dataset(exclude=["images/0000002.png"]))
    assert [image.path[-5] for image in rows(source)] == ["0", "1", "3"]
    assert source.ignored == {"excluded": 1}
    assert source.classes == ["0", "1"]


def test_damaged_or_several_files_of_arrays_are_refused() -> None:
    content = npz(images=COLOR, labels=ONES)
    assert "a.npz cannot be read" in refusal(tree({"a.npz": content[:-30]}))
    changed = bytearray(content)
    changed[200] ^= 0xFF
    assert "cannot be read" in refusal(tree({"a.npz": bytes(changed)}))
    message = refusal(tree({"a.npz": content, "b.npz": content}))
    assert "\"dataset.exclude=['b.npz']\"" in message
    buffer = io.BytesIO()
    np.savez(buffer, images=COLOR[:2], labels=ONES)
    short = buffer.getvalue().replace(b"(2, 9, 8, 3)", b"(4, 9, 8, 3)")
    assert "cannot be read" in refusal(tree({"a.npz": short}))


# WebDataset


def samples(start: int, count: int, **fields: list[Any]) -> dict[str, bytes]:
    """Return images with fields, by name in the archive."""
    files = {f"{index:06d}.jpg": b"image %d" % index for index in range(start, start + count)}
    for field, values in fields.items():
        for index, value in zip(range(start, start + count), values, strict=True):
            text = value if isinstance(value, str) else json.dumps(value)
            files[f"{index:06d}.{field.replace('_', '.')}"] = text.encode()
    return files


def tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_shards_give_images_labels_and_splits(tmp_path: Path) -> None:
    tar(tmp_path / "w" / "train-000000.tar", samples(0, 4, cls=["0", "1", "0", "1"]))
    tar(tmp_path / "w" / "train-000001.tar", samples(4, 2, cls=["1\n", "0"]))
    tar(tmp_path / "w" / "val-000000.tar", samples(6, 2, cls=["1", "0"]) | {"README.md": b""})
    source, found = read(tmp_path / "w", classes=["cat", "dog"])
    assert source.classes == ["cat", "dog"]
    assert (
        source.layout == "2 classes × 2 given splits (train, val); samples of WebDataset with labels in cls"
    )
    assert source.ignored == {"not in a sample with an image": 1}
    assert found[4] == SourceImage(b"image 4", "dog", "train-000001/000004.jpg", "train")
    assert [image.split for image in found] == ["train"] * 6 + ["val"] * 2


def test_shards_are_read_from_an_address(tmp_path: Path) -> None:
    for name, start in (("train-0", 0), ("test-0", 4)):
        tar(tmp_path / "w" / f"{name}.tar", samples(start, 4, cls=["a", "b"] * 2))
    settings = dataset(name="w", path="conf/dataset/w.yaml", url=f"file://{tmp_path}/w/", files={})
    found = inspect_source(settings, DownloadOptions(tmp_path / "downloads", None, 10**9))
    assert found.images == {(label, split): 2 for label in "ab" for split in ("train", "test")}


def test_more_shards_are_read_than_a_process_may_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(file.name) for file in Path("/dev/fd").iterdir())
    for index in range(12):
        tar(tmp_path / "w" / f"{index:02d}.tar", samples(2 * index, 2, cls=["a", "b"]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 9, hard))
    try:
        assert len(read(tmp_path / "w")[1]) == 24
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_single_shard_and_an_extracted_one_are_read(tmp_path: Path) -> None:
    files = samples(0, 4, cls=["cat", "dog", "cat", "dog"])
    path = tar(tmp_path / "pets.tar", files)
    assert [image.label for image in read(path)[1]] == ["cat", "dog"] * 2
    assert [label for _, _, label in placed(find_images(tree(files), dataset()))] == ["cat", "dog"] * 2


def test_labels_are_keys_or_texts(tmp_path: Path) -> None:
    objects = [{"label": index % 2, "patient": f"p{index}", "box": [1]} for index in range(4)]
    path = tar(tmp_path / "a.tar", samples(0, 4, json=objects, txt=["a photo"] * 4))
    source, found = read(path)
    assert [(image.label, image.group) for image in found] == [
        (str(index % 2), f"p{index}") for index in range(4)
    ]
    assert "the labels are in label, the groups in patient; dataset.table.label" in source.warnings[0]
    kinds = [
        {"kind": name, "size": 3, "part": part}
        for name, part in zip("abab", ("train", "test") * 2, strict=True)
    ]
    path = tar(tmp_path / "b.tar", samples(0, 4, json=kinds))
    assert "choose one of kind, size, part" in problem(path)
    _, found = read(path, table=table(label="kind", split="part"))
    assert [(image.label, image.split) for image in found] == [("a", "train"), ("b", "test")] * 2
    path = tar(tmp_path / "c.tar", samples(0, 4, txt=["cat", "dog", "cat", "dog\n"]))
    assert [image.label for image in read(path)[1]] == ["cat", "dog"] * 2
    assert [image.label for image in read(path, table=table(label="txt"))[1]] == ["cat", "dog"] * 2


def test_captions_are_no_labels(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", samples(0, 30, txt=[f"photo {index}" for index in range(30)]))
    assert "30 different texts for 30 images, such as 'photo 0': captions and no labels" in problem(path)


def test_a_sample_has_one_image(tmp_path: Path) -> None:
    files = samples(0, 4, cls=["a", "b", "a", "b"], seg_png=["mask"] * 4)
    assert [image.path for image in read(tar(tmp_path / "a.tar", files))[1]] == [
        f"{index:06d}.jpg" for index in range(4)
    ]
    path = tar(tmp_path / "b.tar", files | {"000000.png": b"another"})
    assert "the sample has several images: jpg, png" in problem(path)
    assert read(path, table=table(image="png"))[1][0].image == b"another"


def test_samples_without_a_label_are_left_out(tmp_path: Path) -> None:
    files = samples(0, 4, cls=["a", "b", "a", ""])
    del files["000000.cls"]
    source, found = read(tar(tmp_path / "a.tar", files))
    assert len(found) == 2
    assert source.ignored == {"without a label": 2}
    assert "left out 2 images without a label, such as 000000.jpg, 000003.jpg" in source.warnings
    assert "not a JSON object" in problem(tar(tmp_path / "b.tar", samples(0, 4, json=["{"] * 4)))


def test_notes_beside_class_folders_are_no_samples(tmp_path: Path) -> None:
    files = {
        f"{name}/{index}.{field}": b"x"
        for name in "ab"
        for index in range(2)
        for field in ("jpg", "json", "txt")
    }
    source, _ = read(tar(tmp_path / "a.tar", files))
    assert source.classes == ["a", "b"]
