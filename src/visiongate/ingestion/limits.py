"""Limits on the size of a source, which protect against decompression bombs and endless downloads."""

from collections.abc import Mapping

from visiongate.errors import DataError
from visiongate.settings.dataset import Limits

# Archives up to this size, decompressed, may have any compression ratio.
MIN_CHECKED_BYTES = 64 * 2**20
ADVICE = "increase the limit if you trust the source"


def check_sizes(source: str, sizes: Mapping[str, int], limits: Limits) -> None:
    """Check the number and the sizes of a source's files.

    Args:
        source: The source's name, for the error message.
        sizes: Decompressed bytes by path.
        limits: The limits.

    Raises:
        DataError: A limit is exceeded.
    """
    largest = max(sizes, key=sizes.__getitem__, default="")
    check_limit(source, "max_files", len(sizes), "files", limits)
    check_limit(source, "max_file_bytes", sizes.get(largest, 0), f"bytes in {largest}", limits)
    check_limit(source, "max_total_bytes", sum(sizes.values()), "bytes in total", limits)


def check_limit(source: str, setting: str, actual: int, unit: str, limits: Limits) -> None:
    """Check a number against one of the limits.

    Raises:
        DataError: It is over the limit.
    """
    limit = getattr(limits, setting)
    if actual > limit:
        raise DataError(
            f"{source}: {actual:,} {unit}, more than dataset.limits.{setting} = {limit:,}; {ADVICE}"
        )


def check_ratio(source: str, decompressed: int, compressed: int, limits: Limits) -> None:
    """Refuse an archive whose compression ratio is implausible for images.

    Raises:
        DataError: The ratio is over the limit.
    """
    if decompressed > MIN_CHECKED_BYTES and decompressed > limits.max_ratio * compressed:
        raise DataError(
            f"{source}: {compressed:,} bytes decompress to {decompressed:,} or more: the ratio is over "
            f"dataset.limits.max_ratio = {limits.max_ratio:g}; {ADVICE}"
        )
