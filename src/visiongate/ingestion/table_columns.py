"""Guess which columns of a table hold the images, labels, splits and groups, unless the settings name them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from visiongate.errors import DataError
from visiongate.ingestion.auxiliary import plain_name
from visiongate.ingestion.setting_advice import advise_on_table
from visiongate.ingestion.split_names import read_split_name
from visiongate.settings.dataset import Dataset, LabelTable
from visiongate.text_tables import join_first

# Names without case and separators, in the order of preference.
IMAGE_NAMES = (
    *("image", "imagepath", "imagefile", "imagename", "imageid", "filename", "filepath", "file", "path"),
    *("img", "imgpath", "imgfile", "imgname", "imgid", "name", "id", "idcode", "isicid"),
)
LABEL_NAMES = (
    *("label", "labels", "class", "classes", "classname", "labelname", "classlabel", "target", "category"),
    *("diagnosis", "dx", "species", "breed", "variety", "cls"),
)
SPLIT_NAMES = ("split", "splits", "subset", "set", "partition", "datasplit")
GROUP_NAMES = (
    *("group", "groupid", "patient", "patientid", "subject", "subjectid", "person", "personid"),
    *("participantid", "lesionid", "caseid"),
)
# The last word of a name such as fine_label.
LAST_WORD = re.compile(r"[^\W_]+$")
ROLES = ("image", "label", "split", "group")
MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class Columns:
    """The roles of a table's columns.

    Attributes:
        image: Column of the images.
        label: Column of the labels, or one column of 0 and 1 per class.
        split: Column of the splits, if any.
        group: Column of the groups, if any.
        guessed: The roles that the settings leave open.
    """

    image: str
    label: str | tuple[str, ...]
    split: str | None
    group: str | None
    guessed: tuple[str, ...]

    def list_roles(self) -> str:
        """Return the roles and their columns."""
        label = self.label if isinstance(self.label, str) else ", ".join(self.label)
        roles = {"image": self.image, "label": label, "split": self.split, "group": self.group}
        return "; ".join(f"{role}: {name}" for role, name in roles.items() if name)

    def describe(self) -> str:
        """Return the roles in one line, with the settings that change what was guessed."""
        settings = ", ".join(f"dataset.table.{role}" for role in self.guessed)
        return f"the columns are {self.list_roles()}" + (
            f" (guessed; {settings} change it)" if settings else ""
        )


class ColumnGuess:
    """Finds the columns of one table.

    Args:
        source: The table's name, for messages.
        names: The columns that can be read.
        dataset: The settings.
        nested: The columns of lists, objects or bytes.
    """

    def __init__(
        self, source: str, names: Sequence[str], dataset: Dataset, nested: Sequence[str] = ()
    ) -> None:
        self._source, self._names, self._dataset, self._nested = source, names, dataset, nested
        self._table: LabelTable = dataset.table

    def check_names(self, roles: Sequence[str] = ROLES) -> None:
        """Check that the table has the columns of the settings.

        Raises:
            DataError: It lacks one.
        """
        for role in roles:
            chosen = getattr(self._table, role) or ()
            for name in [chosen] if isinstance(chosen, str) else chosen:
                if name in self._nested:
                    raise DataError(
                        f"{self._source}: column {name!r} holds lists or objects, but an image has one label; choose another "
                        f"column for dataset.table.{role}: {self._list()}"
                    )
                if name not in self._names:
                    raise DataError(
                        f"{self._source}: no column {name!r} to read for dataset.table.{role}; the columns are {self._list()}"
                    )

    def choose_image(self, candidates: Sequence[str]) -> str | None:
        """Return the column of images among those whose cells are images; None if there is none.

        Raises:
            DataError: There are several, none of which has a usual name.
        """
        if self._table.image:
            return self._table.image
        if len(candidates) < 2:  # noqa: PLR2004 - nothing to choose
            return next(iter(candidates), None)
        usual = sorted(
            (each for each in candidates if plain_name(each) in IMAGE_NAMES),
            key=lambda each: IMAGE_NAMES.index(plain_name(each)),
        )
        if not usual:
            raise self._ambiguous("image", candidates)
        return usual[0]

    def find_label(self, image: str, others: Sequence[str | None]) -> str | tuple[str, ...] | None:
        """Return the column of labels by its name, or the only column that has no other role; None if no name says so.

        Raises:
            DataError: Several columns are named like labels.
        """
        if self._table.label:
            return self._table.label if isinstance(self._table.label, str) else tuple(self._table.label)
        rest = [name for name in self._names if name != image and name not in others]
        exact = [name for name in rest if plain_name(name) in LABEL_NAMES]
        similar = [
            name for name in rest if (match := LAST_WORD.search(name.lower())) and match[0] in LABEL_NAMES
        ]
        found = exact or similar or (rest if len(rest) == 1 else [])
        if len(found) > 1:
            raise self._ambiguous("label", found)
        return next(iter(found), None)

    def find_split(self, image: str, values: Callable[[str], set[str]]) -> str | None:
        """Return the column of splits: one with a usual name whose cells name splits.

        Args:
            image: The column of images.
            values: Returns the distinct cells of a column.
        """
        if self._table.split is not None:
            return self._table.split or None
        if self._dataset.splits == {}:
            return None
        found = [name for name in self._names if name != image and plain_name(name) in SPLIT_NAMES]
        named = [name for name in found if any(name_split(each, self._dataset) for each in values(name))]
        if len(named) > 1:
            raise self._ambiguous("split", named)
        return next(iter(named), None)

    def find_group(self, image: str) -> str | None:
        """Return the column of groups by its name."""
        if self._table.group is not None or self._dataset.group:
            return self._table.group or None
        found = [name for name in self._names if name != image and plain_name(name) in GROUP_NAMES]
        if len(found) > 1:
            raise self._ambiguous("group", found)
        return next(iter(found), None)

    def list_guessed(self, columns: Mapping[str, object]) -> tuple[str, ...]:
        """Return the roles that have a column, but no setting."""
        return tuple(role for role, name in columns.items() if name and getattr(self._table, role) is None)

    def explain_no_label(self, others: Sequence[str | None]) -> DataError:
        """Return the error for a table in which no column is surely that of the labels."""
        rest = [name for name in self._names if name not in others]
        if not rest:
            return DataError(f"{self._source}: no column of labels beside {self._list()}; add one")
        return DataError(
            f"{self._source}: no column has a usual name of the labels, such as label or class; choose one of "
            f"{join_first(rest, MAX_LISTED)}: {advise_on_table('label', rest[0])}"
        )

    def _ambiguous(self, role: str, candidates: Sequence[str]) -> DataError:
        none = f", or {advise_on_table(role, '')} for none" if role in ("split", "group") else ""
        return DataError(
            f"{self._source}: several columns may be that of the {role}s: {join_first(candidates, MAX_LISTED)}; choose one: "
            f"{' or '.join(advise_on_table(role, each) for each in candidates[:3])}{none}"
        )

    def _list(self) -> str:
        return join_first(self._names, MAX_LISTED) or "none"


def name_role(name: str) -> str | None:
    """Return the role that a column usually has by its name; None for any other name."""
    roles = {"image": IMAGE_NAMES, "label": LABEL_NAMES, "split": SPLIT_NAMES, "group": GROUP_NAMES}
    return next((role for role, names in roles.items() if plain_name(name) in names), None)


def name_split(cell: str, dataset: Dataset) -> str | None:
    """Return the split that a cell or a name means, by ``dataset.splits`` or by its usual name; None for any other."""
    given = {name.casefold(): split for name, split in (dataset.splits or {}).items()}
    if cell.casefold() in given:
        return given[cell.casefold()]
    read = read_split_name(cell)
    return read.split if read and not read.rest else None
