"""WebDataset: tar archives in which files of the same name and different extensions form a sample.

``000001.jpg`` and ``000001.cls`` are an image and its label: https://github.com/webdataset/webdataset. What follows the first
dot of a file's name is its field. A label is the text of the field ``cls`` or ``txt``, or a key of the object in ``json``.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from visiongate.errors import DataError
from visiongate.images.extensions import claimed_format
from visiongate.ingestion.label_tables import format_cell
from visiongate.ingestion.labeled_paths import (
    UNLABELED,
    LabeledPath,
    LabeledPaths,
    describe_classes,
    find_missing_classes,
    format_left_out,
    name_labels,
    rename_labels,
)
from visiongate.ingestion.setting_advice import advise_on_table
from visiongate.ingestion.shard_names import find_shard_splits
from visiongate.ingestion.table_columns import ColumnGuess, name_split
from visiongate.ingestion.trees import Tree
from visiongate.settings.dataset import Dataset

CLASS, TEXT, JSON = "cls", "txt", "json"
# Files beside images in a tar are fields of samples if this share of the images has one.
MIN_SHARE = 0.9
# More different texts than this, and than half of the images, are captions.
MAX_TEXTS = 20
# The paths of a sample by field.
Sample = Mapping[str, str]


def find_samples(tree: Tree) -> list[Sample]:
    """Return the samples that have an image, in the order of their names; none if the files form no samples."""
    if not tree.tars and not any(path.endswith(f".{CLASS}") for path in tree.paths):
        return []
    samples: dict[str, dict[str, str]] = defaultdict(dict)
    for path in tree.paths:
        folder, slash, file = path.rpartition("/")
        name, _, field = file.partition(".")
        samples[f"{folder}{slash}{name}"][field.lower()] = path
    found: list[Sample] = [sample for sample in samples.values() if any(map(_is_image, sample))]
    if sum(CLASS in sample for sample in found) > len(found) / 2:
        return found
    # Captions and measurements beside the images of class folders are no labels.
    is_flat = all(path.rpartition("/")[0] in tree.tars for sample in found for path in sample.values())
    labeled = sum(JSON in sample or TEXT in sample for sample in found)
    return found if found and is_flat and labeled >= MIN_SHARE * len(found) else []


def read_samples(tree: Tree, samples: Sequence[Sample], dataset: Dataset) -> LabeledPaths:
    """Label the images of samples.

    Raises:
        DataError: A field is damaged or ambiguous, or the labels do not match the settings.
    """
    reader = _Reader(tree, samples, dataset)
    images = reader.read()
    unlabeled = [image.path for image in images if not image.label]
    images = [image for image in images if image.label]
    classes = name_labels(tree.name, {image.label for image in images}, dataset)
    labeled = rename_labels(sorted(images, key=lambda image: image.path), classes)
    counts = {(image.label, image.split) for image in labeled}
    members = sum(map(len, samples))
    ignored = {UNLABELED: len(unlabeled), "not in a sample with an image": len(tree.paths) - members}
    warnings = [*reader.notes, *find_missing_classes(counts)]
    if unlabeled:
        warnings.append(format_left_out(UNLABELED, unlabeled))
    layout = f"{describe_classes(counts)}; samples of WebDataset with labels in {reader.label}"
    return LabeledPaths(
        labeled, list(dict.fromkeys(classes.values())), tree.ignored + Counter(ignored), layout, warnings
    )


class _Reader:
    """Reads the labels, splits and groups of samples."""

    def __init__(self, tree: Tree, samples: Sequence[Sample], dataset: Dataset) -> None:
        self._tree, self._samples, self._dataset = tree, samples, dataset
        self._images = [self._find_image(sample) for sample in samples]
        described = next((sample for sample in samples if JSON in sample), None)
        self._keys = list(self._read_json(described)) if described else []
        self._guess = ColumnGuess(f"{tree.name}: {JSON}", self._keys, dataset)
        self._group = self._guess.find_group("")
        self.label = self._find_label()
        shards = list(tree.tars) or sorted({image.rpartition("/")[0] for image in self._images})
        self._splits = find_shard_splits(tree.name, list(filter(None, shards)), dataset)
        roles = f"the labels are in {self.label}" + (f", the groups in {self._group}" if self._group else "")
        self.notes = [
            f"{tree.name}: {roles}; dataset.table.label and dataset.table.group choose another field or key"
        ]

    def read(self) -> list[LabeledPath]:
        """Return the image of each sample; the label is empty if there is none."""
        images = list(map(self._read_sample, self._samples, self._images))
        texts = {image.label for image in images}
        if self.label == TEXT and len(texts) > max(MAX_TEXTS, len(images) / 2):
            raise DataError(
                f"{self._tree.name}: the field {TEXT} has {len(texts):,} different texts for {len(images):,} images, such as "
                f"{min(texts)[:60]!r}: captions and no labels; choose a key of {JSON}, if it has the label: "
                f"{advise_on_table('label', (self._keys or ['KEY'])[0])}"
            )
        return images

    def _read_sample(self, sample: Sample, image: str) -> LabeledPath:
        values = self._read_json(sample) if JSON in sample and self._needs_json else {}
        label = self._read_text(sample) if self.label in (CLASS, TEXT) else values.get(self.label, "")
        group = values.get(self._group or "") or None
        return LabeledPath(image, label, self._find_split(image, values), group)

    @property
    def _needs_json(self) -> bool:
        return bool(self._group or self._dataset.table.split) or self.label not in (CLASS, TEXT)

    def _find_image(self, sample: Sample) -> str:
        """Return the path of a sample's image. A field such as ``seg.png`` is none unless the settings choose it."""
        fields = [field for field in sample if _is_image(field)]
        plain = [field for field in fields if "." not in field] or fields
        if (chosen := self._dataset.table.image) in fields:
            return sample[str(chosen)]
        if len(plain) > 1:
            raise DataError(
                f"{self._tree.name}: {sample[plain[0]]}: the sample has several images: {', '.join(plain)}; choose one: "
                f"{advise_on_table('image', plain[0])}"
            )
        return sample[plain[0]]

    def _find_label(self) -> str:
        """Return the field of the labels, or their key in the field ``json``."""
        fields = {field for sample in self._samples for field in sample}
        chosen = self._dataset.table.label
        if isinstance(chosen, str) and chosen in (fields & {CLASS, TEXT}):
            return chosen
        if not chosen and CLASS in fields:
            return CLASS
        if chosen or TEXT not in fields:
            self._guess.check_names(("label",))
        label = self._guess.find_label("", (self._group,))
        if isinstance(label, str):
            return label
        if TEXT in fields and not chosen:
            return TEXT
        raise self._guess.explain_no_label((self._group,))

    def _find_split(self, image: str, values: Mapping[str, str]) -> str | None:
        if key := self._dataset.table.split:
            return name_split(values.get(key, ""), self._dataset)
        parts = image.split("/")
        folders = ("/".join(parts[:end]) for end in range(1, len(parts)))
        return next((self._splits[folder] for folder in folders if folder in self._splits), None)

    def _read_text(self, sample: Sample) -> str:
        return (
            self._tree.read(sample[self.label]).decode("utf-8", "replace").strip()
            if self.label in sample
            else ""
        )

    def _read_json(self, sample: Sample) -> dict[str, str]:
        """Return the texts and numbers in the object of a sample as texts."""
        try:
            values = json.loads(self._tree.read(sample[JSON]))
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise DataError(f"{self._tree.name}: {sample[JSON]}: not a JSON object; correct or exclude it")
        return {
            key: format_cell(value) for key, value in values.items() if not isinstance(value, list | dict)
        }


def _is_image(field: str) -> bool:
    return claimed_format(f"image.{field}") is not None
