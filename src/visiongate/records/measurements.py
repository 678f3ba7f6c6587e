"""``data/measured``: what `validation` measures on each raw image, so that no later stage decodes it for the same numbers.

One Parquet file for each shard of the raw table, named after the images in it: a new image changes one file.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.records.files import atomic_path

FILES = "measurements-*.parquet"
SKETCH_SIDE = 32
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
    """Remove the files of an earlier run."""
    for stale in folder.glob(FILES):
        stale.unlink()


def read_measurements(folder: Path, hashes: Iterable[str]) -> list[Measurement]:
    """Return the measurement of each image, in the order of the hashes.

    Raises:
        DataError: An image has no measurement, or a file is damaged.
    """
    known = dict(pair for path in sorted(folder.glob(FILES)) for pair in _read_file(path).items())
    try:
        return [known[sha256] for sha256 in hashes]
    except KeyError as error:
        raise DataError(f"{folder}: image {error} has no measurement; run `dvc repro validation`") from None


def _read_file(path: Path) -> dict[str, Measurement]:
    try:
        columns = pq.read_table(path, schema=_SCHEMA).to_pydict()
    except (pa.ArrowException, OSError) as error:
        problem = " ".join(str(error).split())
        raise DataError(
            f"{path}: damaged: {problem}; run `dvc checkout --force` or `dvc repro validation`"
        ) from None
    hashes = columns.pop("sha256")
    return dict(zip(hashes, starmap(Measurement, zip(*columns.values(), strict=True)), strict=True))
