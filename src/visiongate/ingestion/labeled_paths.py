"""Images of a tree with their labels: one spelling per class, the classes in order, and the source that yields them."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

from visiongate.errors import DataError
from visiongate.images.extensions import claimed_extra
from visiongate.ingestion.auxiliary import NAMES_CACHED
from visiongate.ingestion.source import Source, SourceImage
from visiongate.ingestion.trees import Tree
from visiongate.records.splits import SPLITS
from visiongate.settings.dataset import Dataset
from visiongate.text_tables import escape_unprintable, join_first, shorten

MIN_CLASSES = 2
# Names that a message lists.
MAX_LISTED = 5
MAX_EXAMPLES = 3
# Characters of a name in a message.
MAX_NAME = 100
# Why an image of a table or of samples is left out.
UNLABELED = "without a label"


@dataclass(frozen=True, slots=True)
class LabeledPath:
    """An image with its class, and the split and the group that the source gives, if any."""

    path: str
    label: str
    split: str | None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class LabeledPaths:
    """The understanding of a tree.

    Attributes:
        images: In the order of their paths.
        classes: Class names in the order of the model's outputs.
        ignored: Number of files that are not images of a class, by reason.
        layout: How the source was understood, in one line.
        warnings: What a person should check.
        tables: The paths of the tables that give the labels, if any do.
    """

    images: Sequence[LabeledPath]
    classes: list[str]
    ignored: Counter[str]
    layout: str
    warnings: Sequence[str]
    tables: tuple[str, ...] = ()

    def warn(self, warning: str) -> Self:
        """Return the same with one more warning."""
        return replace(self, warnings=[*self.warnings, warning])

    def open(self, tree: Tree, pattern: str | None) -> Source:
        """Return the source of these images.

        Args:
            tree: The tree that holds them.
            pattern: Regular expression that finds the group in a path; None leaves the groups as they are.
        """

        def read() -> Iterator[SourceImage]:
            for image in self.images:
                group = find_group(image.path, pattern) if pattern else image.group
                yield SourceImage(tree.read(image.path), image.label, image.path, image.split, group)

        counts = Counter((image.label, image.split) for image in self.images)
        extras = Counter(filter(None, (claimed_extra(image.path) for image in self.images)))
        return Source(self.classes, counts, +self.ignored, read, self.layout, tuple(self.warnings), extras)


def merge_spellings(
    images: Sequence[LabeledPath], classes: Sequence[str], warnings: list[str]
) -> list[LabeledPath]:
    """Give labels that differ by case, blanks or Unicode's composition one name: that in the settings, or the most frequent.

    Two of them are separate classes if the settings list both, and so are single letters, such as A and a.
    """
    exact = Counter(map(spelling_key, classes))
    separate = {name for name in classes if exact[spelling_key(name)] > 1}
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for image in images:
        if image.label not in separate:
            spellings[spelling_key(image.label)][image.label] += 1
    listed = {spelling_key(name): name for name in classes}
    chosen = {
        key: listed.get(key)
        or unicodedata.normalize("NFC", max(sorted(found), key=found.__getitem__)).strip()
        for key, found in spellings.items()
    }
    for key, found in spellings.items():
        if len(found) > 1:
            warnings.append(f"{', '.join(map(repr, sorted(found)))} are one class, {chosen[key]!r}")
    return rename_labels(images, {name: chosen[key] for key, found in spellings.items() for name in found})


def rename_labels(images: Sequence[LabeledPath], names: Mapping[str, str]) -> list[LabeledPath]:
    """Return images with the new names of their labels, as far as these have new names."""
    renamed = {label for label, name in names.items() if name != label}
    return [replace(image, label=names[image.label]) if image.label in renamed else image for image in images]


@lru_cache(NAMES_CACHED)
def spelling_key(name: str) -> str:
    """Return what the spellings of one name have in common."""
    plain = unicodedata.normalize("NFC", name).strip()
    return plain.casefold() if len(plain) > 1 else plain


def describe_classes(counts: Collection[tuple[str, str | None]]) -> str:
    """Return the number of classes and splits, such as ``3 classes × 2 given splits (train, test)``."""
    classes, given = {label for label, _ in counts}, {split for _, split in counts}
    splits = [name for name in SPLITS if name in given]
    line = f"{len(classes)} classes"
    return (
        f"{line} × {len(splits)} given split{'s' * (len(splits) > 1)} ({', '.join(splits)})"
        if splits
        else line
    )


def find_missing_classes(counts: Collection[tuple[str, str | None]]) -> list[str]:
    """Return a warning for each given split without images of a class."""
    labels, warnings = {label for label, _ in counts}, []
    for split in SPLITS:
        present = {label for label, given in counts if given == split}
        missing = sorted(labels - present)
        if present and missing:
            warnings.append(
                f"{split}: no image of {len(missing):,} of {len(labels):,} classes: {join_first(missing, MAX_LISTED)}"
            )
    return warnings


def format_left_out(reason: str, names: Sequence[str]) -> str:
    """Return a warning of images that are left out, with their number and three examples."""
    images = f"{len(names):,} image{'s' * (len(names) > 1)}"
    examples = (escape_unprintable(shorten(name, MAX_NAME)) for name in names[:MAX_EXAMPLES])
    return f"left out {images} {reason}, such as {', '.join(examples)}"


def name_labels(
    source: str, labels: AbstractSet[str], dataset: Dataset, order: Sequence[str] = ()
) -> dict[str, str]:
    """Return the class of each label, in the order of the model's outputs.

    Numbers from 0 are positions in ``dataset.classes``, unless it lists the numbers themselves. Without ``dataset.classes``,
    labels have the order that the source gives, numbers their own order, and other labels the alphabetical one.

    Raises:
        DataError: A label is empty or has no class, a class has no label, or there is one label only.
    """
    if any(not label.strip() for label in labels):
        raise DataError(f"{source}: a label is empty; name its class, or remove its images")
    expected = dataset.classes
    are_numbers = all(re.fullmatch(r"\d{1,18}", label, re.ASCII) for label in labels)
    ordered = [label for label in order if label in labels] or sorted(
        labels, key=int if are_numbers else None
    )
    names = {label: label for label in ordered}
    if expected and are_numbers and not labels & set(expected):
        positions = {label: int(label) for label in names if int(label) < len(expected)}
        names = {label: expected[position] for label, position in positions.items()}
    unknown = sorted(label for label in labels if names.get(label) not in (expected or labels))
    if unknown:
        raise DataError(
            f"{source}: {len(unknown):,} {'labels are' if len(unknown) > 1 else 'label is'} not among dataset.classes, such as "
            f"{', '.join(map(repr, unknown[:MAX_EXAMPLES]))}; add the names to dataset.classes, or remove it"
        )
    missing = sorted(set(expected or ()) - set(names.values()))
    if missing:
        raise DataError(
            f"{source}: {len(missing):,} of dataset.classes {'have' if len(missing) > 1 else 'has'} no image, such as "
            f"{', '.join(map(repr, missing[:MAX_EXAMPLES]))}; there are {join_first(sorted(labels), MAX_LISTED)}"
        )
    if len(names) < MIN_CLASSES:
        raise DataError(
            f"{source}: {', '.join(map(repr, names)) or 'none'} is the only label; a classifier needs at least two"
        )
    return dict(sorted(names.items(), key=lambda item: expected.index(item[1]))) if expected else names


def name_counts(
    counts: Mapping[tuple[str, str | None], int], classes: Mapping[str, str]
) -> Counter[tuple[str, str | None]]:
    """Return the number of images by class and split from that by label and split."""
    named: Counter[tuple[str, str | None]] = Counter()
    for (label, split), count in counts.items():
        named[classes[label], split] += count
    return named


def find_group(path: str, pattern: str) -> str | None:
    """Return what the parentheses of a regular expression match in a path."""
    match = re.search(pattern, path)
    return match.group(1) if match else None
