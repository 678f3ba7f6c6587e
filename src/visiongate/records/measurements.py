"""``data/measured``: what `validation` measures on each raw image, so that no later stage decodes it for the same numbers.

One Parquet file for each shard of the raw table, named after the images in it: a new image changes one file.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.records.files import atomic_path, remove_unfinished

FILES = "measurements-*.parquet"
SKETCH_SIDE = 32
Sketches = npt.NDArray[np.uint8]
_SCHEMA = pa.schema(
    [
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("format", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("mode", pa.string()),
        pa.field("animated", pa.bool_(), nullable=False),
        pa.field("brightness", pa.float64()),
        pa.field("contrast", pa.float64()),
        pa.field("sketch", pa.binary(SKETCH_SIDE**2)),
        pa.field("fault", pa.string()),
        pa.field("error", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """An image's header and pixels in numbers; None where unknown.

    Attributes:
        format: Pillow's name of the format, from the bytes alone.
        width: In pixels, as stored; for a TIFF, upright.
        height: In pixels, as stored; for a TIFF, upright.
        mode: Pillow's name of the color mode, as stored.
        animated: Whether the file has more than one frame.
        brightness: Mean of the gray pixels, 0 to 255.
        contrast: Standard deviation of the gray pixels, 0 to 127.5.
        sketch: The upright image as 32×32 gray pixels, row by row.
        fault: Why the image cannot be used, as `images.decoding.Fault` names it; None if it decodes.
        error: The fault in one line.
    """

    format: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    animated: bool = False
    brightness: float | None = None
    contrast: float | None = None
    sketch: bytes | None = None
    fault: str | None = None
    error: str | None = None


class MeasuredImages(NamedTuple):
    """The measurements of many images.

    Attributes:
        measurements: Of each image, without its sketch.
        sketches: uint8, N×32×32; black for an image that does not decode.
    """

    measurements: list[Measurement]
    sketches: Sketches


def write_measurements(folder: Path, hashes: Sequence[str], measurements: Sequence[Measurement]) -> None:
    """Write the measurements of one shard.

    Args:
        folder: Where the file goes; other files stay.
        hashes: The sha256 of each image.
        measurements: The measurement of each image, in the same order.
    """
    columns = {
        name: [getattr(measurement, name) for measurement in measurements] for name in _SCHEMA.names[1:]
    }
    name = hashlib.sha256("".join(hashes).encode("ascii")).hexdigest()[:16]
    with atomic_path(folder / f"measurements-{name}.parquet") as temporary:
        pq.write_table(
            pa.table({"sha256": hashes, **columns}, schema=_SCHEMA),
            temporary,
            compression="zstd",
            compression_level=19,
        )


def remove_measurements(folder: Path) -> None:
    """Remove the files of an earlier run, and what a killed one has left."""
    for stale in folder.glob(FILES):
        stale.unlink()
    remove_unfinished(folder)


def read_measurements(folder: Path, hashes: Sequence[str]) -> MeasuredImages:
    """Return the measurement of each image, in the order of the hashes.

    Raises:
        DataError: An image has no measurement, or a file is damaged.
    """
    places: dict[str, int] = {}
    for place, sha256 in enumerate(hashes):
        places.setdefault(sha256, place)
    found: list[Measurement | None] = [None] * len(hashes)
    sketches = np.zeros((len(hashes), SKETCH_SIDE, SKETCH_SIDE), dtype=np.uint8)
    for path in sorted(folder.glob(FILES)):
        for sha256, measurement in _read_file(path):
            if (place := places.get(sha256, -1)) >= 0:
                found[place] = replace(measurement, sketch=None)
                if measurement.sketch:
                    sketches[place] = np.frombuffer(measurement.sketch, np.uint8).reshape(sketches.shape[1:])
    for place, sha256 in enumerate(hashes):
        if (first := places[sha256]) != place:
            found[place], sketches[place] = found[first], sketches[first]
    return MeasuredImages(list(_check_found(found, hashes, folder)), sketches)


def _check_found(
    found: Iterable[Measurement | None], hashes: Iterable[str], folder: Path
) -> Iterator[Measurement]:
    for measurement, sha256 in zip(found, hashes, strict=True):
        if measurement is None:
            raise DataError(f"{folder}: image {sha256!r} has no measurement; run `dvc repro validation`")
        yield measurement


def _read_file(path: Path) -> Iterator[tuple[str, Measurement]]:
    try:
        table = pq.read_table(path, schema=_SCHEMA)
    except (pa.ArrowException, OSError) as error:
        problem = " ".join(str(error).split())
        raise DataError(
            f"{path}: damaged: {problem}; run `dvc checkout --force` or `dvc repro validation`"
        ) from None
    # Formats and modes are few words: a million images share them.
    columns = (
        [sys.intern(value) if isinstance(value, str) else value for value in column.to_pylist()]
        for column in table.columns[1:]
    )
    yield from zip(
        table.column("sha256").to_pylist(), starmap(Measurement, zip(*columns, strict=True)), strict=True
    )
