"""Find the tables that label the images of a tree, and what their columns hold."""

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from visiongate.errors import DataError
from visiongate.ingestion.image_lookup import ImageLookup
from visiongate.ingestion.label_tables import LabelTable, is_label_table, read_label_table
from visiongate.ingestion.setting_advice import advise_on_table
from visiongate.ingestion.split_names import read_split_name
from visiongate.ingestion.table_columns import ColumnGuess, Columns, name_role
from visiongate.ingestion.trees import Tree
from visiongate.settings.dataset import Dataset
from visiongate.text_tables import join_first, shorten

# Words beside the split in a table's name, such as train_labels.csv.
TABLE_WORDS = {"label", "labels", "metadata", "meta", "annotation", "annotations", "list", "file", "files"}
# Kaggle's example of an answer, whose labels mean nothing.
SUBMISSION = "submission"
# The share of distinct cells in a column of images.
MIN_DISTINCT = 0.5
MAX_LISTED = 5
# Characters of a cell in a message.
MAX_SHOWN = 60
ON, OFF = {"1", "1.0", "true", "True"}, {"0", "0.0", "false", "False"}


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table that labels images.

    Attributes:
        table: The table.
        columns: What its columns hold.
        skipped: The number of first folders in its paths that the source does not have.
        split: The split that its name or its folder gives, if any.
    """

    table: LabelTable
    columns: Columns
    skipped: int
    split: str | None = None


def find_tables(tree: Tree, lookup: ImageLookup, dataset: Dataset) -> list[FoundTable]:
    """Return the table that labels the images, or one per split; none if no table names images.

    Raises:
        DataError: The table of the settings does not fit, a column cannot be guessed, or several tables may be meant.
    """
    paths, chosen = [path for path in tree.paths if is_label_table(path)], dataset.table.file
    if chosen:
        paths = [path for path in tree.paths if path == chosen or fnmatchcase(path, chosen)]
        if not paths:
            known = join_first(filter(is_label_table, tree.paths), MAX_LISTED) or "none"
            raise DataError(
                f"{tree.name}: dataset.table.file = {chosen!r} is not in it; the tables are: {known}"
            )
    found, errors = list[FoundTable](), list[DataError]()
    for path in paths:
        if not chosen and SUBMISSION in path.rpartition("/")[2].lower():
            continue
        try:
            examined = _Examination(tree, path, lookup, dataset).find(is_chosen=bool(chosen))
        except DataError as error:
            errors.append(error)
        else:
            found += [examined] if examined else []
    if errors and (chosen or not found):
        raise errors[0]
    return found if len(found) < 2 else _combine(tree.name, found)  # noqa: PLR2004 - nothing to combine


class _Examination:
    """Finds the roles of the columns of one table."""

    def __init__(self, tree: Tree, path: str, lookup: ImageLookup, dataset: Dataset) -> None:
        self._source, self._tree, self._lookup = f"{tree.name}: {path}", tree, lookup
        self._table, self._dataset = read_label_table(tree, path, dataset), dataset
        self._folder = posixpath.dirname(path)
        self._guess = ColumnGuess(self._source, list(self._table.columns), dataset, self._table.nested)

    def find(self, *, is_chosen: bool) -> FoundTable | None:
        """Return the table; None if it names no images.

        Raises:
            DataError: A role has no column or several, or the settings choose a table that names no images.
        """
        self._guess.check_names()
        if any(self._lookup.find(name, self._folder) for name in self._table.columns):
            raise DataError(f"{self._source}: it has no header; add a first line such as image,label")
        image, skipped = self._find_image()
        if image is None and is_chosen:
            raise self._explain_no_image()
        if image is None:
            return None
        split = self._guess.find_split(image, lambda name: set(self._table.columns[name]))
        group = self._guess.find_group(image)
        label = self._guess.find_label(image, (split, group)) or self._find_one_hot(image, (split, group))
        if label is None:
            raise self._guess.explain_no_label((image, split, group))
        guessed = self._guess.list_guessed({"image": image, "label": label, "split": split, "group": group})
        return FoundTable(self._table, Columns(image, label, split, group, guessed), skipped)

    def _find_image(self) -> tuple[str | None, int]:
        """Return the column whose cells name images, and the number of folders to skip in them."""
        chosen = self._dataset.table.image
        names = [chosen] if chosen else list(self._table.columns)
        fits = {name: self._lookup.fit(self._table.columns[name], self._folder) for name in names}
        best = max((share for name, (_, share) in fits.items() if self._is_plausible(name)), default=0.0)
        candidates = [name for name, (_, share) in fits.items() if share == best and self._is_plausible(name)]
        image = self._guess.choose_image(candidates if best else [])
        return image, fits[image][0] if image else 0

    def _is_plausible(self, name: str) -> bool:
        """Return whether a column may be that of the images: numbers are only if its name says so."""
        cells, role = self._table.columns[name], name_role(name)
        is_distinct = len(set(cells)) >= MIN_DISTINCT * len(cells)
        return role == "image" or (role is None and is_distinct and not all(map(str.isdecimal, cells)))

    def _explain_no_image(self) -> DataError:
        first = {name: next(filter(None, cells), "empty") for name, cells in self._table.columns.items()}
        columns = join_first(
            (shorten(f"{name}: {cell}", MAX_SHOWN) for name, cell in first.items()), MAX_LISTED
        )
        return DataError(
            f"{self._source}: no column names images of this source, such as {self._lookup.example}; the columns begin with "
            f"{columns or 'nothing'}; correct the paths, or choose another table: {advise_on_table('file', 'labels.csv')}"
        )

    def _find_one_hot(self, image: str, others: Iterable[str | None]) -> tuple[str, ...] | None:
        """Return the columns of 0 and 1, if there are several."""
        rest = [name for name in self._table.columns if name != image and name not in others]
        binary = [name for name in rest if set(self._table.columns[name]) <= ON | OFF]
        return tuple(binary) if len(binary) > 1 and self._table.rows else None


def _combine(source: str, tables: Sequence[FoundTable]) -> list[FoundTable]:
    """Return the tables with the splits that their names or folders give.

    Raises:
        DataError: They are not tables of different splits.
    """
    splits = [_find_split(found.table.path) for found in tables]
    is_same = len({(found.columns.image, found.columns.label) for found in tables}) == 1
    if None in splits or len(set(splits)) < len(splits) or not is_same:
        listed = "; ".join(
            f"{found.table.path} ({found.columns.list_roles()})" for found in tables[:MAX_LISTED]
        )
        raise DataError(
            f"{source}: {len(tables)} tables name the images: {listed}; choose one: "
            f"{advise_on_table('file', tables[0].table.path)}"
        )
    return [
        FoundTable(found.table, found.columns, found.skipped, split)
        for found, split in zip(tables, splits, strict=True)
    ]


def _find_split(path: str) -> str | None:
    folder, _, file = path.rpartition("/")
    for name in (posixpath.splitext(file)[0], folder.rpartition("/")[2]):
        read = read_split_name(name)
        if read and set(read.rest) <= TABLE_WORDS:
            return read.split
    return None
