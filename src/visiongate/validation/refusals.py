"""Group the files that cannot be used by reason, each with its remedy."""

import shlex

import pandas as pd

from visiongate.images.contents import BY_LINE
from visiongate.images.decoding import MAX_PILLOW_PIXELS, Fault
from visiongate.records.validation import RefusedFiles
from visiongate.validation.overrides import override

MAX_EXAMPLES = 3
_CAUSES = {
    Fault.UNDECODABLE: ("damaged", "download or copy the files again"),
    Fault.TRUNCATED: ("truncated", "download or copy the files again"),
    Fault.TOO_LARGE: ("too large", "allow more pixels, which need memory, or scale the images down"),
    Fault.UNSUPPORTED_MODE: (
        "unsupported color mode",
        "save the images with 8 or 16 bits per sample",
    ),
}


def group_refusals(images: pd.DataFrame) -> tuple[RefusedFiles, ...]:
    """Return the files that do not decode by reason, the most frequent first.

    Args:
        images: As `image_frame.describe_images` returns it.
    """
    refused = images[images["fault"].notna()]
    causes = refused["error"].where(refused["fault"] == Fault.UNSUPPORTED_FORMAT, refused["fault"])
    groups = [_describe(str(cause), found) for cause, found in refused.groupby(causes, sort=False)]
    return tuple(sorted(groups, key=lambda group: (-group.files, group.cause)))


def format_refusals(refused: RefusedFiles, total: int, *, stops: bool) -> str:
    """Return a line about files that cannot be used, of so many; unless they stop the pipeline, they are left out."""
    line = f"{refused.cause}: {refused.files:,} of {total:,} files, such as {', '.join(refused.examples)}"
    if not stops:
        line += "; left out (quarantined), nothing must be done"
    return f"{line}; to mend them, {refused.advice}" + (f": {refused.command}" if refused.command else "")


def _describe(cause: str, refused: pd.DataFrame) -> RefusedFiles:
    examples = tuple(refused["path"][:MAX_EXAMPLES])
    content = BY_LINE.get(cause)
    if content is not None:
        return RefusedFiles(content.name, len(refused), examples, content.advice, content.command)
    name, advice = _CAUSES[Fault(cause)]
    command = _allow_pixels(refused) if cause == Fault.TOO_LARGE else ""
    return RefusedFiles(name, len(refused), examples, advice, command)


def _allow_pixels(refused: pd.DataFrame) -> str:
    """Return the option that allows the largest image, or else the command that scales the first one down."""
    largest = refused["pixels"].fillna(MAX_PILLOW_PIXELS + 1).max()
    if largest <= MAX_PILLOW_PIXELS:
        return override("dataset.limits.max_pixels", int(largest))
    return f"magick mogrify -resize '8192x8192>' {shlex.quote(refused['path'].iloc[0])}"
