"""Render each image of a table into the memory-mapped array of its split."""

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from visiongate.errors import DataError
from visiongate.images.decoding import DEFAULT_OPTIONS, DecodeOptions, Pixels, StoredImage
from visiongate.images.parallel import map_in_order
from visiongate.images.pixels import release_memory
from visiongate.images.preprocessing import preprocess
from visiongate.records.files import atomic_path
from visiongate.records.manifest import MANIFEST_FILE, write_manifest
from visiongate.settings.transformation import Transformation

# The files that `write_splits` writes, and the unfinished ones that a killed run leaves behind.
OUTPUTS = ("*.npy", ".*.npy", MANIFEST_FILE, f".{MANIFEST_FILE}.*")
# Written pixels that may stay in memory before they are released.
MAX_MAPPED_BYTES = 2**26
# Columns that the manifest copies from the image table.
COPIED_COLUMNS = ("path", "sha256", "group")
Array = np.memmap[tuple[int, ...], np.dtype[np.uint8]]
Preprocess = Callable[[bytes], tuple[Pixels, StoredImage]]


def build_manifest(
    table: pa.Table, splits: Sequence[str], classes: Sequence[str], folds: Sequence[int] | None = None
) -> pa.Table:
    """Number the images of each split, in the table's order.

    Args:
        table: The columns ``label`` and `COPIED_COLUMNS` of an image table.
        splits: The split of each image.
        classes: The labels, in the order of the model's outputs.
        folds: The fold of each image, with cross-validation.

    Returns:
        The manifest without ``width`` and ``height``: one row per image, in the table's order.
    """
    names = np.asarray(splits)
    rows = np.empty(len(names), dtype=np.int64)
    for name in dict.fromkeys(splits):
        (members,) = np.nonzero(names == name)
        rows[members] = np.arange(len(members))
    number = {label: index for index, label in enumerate(classes)}
    labels = [number[label] for label in table.column("label").to_pylist()]
    columns = {"split": pa.array(splits, pa.string()), "row": rows, "label": pa.array(labels, pa.int64())}
    copied = {name: table.column(name) for name in COPIED_COLUMNS}
    fold = pa.nulls(len(names), pa.int32()) if folds is None else pa.array(folds, pa.int32())
    return pa.table({**columns, **copied, "fold": fold})


def write_splits(
    directory: Path,
    manifest: pa.Table,
    encoded: Iterable[bytes],
    settings: Transformation,
    options: DecodeOptions = DEFAULT_OPTIONS,
) -> None:
    """Decode all images on all cores; write ``SPLIT.npy``, ``SPLIT_labels.npy`` and ``manifest.parquet``.

    Memory grows with the number of images only by the manifest. Each file appears complete or not at all, and does not depend
    on the number of cores.

    Args:
        directory: The folder of the outputs. Files of an earlier run are removed.
        manifest: Result of `build_manifest`. The stored ``width`` and ``height`` of each image are added.
        encoded: The images' bytes, in the manifest's order.
        settings: Size, mode and resize rule.
        options: As in `to_pixels`.

    Raises:
        DataError: An image cannot be decoded. The error names the first such image.
    """
    _remove_outputs(directory)
    shape = (settings.size, settings.size, len(settings.mode))
    counts = {
        entry["values"]: entry["counts"] for entry in manifest.column("split").value_counts().to_pylist()
    }
    render = partial(
        preprocess, size=settings.size, mode=settings.mode, resize=settings.resize, options=options
    )
    with ExitStack() as stack:
        files = {split: stack.enter_context(atomic_path(directory / f"{split}.npy")) for split in counts}
        arrays = {split: _create_array(file, (counts[split], *shape)) for split, file in files.items()}
        sizes = _fill(arrays, manifest, encoded, render)
        for array in arrays.values():
            array.flush()
        for column, name in enumerate(("width", "height")):
            manifest = manifest.append_column(name, pa.array(sizes[:, column]))
        _write_labels(directory, manifest, counts)
        write_manifest(directory, manifest)


def _remove_outputs(directory: Path) -> None:
    for pattern in OUTPUTS:
        for stale in directory.glob(pattern):
            stale.unlink()


def _create_array(path: Path, shape: tuple[int, ...]) -> Array:
    """Create an array on disk and reserve its space: a mapped write to a full disk would kill the process."""
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                # Some file systems cannot reserve space.
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    raise
    return array


def _fill(
    arrays: Mapping[str, Array], manifest: pa.Table, encoded: Iterable[bytes], render: Preprocess
) -> npt.NDArray[np.int32]:
    """Write each image's pixels to its row, and return the stored width and height of each image, N×2."""
    split_codes = manifest.column("split").combine_chunks().dictionary_encode()
    targets = [arrays[name] for name in split_codes.dictionary.to_pylist()]
    which, rows = np.asarray(split_codes.indices), np.asarray(manifest.column("row"))
    paths = manifest.column("path")
    sizes = np.zeros((manifest.num_rows, 2), dtype=np.int32)

    def write_image(item: tuple[int, bytes]) -> int:
        index, image = item
        try:
            pixels, stored = render(image)
        except DataError as error:
            raise DataError(f"{paths[index].as_py()}: {error}") from None
        targets[which[index]][rows[index]] = pixels
        sizes[index] = stored.width, stored.height
        return pixels.nbytes

    mapped = 0
    images = zip(range(manifest.num_rows), encoded, strict=True)
    for written in map_in_order(write_image, images, lambda item: len(item[1])):
        mapped += written
        if mapped >= MAX_MAPPED_BYTES:
            mapped = 0
            for array in targets:
                release_memory(array)
    return sizes


def _write_labels(directory: Path, manifest: pa.Table, splits: Iterable[str]) -> None:
    for split in splits:
        labels = manifest.filter(pc.equal(manifest.column("split"), split)).column("label")
        with atomic_path(directory / f"{split}_labels.npy") as temporary:
            np.save(temporary, labels.to_numpy())
