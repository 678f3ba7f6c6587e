"""How to mend each expectation that can fail: advice, and a command or option that works as printed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from visiongate.records.validation import ExpectationResult
from visiongate.settings.schema import Settings
from visiongate.validation.image_frame import count_values
from visiongate.validation.overrides import exact_pattern, override

# An advice and a command.
Remedy = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed expectation, with the images and the settings that it was checked against."""

    result: ExpectationResult
    images: pd.DataFrame
    settings: Settings


def add_remedy(result: ExpectationResult, images: pd.DataFrame, settings: Settings) -> ExpectationResult:
    """Return a result with its remedy, if it failed.

    Args:
        result: The result.
        images: As `image_frame.describe_images` returns it.
        settings: All settings.
    """
    if result.success:
        return result
    advice, command = _REMEDIES[result.name](Failure(result, images, settings))
    return replace(result, advice=advice, command=command)


def _columns(_: Failure) -> Remedy:
    return "write the image table again", "dvc repro --force ingestion"


def _extensions(_: Failure) -> Remedy:
    advice = "the images are used, because their bytes decide; rename them, or stop at such files"
    return advice, override("validation.extensions.severity", "critical")


def _formats(failure: Failure) -> Remedy:
    allowed = [
        *dict.fromkeys(
            [*failure.settings.validation.formats.allowed, *count_values(failure.images["format"])]
        )
    ]
    return "convert the images, or allow their format", override("validation.formats.allowed", allowed)


def _modes(failure: Failure) -> Remedy:
    allowed = [
        *dict.fromkeys([*failure.settings.validation.modes.allowed, *count_values(failure.images["mode"])])
    ]
    advice = "transformation converts the colors; to accept these modes without a warning"
    return advice, override("validation.modes.allowed", allowed)


def _decodable(failure: Failure) -> Remedy:
    share = _floor(1 - failure.result.unexpected / len(failure.images))
    advice = "mend or remove the files; to quarantine them and go on with the others"
    return advice, override("validation.decodable.min_share", share)


def _size(failure: Failure) -> Remedy:
    shortest, longest = int(failure.images["shorter"].min()), int(failure.images["longer"].max())
    size = failure.settings.validation.size
    options = []
    if shortest < size.min_side:
        options.append(override("validation.size.min_side", shortest))
    if longest > size.max_side:
        options.append(override("validation.size.max_side", longest))
    return "leave the images out with dataset.exclude, or accept their size", " ".join(options)


def _aspect(failure: Failure) -> Remedy:
    ratio = math.ceil(10 * float(failure.images["aspect"].max())) / 10
    advice = "cut or leave out these images, or accept them"
    return advice, override("validation.aspect.max_ratio", ratio)


def _brightness(_: Failure) -> Remedy:
    return "measure the images again", "dvc repro --force validation"


def _classes(failure: Failure) -> Remedy:
    labels = sorted(set(failure.images["label"]))
    return "leave out the folders that are no class, or list all classes", override("dataset.classes", labels)


def _rows_per_class(failure: Failure) -> Remedy:
    counts = failure.images["label"].value_counts()
    advice = "add images to the class, leave out its folder with dataset.exclude, or accept fewer images"
    return advice, override("validation.rows_per_class.min_rows", int(counts.min()))


def _balance(failure: Failure) -> Remedy:
    counts = failure.images["label"].value_counts()
    ratio = math.ceil(10 * float(counts.max() / counts.min())) / 10
    return "add images to the small classes, or accept it", override("validation.balance.max_ratio", ratio)


def _unique(failure: Failure) -> Remedy:
    share = _floor(1 - failure.result.unexpected / len(failure.images))
    advice = "preparation keeps one image of each set of copies; to accept copies without a warning"
    return advice, override("validation.unique.min_share", share)


def _label_conflicts(failure: Failure) -> Remedy:
    patterns = [exact_pattern(str(example.path)) for example in failure.result.examples[:1]]
    advice = (
        "preparation quarantines all copies; to keep one, give it the right label: `visiongate correct PATH --label CLASS` "
        "(this check sees the labels of the source); or leave out those with the wrong label, such as"
    )
    return advice, override("dataset.exclude", [*failure.settings.dataset.exclude, *patterns])


def _split_overlap(failure: Failure) -> Remedy:
    advice = "preparation keeps the copy in the most protected split; to accept it without a warning"
    return advice, override("validation.split_overlap.max_count", failure.result.unexpected)


def _split_groups(failure: Failure) -> Remedy:
    advice = "move all images of a group into one split; to accept it without a warning"
    return advice, override("validation.split_groups.max_count", failure.result.unexpected)


def _floor(share: float) -> float:
    return math.floor(100 * share) / 100


_REMEDIES: dict[str, Callable[[Failure], Remedy]] = {
    "columns": _columns,
    "extensions": _extensions,
    "formats": _formats,
    "decodable": _decodable,
    "size": _size,
    "aspect": _aspect,
    "modes": _modes,
    "brightness": _brightness,
    "classes": _classes,
    "rows_per_class": _rows_per_class,
    "balance": _balance,
    "unique": _unique,
    "label_conflicts": _label_conflicts,
    "split_overlap": _split_overlap,
    "split_groups": _split_groups,
}
