"""Understand a tree of class folders: which folders are classes, which are splits, and which images are neither."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from visiongate.errors import DataError
from visiongate.ingestion.auxiliary import Parts, find_auxiliary, may_be_class, plain_name
from visiongate.ingestion.flat_names import advise_on_flat_files
from visiongate.ingestion.image_files import select_images
from visiongate.ingestion.labeled_paths import (
    MAX_LISTED,
    MIN_CLASSES,
    LabeledPath,
    describe_classes,
    find_missing_classes,
    merge_spellings,
    spelling_key,
)
from visiongate.ingestion.names import is_undecoded, suggest_encodings
from visiongate.ingestion.setting_advice import advise_on_exclusion, advise_on_splits
from visiongate.ingestion.split_names import FILLERS, read_split_name, recognize_splits
from visiongate.ingestion.trees import Tree
from visiongate.settings.dataset import Dataset
from visiongate.text_tables import join_first

READING_PAGE = "conf/dataset/reading/default.yaml"


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """The understanding of a tree.

    Attributes:
        images: In the order of their paths.
        root: The folder that holds the classes or splits, relative to the tree.
        ignored: Number of files that are not images of a class, by reason.
        warnings: What a person should check.
    """

    images: list[LabeledPath]
    root: str
    ignored: Counter[str]
    warnings: list[str]

    def describe(self, tree: str) -> str:
        """Return one line, such as ``3 classes × 2 given splits (train, test); root photos/PetImages``."""
        counts = {(image.label, image.split) for image in self.images}
        return f"{describe_classes(counts)}; root {PurePosixPath(tree, self.root)}"


def read_class_folders(tree: Tree, dataset: Dataset) -> ClassFolders:
    """Find the class and the given split of each image.

    Raises:
        DataError: There is no image in a class folder, or the folders have several meanings.
    """
    reader = _Reader(tree, dataset)
    images = [
        LabeledPath(path, label, split) for path, (label, split) in sorted(reader.read_labels().items())
    ]
    if all(plain_name(image.label) in FILLERS for image in images):
        raise DataError(f"{tree.name}: {reader.explain_flat_files()}")
    _check_encoding(tree.name, {image.label for image in images})
    merged = merge_spellings(images, dataset.classes or (), reader.warnings)
    labels = {image.label for image in merged}
    for folder in tree.empty_folders:
        parts = folder.split("/")[reader.depth :]
        if len(parts) in (1, 2) and spelling_key(parts[-1]) not in set(map(spelling_key, labels)):
            reader.warnings.append(f"{folder}: an empty folder, not a class")
    reader.warnings += find_missing_classes({(image.label, image.split) for image in merged})
    return ClassFolders(merged, reader.root, reader.ignored, reader.warnings)


class _Reader:
    """Reads the folders of one tree, and collects what it leaves out."""

    def __init__(self, tree: Tree, dataset: Dataset) -> None:
        self._tree, self._dataset = tree, dataset
        self._given = {folder.casefold(): split for folder, split in (dataset.splits or {}).items()}
        images, others = select_images(tree.paths, tree.read)
        self.ignored, self.warnings = tree.ignored + others, list[str]()
        parts = {path: tuple(path.split("/")) for path in images}
        parts = self._leave_out_auxiliary(parts)
        self.depth = self._count_wrappers(list(parts.values()))
        example = next(iter(parts.values()), ())
        self.root = "/".join(example[: self.depth])
        self._images = list(parts)
        below = {path: names[self.depth :] for path, names in parts.items()}
        self._parts = {path: names for path, names in below.items() if len(names) > 1}
        self.ignored["above the classes"] += len(parts) - len(self._parts)

    def explain_flat_files(self) -> str:
        """Say why no image has a class, and what to do."""
        if self._images:
            return advise_on_flat_files(self._images, [])
        ignored = ", ".join(f"{count:,} {reason}" for reason, count in sorted((+self.ignored).items()))
        return (
            f"no image found{f' ({ignored})' if ignored else ''}; set dataset.path to a folder or archive with one folder per "
            "class: CLASS/… or SPLIT/CLASS/…, or with a table such as labels.csv"
        )

    def read_labels(self) -> dict[str, tuple[str, str | None]]:
        """Return the label and the given split of each image."""
        folders = _top_folders(self._parts.values())
        listed = set(self._dataset.classes or ())
        second = {names[1] for names in self._parts.values() if _is_nested(names)}
        if second and second <= listed and not listed & set(folders) and not self._find_splits(folders):
            self.warnings.append(
                f"the classes are the folders in {_list(folders)}, as dataset.classes lists them"
            )
            self.ignored["above the classes"] += sum(not _is_nested(names) for names in self._parts.values())
            return {path: (names[1], None) for path, names in self._parts.items() if _is_nested(names)}
        splits = self._find_splits(folders)
        below = {} if splits else self._find_splits_below(folders)
        self._check_given_splits([*splits, *below])
        others = [folder for folder in folders if folder not in splits]
        if len(splits) == 1 and len(others) > 1 and not second and not self._given:
            self.warnings.append(
                f"{_list(splits)} is read as a class, like the folders beside it; if it is a split, sort its images into "
                "class folders"
            )
            splits = {}
        if splits and others:
            raise self._ambiguous(
                f"unknown folders {_list(others)} beside the splits {_list(splits)}; name their splits too, such as "
                f"{self._advise_on_splits(others)}; or leave them out: {self._advise_on_exclusion(others)}; or set "
                "dataset.splits={} if all folders are classes"
            )
        if splits:
            return self._read_splits(splits)
        self._check_split_names(folders)
        self._check_side_by_side(folders)
        if below:
            return self._label(lambda names: (names[0], below.get(names[1]) if _is_nested(names) else None))
        self._check_repeated_names(folders)
        return self._label(lambda names: (names[0], None))

    def _leave_out_auxiliary(self, parts: Mapping[str, Parts]) -> dict[str, Parts]:
        """Leave out images in folders of masks, thumbnails and the like, unless these folders are the classes."""
        found = find_auxiliary(parts, self._dataset)
        inside = {path for paths in found.values() for path in paths}
        kept = {path: names for path, names in parts.items() if path not in inside}
        if found and len(_class_level(kept.values())) < MIN_CLASSES and not _has_image_folder(kept.values()):
            return dict(parts)
        for folder, paths in sorted(found.items()):
            if self._is_class(folder, [parts[path] for path in paths], list(kept.values())):
                inside -= set(paths)
            else:
                self.ignored[f"in a folder {folder!r}"] += len(paths)
        return {path: names for path, names in parts.items() if path not in inside}

    def _is_class(self, folder: str, images: Sequence[Parts], others: Sequence[Parts]) -> bool:
        """Return whether a folder with an auxiliary name is a class, with a warning in any case."""
        level = self._find_level(images[0], others)
        beside = [names for names in others if len(names) > level + 1 and names[:level] == images[0][:level]]
        siblings = sorted({names[level] for names in beside})
        is_beside_classes = (
            len(siblings) >= MIN_CLASSES
            and all(names[level : level + 1] == (folder,) for names in images)
            and not self._find_splits(siblings)
            and not any(plain_name(name) in FILLERS for name in siblings)
        )
        deep = [names for names in others if len(names) > level + 1]
        is_class = is_beside_classes and may_be_class(folder, images, deep, level)
        count = f"{len(images):,} image{'s' if len(images) > 1 else ''}"
        where = sorted({"/".join(names[: level + 1]) for names in images})
        if is_class:
            exclusion = advise_on_exclusion(where, self._dataset)
            ending = (
                f"is read as a class of {count}, like the folders beside it; to leave it out: {exclusion}"
            )
            self.warnings.append(f"{folder!r} {ending}")
        else:
            cure = (
                "list all classes in dataset.classes, with this one"
                if is_beside_classes
                else f"remove the name from auxiliary in {READING_PAGE}"
            )
            were = "were" if len(images) > 1 else "was"
            self.warnings.append(
                f"{count} in folders named {folder!r} {were} left out, such as {'/'.join(images[0])}; to keep them, {cure}"
            )
        return is_class

    def _find_level(self, image: Parts, others: Sequence[Parts]) -> int:
        """Return the number of folders above the class folders, on the way to an image."""
        depth = self._count_wrappers(others)
        tops = sorted({names[depth] for names in others if len(names) > depth + 1})
        return depth + (len(image) > depth + 1 and image[depth] in self._find_splits(tops))

    def _count_wrappers(self, parts: Sequence[Parts]) -> int:
        """Count the nested folders that hold everything else and are neither a split nor a class."""
        depth = 0
        while True:
            folders = {names[depth] for names in parts if len(names) > depth + 1}
            has_subfolders = any(len(names) > depth + 2 for names in parts)
            (only,) = folders if len(folders) == 1 else (None,)
            known = only is None or self._find_splits([only]) or only in (self._dataset.classes or ())
            if known or not has_subfolders:
                return depth
            depth += 1

    def _find_splits(self, folders: Sequence[str]) -> dict[str, str]:
        """Return the split of each folder that names one."""
        if self._dataset.splits == {}:
            return {}
        given: dict[str, str] = {
            folder: self._given[folder.casefold()] for folder in folders if folder.casefold() in self._given
        }
        others = [folder for folder in folders if folder not in given]
        return given if set(others) <= set(self._dataset.classes or ()) else given | recognize_splits(others)

    def _check_given_splits(self, splits: Sequence[str]) -> None:
        """Check that each key of ``dataset.splits`` names a folder."""
        found = {folder.casefold() for folder in splits}
        missing = [folder for folder in self._dataset.splits or () if folder.casefold() not in found]
        if missing:
            raise self._ambiguous(
                f"dataset.splits names {_list(missing)}, but no folder above or below the classes has this name; correct or "
                "remove it"
            )

    def _advise_on_splits(self, folders: Sequence[str]) -> str:
        return advise_on_splits(folders, self._dataset)

    def _advise_on_exclusion(self, folders: Sequence[str]) -> str:
        return advise_on_exclusion([posixpath.join(self.root, folder) for folder in folders], self._dataset)

    def _find_splits_below(self, folders: Sequence[str]) -> dict[str, str]:
        """Return the splits of the folders below the classes, as in ``cat/train/1.jpg``; nothing if there are none."""
        names = sorted({names[1] for names in self._parts.values() if _is_nested(names)})
        splits = self._find_splits(names) if len(folders) >= MIN_CLASSES else {}
        is_divided = bool(self._given) or len(set(splits.values())) > 1
        return splits if len(splits) == len(names) and is_divided else {}

    def _read_splits(self, splits: Mapping[str, str]) -> dict[str, tuple[str, str | None]]:
        inner = {folder: self._below(folder) for folder in splits}
        classes = {folder: set(_top_folders(each.values())) for folder, each in inner.items()}
        if not any(classes.values()):
            raise DataError(f"{self._tree.name}: {advise_on_flat_files(list(self._parts), list(splits))}")
        labeled_splits = [folder for folder in splits if not _are_fillers(classes[folder])]
        labeled: dict[str, tuple[str, str | None]] = {}
        for folder, each in inner.items():
            others = set[str]().union(*(names for other, names in classes.items() if other != folder))
            known = others.union(self._dataset.classes or ())
            is_unlabeled = len(classes[folder]) < MIN_CLASSES <= len(others) and not classes[folder] & known
            if is_unlabeled or (labeled_splits and folder not in labeled_splits):
                self.ignored["in a split without class folders"] += len(each)
                self._warn_of_unlabeled(folder, classes[folder], each)
                continue
            self.ignored["above the classes"] += sum(len(names) == 1 for names in each.values())
            labeled |= {path: (names[0], splits[folder]) for path, names in each.items() if len(names) > 1}
        return labeled

    def _warn_of_unlabeled(self, folder: str, inner: Collection[str], images: Mapping[str, Parts]) -> None:
        example = next(iter(images))
        if _are_fillers(inner):
            self.warnings.append(
                f"{folder}: {len(images):,} images in no class folder were left out, such as {example}; to keep them, sort "
                "them into class folders"
            )
            return
        self.warnings.append(
            f"{folder}: {len(images):,} images in {_list(inner)} were left out, such as {example}, because no other split has "
            "this folder; if it is a class, list all classes in dataset.classes"
        )

    def _below(self, folder: str) -> dict[str, Parts]:
        """Return the parts below a split's folder, and below folders in it that repeat its name, as in ``train/train``."""
        below = {path: names[1:] for path, names in self._parts.items() if names[0] == folder}
        while True:
            (only,) = found if len(found := _top_folders(below.values())) == 1 else (None,)
            repeats = only is not None and (plain_name(only) in FILLERS or read_split_name(only) is not None)
            if not repeats or not any(map(_is_nested, below.values())):
                return below
            below = {path: names[1:] for path, names in below.items() if len(names) > 1}

    def _label(self, read: Callable[[Parts], tuple[str, str | None]]) -> dict[str, tuple[str, str | None]]:
        return {path: read(names) for path, names in self._parts.items()}

    def _check_repeated_names(self, folders: Sequence[str]) -> None:
        """Refuse a tree in which every folder has the same folders below it: either of the two may be the classes."""
        if len(folders) < MIN_CLASSES or self._are_classes(folders):
            return
        if not all(map(_is_nested, self._parts.values())):
            return
        below = defaultdict[str, set[str]](set)
        for names in self._parts.values():
            below[names[0]].add(names[1])
        common = {name for name in set.intersection(*below.values()) if plain_name(name) not in FILLERS}
        if len(common) >= MIN_CLASSES:
            raise self._ambiguous(
                f"{_list(folders)} hold the same folders {_list(sorted(common))}; choose the classes: "
                f"dataset.splits={{}} for {_list(folders)}, or dataset.classes with the names of all inner folders; or give "
                f"the splits, such as {self._advise_on_splits(folders)}; or keep only {folders[0]}: "
                f"{self._advise_on_exclusion(folders[1:])}"
            )

    def _check_split_names(self, folders: Sequence[str]) -> None:
        """Refuse a tree in which every folder is named like a split, but not of the same data, such as trainA and testB."""
        read = [name.split for folder in folders if (name := read_split_name(folder))]
        if self._are_classes(folders) or len(read) < len(folders) or len(set(read)) < MIN_CLASSES:
            return
        raise self._ambiguous(
            f"{_list(folders)} are named like splits of several data sets; set dataset.splits={{}} if they are the classes; "
            f"give the splits, with class folders in each: {self._advise_on_splits(folders)}; or leave some out: "
            f"{self._advise_on_exclusion(folders[1:])}"
        )

    def _check_side_by_side(self, folders: Sequence[str]) -> None:
        """Refuse data sets side by side, each with splits and class folders of its own."""
        if self._are_classes(folders) or len(folders) < MIN_CLASSES:
            return
        names = sorted({names[1] for names in self._parts.values() if _is_nested(names)})
        classes = {folder: _top_folders(each[1:] for each in self._below_once(folder)) for folder in folders}
        if len(self._find_splits(names)) == len(names) > 0 and all(
            len(inner) >= MIN_CLASSES for inner in classes.values()
        ):
            raise self._ambiguous(
                f"{_list(folders)} are data sets side by side, each with the splits {_list(names)} of its own; set "
                "dataset.path to one of them, merge their splits into one folder each, or list the folders in dataset.classes "
                "if they are the classes"
            )

    def _are_classes(self, folders: Sequence[str]) -> bool:
        """Return whether the settings say that folders are the classes."""
        return self._dataset.splits == {} or set(folders) <= set(self._dataset.classes or ())

    def _ambiguous(self, problem: str) -> DataError:
        """Return an error that shows the tree."""
        lines = [f"{PurePosixPath(self._tree.name, self.root)}: {problem}"]
        folders = _top_folders(self._parts.values())
        for folder in folders[:MAX_LISTED]:
            below = self._below_once(folder)
            inside = _top_folders(below)
            holds = f"{len(inside)} folders ({_list(inside)}), " if inside else ""
            lines.append(f"  {folder}/  {holds}{len(below)} images")
        if len(folders) > MAX_LISTED:
            lines.append(f"  … and {len(folders) - MAX_LISTED} more folders")
        return DataError("\n".join(lines))

    def _below_once(self, folder: str) -> list[Parts]:
        return [names[1:] for names in self._parts.values() if names[0] == folder]


