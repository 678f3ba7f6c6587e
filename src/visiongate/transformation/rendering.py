"""Rendering: every image of a table decoded, once, into its split's memory-mapped array."""

import errno
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from visiongate.errors import DataError
from visiongate.images.decoding import MAX_PIXELS, Pixels, stored_size, to_pixels
from visiongate.images.parallel import map_in_order
from visiongate.images.pixels import give_back
from visiongate.records.files import atomic_path
from visiongate.records.manifest import write_manifest
from visiongate.settings.schema import Transformation

OWN = (
    "*.npy",
    ".*.npy",
    "manifest.parquet",
    ".manifest.parquet.*",
)  # what `write_splits` writes, unfinished files too
MAPPED_BYTES = 2**26  # of the arrays that are in this process's memory before they are given back
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Array = np.memmap[tuple[int, ...], np.dtype[np.uint8]]
ROOM = "make room, or choose a smaller transformation.size"
SOURCES = ("path", "sha256", "group")  # columns that the manifest takes over


def place(table: pa.Table, splits: Sequence[str], classes: Sequence[str]) -> pa.Table:
    """Number the images of each split, in the table's order.

    Args:
        table: An image table's columns ``label`` and `SOURCES`.
        splits: The split of each image.
        classes: The labels, in the order of the model's outputs.

    Returns:
        The manifest, one row an image in the table's order: ``split``, ``row`` within the split, ``label`` as a number, and the
        `SOURCES`.
    """
    names = np.asarray(splits)
    rows = np.empty(len(names), dtype=np.int64)
    for name in dict.fromkeys(splits):
        (members,) = np.nonzero(names == name)
        rows[members] = np.arange(len(members))
    number = {label: index for index, label in enumerate(classes)}
    labels = [number[label] for label in table.column("label").to_pylist()]
    columns = {"split": pa.array(splits, pa.string()), "row": rows, "label": pa.array(labels, pa.int64())}
    return pa.table({**columns, **{name: table.column(name) for name in SOURCES}})


def write_splits(
    directory: Path,
    manifest: pa.Table,
    encoded: Iterable[bytes],
    settings: Transformation,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Decode every image into its place, on all cores, and write labels and the manifest beside the pixels.

    The manifest gains ``width`` and ``height``, in which each image is stored.

    Memory does not grow with the number of images but for the manifest. What an earlier run left unfinished is removed. The
    files appear whole or not at all, and are the same on any number of cores.

    Args:
        directory: Where ``SPLIT.npy``, ``SPLIT_labels.npy`` and ``manifest.parquet`` go.
        manifest: What `place` returns.
        encoded: The images' bytes, in the order of the manifest.
        settings: Size, mode and resize rule.
        max_pixels: As in `to_pixels`.

    Raises:
        DataError: An image cannot be decoded, the first of them is named; or the arrays would not fit the disk.
    """
    _clear(directory)
    shape = (settings.size, settings.size, len(settings.mode))
    counts = {
        entry["values"]: entry["counts"] for entry in manifest.column("split").value_counts().to_pylist()
    }
    with _telling_of_a_full_disk(directory), ExitStack() as stack:
        files = {split: stack.enter_context(atomic_path(directory / f"{split}.npy")) for split in counts}
        _check_space(directory, sum(counts.values()) * math.prod(shape))
        arrays = {split: _create(file, (counts[split], *shape)) for split, file in files.items()}
        decode = partial(
            to_pixels, size=settings.size, mode=settings.mode, resize=settings.resize, max_pixels=max_pixels
        )
        sizes = _fill(arrays, manifest, encoded, decode)
        for array in arrays.values():
            array.flush()
        for column, name in enumerate(("width", "height")):
            manifest = manifest.append_column(name, pa.array(sizes[:, column]))
        _write_rows(directory, manifest, counts)


def _clear(directory: Path) -> None:
    """Remove what an earlier run wrote, finished or not."""
    for pattern in OWN:
        for stale in directory.glob(pattern):
            stale.unlink()


@contextmanager
def _telling_of_a_full_disk(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DataError(f"{directory}: {os.strerror(error.errno)}; {ROOM}") from None
        raise


def _check_space(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise DataError(
            f"{directory}: the pixel arrays need {needed / 1e9:,.1f} GB, {free / 1e9:,.1f} GB are free; {ROOM}"
        )


def _create(path: Path, shape: tuple[int, ...]) -> Array:
    """Make an array on disk and claim its space: writing to a mapped file on a full disk ends the process without a word."""
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if sys.platform == "linux":
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno in _FULL:
                    raise
                # A file system that cannot claim space beforehand; what is free was looked at.
    return array


def _fill(
    arrays: Mapping[str, Array],
    manifest: pa.Table,
    encoded: Iterable[bytes],
    decode: Callable[[bytes], Pixels],
) -> npt.NDArray[np.int32]:
    """Decode every image into its place, and return the width and height that each is stored in, N×2."""
    names = manifest.column("split").combine_chunks().dictionary_encode()
    targets = [arrays[name] for name in names.dictionary.to_pylist()]
    which, rows = np.asarray(names.indices), np.asarray(manifest.column("row"))
    paths = manifest.column("path")
    sizes = np.zeros((manifest.num_rows, 2), dtype=np.int32)

    def render(item: tuple[int, bytes]) -> int:
        index, image = item
        try:
            pixels = decode(image)
        except DataError as error:
            raise DataError(f"{paths[index].as_py()}: {error}") from None
        targets[which[index]][rows[index]] = pixels
        sizes[index] = stored_size(image)
        return pixels.nbytes

    mapped = 0
    images = zip(range(manifest.num_rows), encoded, strict=True)
    for written in map_in_order(render, images, lambda item: len(item[1])):
        mapped += written
        if mapped >= MAPPED_BYTES:
            mapped = 0
            for array in targets:
                give_back(array)
    return sizes


def _write_rows(directory: Path, manifest: pa.Table, splits: Iterable[str]) -> None:
    """Write each split's labels, and the manifest."""
    for split in splits:
        labels = manifest.filter(pc.equal(manifest.column("split"), split)).column("label")
        with atomic_path(directory / f"{split}_labels.npy") as temporary:
            np.save(temporary, labels.to_numpy())
    write_manifest(directory, manifest)
