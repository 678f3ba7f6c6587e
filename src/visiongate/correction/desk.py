"""The suspects that a person looks through, and the decisions that they make: each is written at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from visiongate.correction.embeddings import Embeddings
from visiongate.correction.suspects import LabeledImages, Suspect
from visiongate.errors import DataError
from visiongate.explanation.neighbors import find_neighbors
from visiongate.records.corrections import (
    Correction,
    add_correction,
    read_corrections,
    remove_correction,
)

NEIGHBORS = 5


@dataclass(frozen=True, slots=True)
class Neighbor:
    """An image that looks like a suspect."""

    sha256: str
    label: str


@dataclass(frozen=True, slots=True)
class Card:
    """An image to decide about.

    Attributes:
        sha256: Of the encoded file.
        path: In the source; None if the data do not have the image.
        label: Its class; None if the data do not have the image, or quarantined it.
        correction: The decision, if there is one.
        suspect: What speaks against the label; None if the image was not checked.
        neighbors: The most similar images, the nearest first.
    """

    sha256: str
    path: str | None
    label: str | None
    correction: Correction | None
    suspect: Suspect | None = None
    neighbors: Sequence[Neighbor] = ()


class Desk:
    """Shows suspects and records decisions in ``corrections.csv``."""

    def __init__(
        self,
        images: LabeledImages,
        embeddings: Embeddings,
        suspects: Sequence[Suspect],
        file: Path,
        who: str,
    ) -> None:
        """Start with all suspects that nobody has decided about.

        Args:
            images: The checked images.
            embeddings: Of the images, float32 N×D.
            suspects: All images, the most suspicious first.
            file: ``corrections.csv``.
            who: The name of the person.
        """
        decided = read_corrections(file)
        self._images, self._embeddings, self._file, self._who = images, embeddings, file, who
        self._suspects = [suspect for suspect in suspects if suspect.sha256 not in decided]
        self._by_hash = {suspect.sha256: suspect for suspect in suspects}

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that an image can have."""
        return self._images.classes

    def corrections(self) -> dict[str, Correction]:
        """Return the decisions by sha256, the latest last."""
        return read_corrections(self._file)

    def suspects(self, *, likely: bool) -> list[Suspect]:
        """Return the suspects that nobody had decided about at the start.

        Args:
            likely: Whether to leave out those whose labels are probably right.
        """
        return [suspect for suspect in self._suspects if suspect.likely or not likely]

    def show(self, suspects: Sequence[Suspect]) -> list[Card]:
        """Return the cards of suspects, with their nearest images."""
        decisions = self.corrections()
        queries = self._embeddings[[suspect.row for suspect in suspects]]
        # The nearest image of an image is the image itself, unless it has copies.
        found = find_neighbors(queries, self._embeddings, NEIGHBORS + 1).rows.tolist() if suspects else []
        return [
            Card(
                suspect.sha256,
                suspect.path,
                suspect.label,
                decisions.get(suspect.sha256),
                suspect,
                [self._neighbor(row, decisions) for row in rows if row != suspect.row][:NEIGHBORS],
            )
            for suspect, rows in zip(suspects, found, strict=True)
        ]

    def show_decided(self, corrections: Sequence[Correction]) -> list[Card]:
        """Return the cards of decisions, also of images that are excluded."""
        return [self._decided(correction.sha256, correction) for correction in corrections]

    def decide(self, sha256: str, label: str | None, why: str) -> Card:
        """Write a decision and return the image's card.

        Args:
            sha256: Of a checked image.
            label: The class that the image shows; None excludes the image.
            why: The reason; by default what the prediction says.

        Raises:
            DataError: The image or the class is unknown, or the file is invalid.
        """
        suspect = self._by_hash.get(sha256)
        if suspect is None:
            raise DataError(f"{sha256[:64]!r}: not an image of the data")
        if label is not None and label not in self.classes:
            raise DataError(f"{label!r} is not a class; choose one of {', '.join(self.classes)}")
        reason = (
            why.strip()
            or f"looked at; predicted {suspect.suggested} with {suspect.suggested_probability:.0%}"
        )
        add_correction(self._file, Correction(sha256, label, self._who, today(), reason))
        return self.show([suspect])[0]

    def undo(self, sha256: str) -> Card:
        """Remove the decision about an image and return its card.

        Raises:
            DataError: There is no such decision, or the file is invalid.
        """
        if remove_correction(self._file, sha256) is None:
            raise DataError(f"{sha256[:64]!r}: no correction to undo")
        suspect = self._by_hash.get(sha256)
        return self.show([suspect])[0] if suspect else self._decided(sha256, None)

    def _decided(self, sha256: str, correction: Correction | None) -> Card:
        suspect = self._by_hash.get(sha256)
        path, label = (suspect.path, suspect.label) if suspect else (None, None)
        return Card(sha256, path, label, correction, suspect)

    def _neighbor(self, row: int, decisions: Mapping[str, Correction]) -> Neighbor:
        """Return a similar image with the label that a person gave it, or that of the data."""
        image = self._images.images[row]
        corrected = decisions.get(image.sha256)
        label = (
            "excluded" if corrected and corrected.exclude else (corrected and corrected.label) or image.label
        )
        return Neighbor(image.sha256, label)


def today() -> str:
    """Return the date for a correction, in UTC."""
    return datetime.now(UTC).date().isoformat()