def _check_encoding(name: str, labels: Iterable[str]) -> None:
    undecoded = sorted(filter(is_undecoded, labels))
    if undecoded:
        raise DataError(
            f"{name}: {len(undecoded):,} {'class names are' if len(undecoded) > 1 else 'class name is'} not UTF-8, such as "
            f"{_list(undecoded[:3])}; set dataset.encoding to the encoding that reads them: {suggest_encodings(undecoded[:3])}"
        )


def _is_nested(names: Parts) -> bool:
    """Return whether an image lies in a folder below a top folder."""
    return len(names) > 2  # noqa: PLR2004 - two folders and the name of the file


def _are_fillers(folders: Iterable[str]) -> bool:
    return all(plain_name(folder) in FILLERS for folder in folders)


def _top_folders(parts: Iterable[Parts]) -> list[str]:
    return sorted({names[0] for names in parts if len(names) > 1})


def _class_level(parts: Iterable[Parts]) -> set[str]:
    """Return the names of the folders that directly hold images."""
    return {names[-2] for names in parts if len(names) > 1}


def _has_image_folder(parts: Iterable[Parts]) -> bool:
    return any(plain_name(name) in FILLERS for names in parts for name in names[:-1])


def _list(names: Iterable[str]) -> str:
    return join_first(names, MAX_LISTED)
