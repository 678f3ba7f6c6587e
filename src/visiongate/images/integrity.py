"""Check the pixel arrays before a stage uses them: a truncated or edited file would train or evaluate a wrong model."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from visiongate.errors import DataError
from visiongate.records.manifest import MANIFEST_FILE, read_manifest
from visiongate.records.splits import SPLITS
from visiongate.records.transform import TRANSFORM_FILE, Transform, read_transform

MIN_CLASSES = 2


def check_arrays(directory: Path) -> Transform:
    """Check that arrays, labels, manifest and ``transform.json`` agree. Reads no pixels, and takes milliseconds.

    Args:
        directory: The folder that the transformation stage writes.

    Returns:
        The content of ``transform.json``.

    Raises:
        DataError: A file is missing, damaged or contradicts another one, or a split has no images, or a class has no training
            images.
    """
    transform = read_transform(directory)
    _check_transform(directory / TRANSFORM_FILE, transform)
    is_folded = transform.protocol == "cross_validation"
    columns = ["split", "row", "label", *(["fold"] if is_folded else [])]
    manifest = read_manifest(directory, columns=columns)
    for split in SPLITS:
        rows = manifest.filter(pc.equal(manifest.column("split"), split)).sort_by("row")
        if not rows.num_rows:
            raise _invalid(directory / MANIFEST_FILE, f"the split {split} has no images")
        _check_images(directory / f"{split}.npy", (rows.num_rows, *transform.input_shape))
        _check_labels(directory / f"{split}_labels.npy", rows.column("label").to_numpy(), transform.classes)
    _check_classes(directory / "train_labels.npy", transform.classes)
    if is_folded:
        _check_folds(directory / MANIFEST_FILE, manifest, transform)
    return transform


def _check_transform(path: Path, transform: Transform) -> None:
    if len(transform.classes) < MIN_CLASSES:
        raise _invalid(path, f"classes = {transform.classes} must have at least {MIN_CLASSES}")
    channels = len(transform.mode)
    for name, values in (("mean", transform.mean), ("std", transform.std)):
        if len(values) != channels or not np.isfinite(values).all():
            raise _invalid(path, f"{name} = {values} is not a finite number for each of {channels} channels")
    if min(transform.std) <= 0:
        raise _invalid(path, f"std = {transform.std} must be greater than 0")


def _check_images(path: Path, shape: tuple[int, ...]) -> None:
    images = _open(path)
    if images.dtype != np.uint8 or images.shape != shape:
        raise _invalid(
            path,
            f"{images.dtype} {_size(images.shape)}, but {MANIFEST_FILE} and {TRANSFORM_FILE} require uint8 {_size(shape)}",
        )


def _check_labels(path: Path, expected: npt.NDArray[np.int64], classes: list[str]) -> None:
    labels = _open(path)
    if labels.dtype != np.int64 or labels.shape != expected.shape:
        raise _invalid(
            path,
            f"{labels.dtype} {_size(labels.shape)}, but {MANIFEST_FILE} requires int64 {_size(expected.shape)}",
        )
    if len(outside := labels[(labels < 0) | (labels >= len(classes))]):
        numbers = f"0..{len(classes) - 1}"
        raise _invalid(
            path, f"{len(outside)} of {len(labels)} labels, such as {outside[0]}, are outside {numbers}"
        )
    if differing := int((labels != expected).sum()):
        raise _invalid(path, f"{differing} of {len(labels)} labels differ from {MANIFEST_FILE}")


def _check_classes(path: Path, classes: list[str]) -> None:
    present = set(_open(path).tolist())
    if missing := [name for number, name in enumerate(classes) if number not in present]:
        raise _invalid(
            path, f"{len(missing)} of {len(classes)} classes, such as {missing[0]!r}, have no images"
        )


def _check_folds(path: Path, manifest: pa.Table, transform: Transform) -> None:
    # A collected image has none.
    folds = set(manifest.column("fold").drop_null().to_pylist())
    if folds != set(range(transform.folds or 0)):
        found = ", ".join(sorted(map(str, folds)))
        raise _invalid(
            path, f"the folds are {found}, but {TRANSFORM_FILE} requires {transform.folds} folds from 0"
        )


def _open(path: Path) -> npt.NDArray[Any]:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `dvc repro` or `dvc pull`") from None
    except (ValueError, EOFError) as error:
        raise _invalid(path, f"damaged: {str(error).splitlines()[0]}") from None


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _invalid(path: Path, problem: str) -> DataError:
    return DataError(
        f"{path}: {problem}; restore it with `dvc checkout --force {path.parent}`, or make it again with "
        "`dvc repro --force --single-item transformation`"
    )
