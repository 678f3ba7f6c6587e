"""Choose how the images of a data set become 8-bit pixels: the range of 16-bit samples, and the color behind transparency.

A 16-bit file often holds samples of 10 or 12 bits, which would be nearly black on the full range. White drawings on a
transparent background would be blank on white. Both are decided once for a data set, because images must stay comparable, and
because a server applies the rule to single images. What a file states about its bits is ignored, because programs that do not
scale their samples do not state it either, and a PNG states the bits of the source of samples that are already scaled.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from PIL import Image

from visiongate.images import colors, deep_colors
from visiongate.images.decoding import DecodeOptions, RefusedImageError, load_stored
from visiongate.images.measurement import measure_levels
from visiongate.images.parallel import map_in_order
from visiongate.images.shards import TablePiece
from visiongate.records.conversion import (
    BACKGROUNDS,
    MAX_DEPTH,
    MIN_DEPTH,
    ChosenConversion,
    Conversion,
)

# Share of the images that a rule may treat badly, so that a single odd image does not decide for all.
MAX_EXCEPTIONS = 0.01
# An image is faint on a background if it has less than this share of its contrast on the best one.
FAINT_CONTRAST = 0.25
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Traits:
    """What matters to the choice about one image.

    Attributes:
        bits: Bits, 8 to 16, that its largest sample needs; None for 8-bit samples.
        faint: For each of `BACKGROUNDS`, whether the image is faint on it; None if it has no transparent pixel.
    """

    bits: int | None = None
    faint: tuple[bool, ...] | None = None


def choose_conversion(
    find: Callable[[], Counter[Traits]],
    depth: int | Literal["auto"],
    background: str,
    window: tuple[float, float] | None = None,
) -> ChosenConversion:
    """Choose the conversion of a data set. Settings other than ``auto`` are taken as they are.

    The depth is the smallest that holds all samples of at least 99% of the images with 16-bit samples. The background is the
    first of white, black and gray on which at most 1% of the transparent images are faint, or else the one with the fewest.

    Args:
        find: Returns the traits of all images, as `count_traits` does. It is not called if there is nothing to choose.
        depth: Bits, or ``auto``.
        background: One of `BACKGROUNDS`, or ``auto``.
        window: The data set's window of DICOM images, which the conversion keeps.
    """
    if depth != "auto" and background != "auto":
        return ChosenConversion(Conversion(depth, background, window))
    traits = find()
    bits = [found.bits for found in traits.elements() if found.bits]
    faint = [found.faint for found in traits.elements() if found.faint]
    chosen_depth = choose_depth(bits) if depth == "auto" else depth
    chosen_background = choose_background(faint) if background == "auto" else background
    return ChosenConversion(
        Conversion(chosen_depth, chosen_background, window),
        deep=len(bits),
        brighter=sum(needed > chosen_depth for needed in bits),
        transparent=len(faint),
        faint=sum(image[BACKGROUNDS.index(chosen_background)] for image in faint),
    )


def count_traits(images: Iterable[bytes], options: DecodeOptions) -> Counter[Traits]:
    """Count the images with the same traits, on all cores; those that have none are left out.

    Args:
        images: Encoded images.
        options: The limit of pixels, the extras and the window.
    """
    counts = Counter(map_in_order(partial(find_traits, options=options), images, len))
    del counts[Traits()]
    return counts


def count_in_piece(piece: TablePiece, options: DecodeOptions) -> Counter[Traits]:
    """Count the traits of a piece of an image table: `count_traits`."""
    return count_traits(piece.images(), options)


def describe_conversion(chosen: ChosenConversion) -> list[str]:
    """Return a sentence for each part of a conversion that concerns an image."""
    depth, background = chosen.conversion.depth, chosen.conversion.background
    lines = []
    if chosen.deep:
        clipped = (
            f" Brighter images, whose highest levels are clipped: {chosen.brighter:,}."
            if chosen.brighter
            else ""
        )
        lines.append(f"Images with 16-bit samples: {chosen.deep:,}; dataset.depth: {depth} bits.{clipped}")
    if chosen.transparent:
        faint = f" Images that are faint on it: {chosen.faint:,}." if chosen.faint else ""
        lines.append(
            f"Images with transparent areas: {chosen.transparent:,}; dataset.background: {background}.{faint}"
        )
    return lines


def choose_depth(bits: list[int]) -> int:
    """Return the smallest depth that suffices for 99% of the images, given the bits of each; 16 without images."""
    depths = range(MIN_DEPTH, MAX_DEPTH)
    allowed = MAX_EXCEPTIONS * len(bits)
    sufficient = (depth for depth in depths if sum(needed > depth for needed in bits) <= allowed)
    return next(sufficient, MAX_DEPTH) if bits else MAX_DEPTH


def choose_background(faint: list[tuple[bool, ...]]) -> str:
    """Return the first of `BACKGROUNDS` on which at most 1% of the images are faint, or else the one with the fewest."""
    counts = [sum(image[place] for image in faint) for place in range(len(BACKGROUNDS))]
    allowed = max(MAX_EXCEPTIONS * len(faint), min(counts))
    return next(name for name, count in zip(BACKGROUNDS, counts, strict=True) if count <= allowed)


def find_traits(encoded: bytes, options: DecodeOptions) -> Traits:
    """Return the traits of an image. Only images that may have some are decoded; a damaged image has none."""
    if encoded.startswith(_JPEG):
        return Traits()
    needed: list[bool] = []

    def is_wanted(image: Image.Image) -> bool:
        needed.append(deep_colors.is_deep_color(image))
        return needed[-1] or image.mode in colors.DEEP or bool(image.has_transparency_data)

    try:
        image = load_stored(encoded, options, is_wanted)
    except RefusedImageError:
        return Traits()
    return Traits() if image is None else _describe(image, is_deep_color=needed[-1])


def _describe(image: Image.Image, *, is_deep_color: bool) -> Traits:
    bits = None
    if is_deep_color:
        bits = deep_colors.count_color_bits(image)
    elif image.mode in colors.DEEP:
        bits = colors.count_bits(image)
        if bits > MAX_DEPTH:
            return Traits()
    return Traits(
        bits, _find_faint(image, bits or MAX_DEPTH) if colors.has_transparent_pixels(image) else None
    )


def _find_faint(image: Image.Image, depth: int) -> tuple[bool, ...]:
    shown = (colors.flatten(image.copy(), "L", Conversion(depth, name)) for name in BACKGROUNDS)
    contrasts = [measure_levels(gray)[1] for gray in shown]
    return tuple(contrast < FAINT_CONTRAST * max(contrasts) for contrast in contrasts)
