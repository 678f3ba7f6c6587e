"""Group the files that cannot be used by reason, each with its remedy."""

import shlex
from collections.abc import Sequence

import pandas as pd

from visiongate.images.contents import BY_LINE
from visiongate.images.decoding import MAX_PILLOW_PIXELS, Fault
from visiongate.records.validation import RefusedFiles
from visiongate.validation.overrides import exclude, override

MAX_EXAMPLES = 3
_CAUSES = {
    Fault.UNDECODABLE: ("damaged", "download or copy the files again, or leave them out"),
    Fault.TRUNCATED: ("truncated", "download or copy the files again, or leave them out"),
    Fault.TOO_LARGE: ("too large", "allow more pixels, which need memory, or scale the images down"),
    Fault.UNSUPPORTED_MODE: (
        "unsupported color mode",
        "save the images with 8 or 16 bits per sample, or leave them out",
    ),
}


def group_refusals(images: pd.DataFrame, excluded: Sequence[str]) -> tuple[RefusedFiles, ...]:
    """Return the files that do not decode by reason, the most frequent first.

    Args:
        images: As `image_frame.describe_images` returns it.
        excluded: The setting ``dataset.exclude``.
    """
    refused = images[images["fault"].notna()]
    causes = refused["error"].where(refused["fault"] == Fault.UNSUPPORTED_FORMAT, refused["fault"])
    kept = images["path"].drop(refused.index)
    groups = [
        _describe(str(cause), found, exclude(found["path"], kept, excluded))
        for cause, found in refused.groupby(causes, sort=False)
    ]
    return tuple(sorted(groups, key=lambda group: (-group.files, group.cause)))


def format_refusals(refused: RefusedFiles, total: int) -> str:
    """Return a line about files that cannot be used, of so many."""
    line = f"{refused.cause}: {refused.files:,} of {total:,} files, such as {', '.join(refused.examples)}"
    return f"{line}; {refused.advice}" + (f": {refused.command}" if refused.command else "")


def _describe(cause: str, refused: pd.DataFrame, leave_out: str) -> RefusedFiles:
    examples = tuple(refused["path"][:MAX_EXAMPLES])
    content = BY_LINE.get(cause)
    if content is not None:
        return RefusedFiles(
            content.name, len(refused), examples, content.advice, content.command or leave_out
        )
    name, advice = _CAUSES[Fault(cause)]
    command = _allow_pixels(refused) if cause == Fault.TOO_LARGE else leave_out
    return RefusedFiles(name, len(refused), examples, advice, command)


def _allow_pixels(refused: pd.DataFrame) -> str:
    """Return the option that allows the largest image, or else the command that scales the first one down."""
    largest = refused["pixels"].fillna(MAX_PILLOW_PIXELS + 1).max()
    if largest <= MAX_PILLOW_PIXELS:
        return override("dataset.limits.max_pixels", int(largest))
    return f"magick mogrify -resize '8192x8192>' {shlex.quote(refused['path'].iloc[0])}"
