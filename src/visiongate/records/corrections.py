"""``data/corrections.csv``: the labels that people corrected and the images that they excluded, by content hash.

Git tracks the file, so that a correction has an author, a reason and a review. The raw images and their labels never change:
`preparation` applies the corrections. An image has one row at most.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.errors import DataError
from visiongate.records.files import write_csv
from visiongate.records.shared_tables import find_hash_problem, parse_shared, read_shared, writing

EXCLUDED = "yes"


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person decided about an image. A label that equals the image's own confirms it.

    Attributes:
        sha256: Of the encoded file.
        label: The class that the image shows; None if it is excluded.
        who: The name of the person.
        when: An ISO date.
        why: The reason.
    """

    sha256: str
    label: str | None
    who: str
    when: str
    why: str

    @property
    def exclude(self) -> bool:
        """Whether the image is left out."""
        return self.label is None

    @property
    def decision(self) -> str:
        """The decision in words."""
        return "exclude" if self.label is None else f"label {self.label!r}"


COLUMNS = ("sha256", "label", "exclude", "who", "when", "why")


def read_corrections(path: Path) -> dict[str, Correction]:
    """Read the corrections by sha256, in the order of the file.

    Raises:
        DataError: The file cannot be read, or a line is invalid or contradicts another one.
    """
    return parse_corrections(read_shared(path), str(path))


def parse_corrections(content: bytes, source: str = "corrections.csv") -> dict[str, Correction]:
    """Parse the content of a ``corrections.csv``, such as that of another revision.

    Args:
        content: UTF-8 text.
        source: The file's name, for the error message.

    Raises:
        DataError: A line is invalid, not UTF-8, or contradicts another one; the message has the number of the line.
    """
    return parse_shared(content, source, COLUMNS, _parse_row, _contradict)


def add_correction(path: Path, correction: Correction) -> None:
    """Add a row; it replaces the row of the same image. The file is replaced as a whole, also by several writers at a time.

    Raises:
        DataError: A text is not Unicode, or the file is invalid; it is left as it is.
    """
    change_corrections(path, [correction])


def remove_correction(path: Path, sha256: str) -> Correction | None:
    """Remove the row of an image and return it; None if there is none.

    Raises:
        DataError: The file is missing or invalid; it is left as it is.
    """
    return change_corrections(path, remove=[sha256]).get(sha256)


def change_corrections(
    path: Path, add: Iterable[Correction] = (), remove: Iterable[str] = ()
) -> dict[str, Correction]:
    """Add rows, which replace those of the same images, and remove others.

    Args:
        path: The file.
        add: Rows.
        remove: The sha256 of images; may be unknown.

    Returns:
        The rows that were replaced or removed, by sha256.

    Raises:
        DataError: A text is not Unicode, or the file is invalid; it is left as it is.
    """
    added = {correction.sha256: correction for correction in add}
    for correction in added.values():
        _check_texts(correction)
    with writing(path):
        rows = read_corrections(path) if path.exists() or not added else {}
        gone = {sha256: rows.pop(sha256) for sha256 in {*added, *remove} if sha256 in rows}
        if added or gone:
            _write(path, [*rows.values(), *added.values()])
        return gone


def _write(path: Path, corrections: Sequence[Correction]) -> None:
    write_csv(path, map(_cells, corrections), COLUMNS)


def _check_texts(correction: Correction) -> None:
    """Check that UTF-8 can have the texts: bytes of a command line that are not UTF-8 are surrogates in Python."""
    for name, text in _cells(correction).items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{name} {text[:80]!r} has characters that are not Unicode; write it in UTF-8"
            ) from None


def _cells(correction: Correction) -> dict[str, str]:
    """Return the cells of a row; a reason of several lines becomes one line."""
    return {
        "sha256": correction.sha256,
        "label": correction.label or "",
        "exclude": EXCLUDED if correction.exclude else "",
        "who": " ".join(correction.who.split()),
        "when": correction.when,
        "why": " ".join(correction.why.split()),
    }


def _parse_row(row: Mapping[str, str]) -> Correction:
    if problem := _find_problem(row["sha256"], row["label"], row["exclude"]):
        raise DataError(problem)
    return Correction(row["sha256"], row["label"] or None, row["who"], row["when"], row["why"])


def _contradict(correction: Correction, other: Correction) -> str:
    return (
        f"correct the same image differently ({correction.who or 'nobody'}: {correction.decision}; "
        f"{other.who or 'nobody'}: {other.decision}); delete one of them"
    )


def _find_problem(sha256: str, label: str, exclude: str) -> str | None:
    """Return what is wrong with a line, and the fix."""
    if problem := find_hash_problem(sha256):
        return problem
    if exclude not in {"", EXCLUDED}:
        return f"exclude {exclude[:80]!r} is neither {EXCLUDED!r} nor empty"
    if label and exclude:
        return f"it has both label {label[:80]!r} and exclude; empty one of them"
    if not label and not exclude:
        return f"it has neither a label nor exclude; write a class, or {EXCLUDED!r} under exclude, or delete the line"
    return None
