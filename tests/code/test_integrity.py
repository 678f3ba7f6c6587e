"""Pixel arrays that contradict each other are found before a stage uses them, in one line with the file."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from folded_images import write_folds
from visiongate.errors import DataError
from visiongate.images.integrity import check_arrays
from workspaces import write_pixels

Damage = Callable[[Path], object]


def truncate(name: str, share: float = 0.5) -> Damage:
    return lambda folder: (folder / name).write_bytes(
        (content := (folder / name).read_bytes())[: int(share * len(content))]
    )


def edit_array(name: str, edit: Callable[[np.ndarray], np.ndarray]) -> Damage:
    return lambda folder: np.save(folder / name, edit(np.load(folder / name)))


def edit_transform(**values: object) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "transform.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return damage


def edit_manifest(edit: Callable[[pa.Table], pa.Table]) -> Damage:
    path = "manifest.parquet"
    return lambda folder: pq.write_table(edit(pq.read_table(folder / path)), folder / path)


def with_label(labels: np.ndarray, label: int) -> np.ndarray:
    labels[7] = label
    return labels


# What happens to the files, and what the message says after the folder.
DAMAGES: dict[str, tuple[Damage, str]] = {
    "truncated images": (truncate("train.npy"), r"train\.npy: damaged: "),
    "an empty file": (truncate("val.npy", 0), r"val\.npy: damaged: "),
    "no array": (lambda folder: (folder / "val.npy").write_bytes(b"PK text"), r"val\.npy: damaged: "),
    "truncated labels": (truncate("test_labels.npy"), r"test_labels\.npy: damaged: "),
    "no file": (
        lambda folder: (folder / "test.npy").unlink(),
        r"test\.npy: no such file; run `dvc repro` or `dvc pull`",
    ),
    "too few labels": (
        edit_array("train_labels.npy", lambda labels: labels[:-20]),
        r"train_labels\.npy: int64 140, but manifest\.parquet requires int64 160; ",
    ),
    "too few images": (
        edit_array("train.npy", lambda images: images[:-20]),
        r"train\.npy: uint8 140×8×8×1, but manifest\.parquet and transform\.json require uint8 160×8×8×1; ",
    ),
    "no images": (edit_array("val.npy", lambda images: images[:0]), r"val\.npy: uint8 0×8×8×1, "),
    "an unknown label": (
        edit_array("train_labels.npy", lambda labels: with_label(labels, 99)),
        r"train_labels\.npy: 1 of 160 labels, such as 99, are outside 0\.\.1; ",
    ),
    "a negative label": (
        edit_array("test_labels.npy", lambda labels: with_label(labels, -1)),
        r"test_labels\.npy: 1 of 60 labels, such as -1",
    ),
    "exchanged labels": (
        edit_array("test_labels.npy", lambda labels: 1 - labels),
        r"test_labels\.npy: 60 of 60 labels differ from manifest\.parquet; ",
    ),
    "labels as text": (
        edit_array("val_labels.npy", lambda labels: labels.astype(str)),
        r"val_labels\.npy: <U",
    ),
    "images as floats": (edit_array("val.npy", lambda images: images / 255), r"val\.npy: float64 60×8×8×1"),
    "an empty split": (
        edit_manifest(lambda table: table.slice(0, 220)),
        r"manifest\.parquet: the split test has no images; ",
    ),
    "no manifest": (
        lambda folder: (folder / "manifest.parquet").write_bytes(b"a manifest"),
        r"manifest\.parquet: damaged: ",
    ),
    "a class without training images": (
        edit_transform(classes=["above", "below", "beside"]),
        r"train_labels\.npy: 1 of 3 classes, such as 'beside', have no images; ",
    ),
    "a single class": (
        edit_transform(classes=["above"]),
        r"transform\.json: classes = \['above'\] must have",
    ),
    "another size": (
        edit_transform(size=9),
        r"train\.npy: uint8 160×8×8×1, but .* require uint8 160×9×9×1; ",
    ),
    "a mean that is no number": (edit_transform(mean=[float("nan")]), r"transform\.json: mean = \[nan\]"),
    "statistics of other channels": (
        edit_transform(std=[0.1, 0.1]),
        r"transform\.json: std = \[0\.1, 0\.1\]",
    ),
    "no deviation": (edit_transform(std=[0.0]), r"transform\.json: std = \[0\.0\] must be greater than 0"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_arrays_are_an_error_in_one_line(tmp_path: Path, damage: Damage, message: str) -> None:
    write_pixels(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=rf"^{tmp_path}/{message}") as error:
        check_arrays(tmp_path)
    assert "\n" not in str(error.value)
    assert "`dvc " in str(error.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            edit_transform(folds=4),
            r"manifest\.parquet: the folds are 0, 1, 2, but transform\.json requires 4 folds",
        ),
        (edit_manifest(lambda table: table.drop_columns("fold")), r"manifest\.parquet: .*fold"),
    ],
)
def test_wrong_folds_are_an_error(tmp_path: Path, damage: Damage, message: str) -> None:
    folder = tmp_path / "folds"
    write_folds(folder)
    assert check_arrays(folder).folds == 3
    damage(folder)
    with pytest.raises(DataError, match=message):
        check_arrays(folder)


def test_arrays_that_agree_are_accepted(tmp_path: Path) -> None:
    write_pixels(tmp_path)
    assert check_arrays(tmp_path).classes == ["above", "below"]
