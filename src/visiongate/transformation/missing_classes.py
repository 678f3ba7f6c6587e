"""Fill splits and folds that miss a class, as far as other splits and folds can spare its images."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from visiongate.transformation.units import Unit

# A split or a fold.
Place = TypeVar("Place", bound=str | int)


class ClassFiller(Generic[Place]):
    """Moves units between places, so that every class is in every place if it has enough units.

    Args:
        places: The place of each image. It is changed in place.
        units: The images that move together.
        labels: The class of each image.
    """

    def __init__(self, places: list[Place], units: Sequence[Unit], labels: Sequence[str]) -> None:
        self.places: list[Place] = places
        self.counts: Counter[tuple[Place, str]] = Counter(zip(places, labels, strict=True))
        # The units that have a class, each with its images of every class.
        self.having = defaultdict[str, list[tuple[Unit, Counter[str]]]](list)
        for unit in units:
            content = Counter(labels[member] for member in unit.members)
            for label in content:
                self.having[label].append((unit, content))

    def fill(
        self, place: Place, distance: Callable[[Unit], float | None], *, at_any_cost: bool = False
    ) -> None:
        """Move units to a place until it has every class that can be spared.

        Args:
            place: A split or a fold.
            distance: How far a unit is from the place; the nearest one moves. None for a unit that must not move there.
            at_any_cost: Whether a class may lose its last image in the place that its unit comes from.
        """
        for label in sorted(self.having):
            if self.counts[place, label]:
                continue
            spare = [
                (nearness, unit.position, index)
                for index, (unit, content) in enumerate(self.having[label])
                if (nearness := distance(unit)) is not None
                and (at_any_cost or self._can_spare(unit, content))
            ]
            if spare:
                self._move(*self.having[label][min(spare)[-1]], place)

    def _can_spare(self, unit: Unit, content: Counter[str]) -> bool:
        """Return whether the unit's place has more images of each of its classes."""
        place = self.places[unit.members[0]]
        return all(self.counts[place, label] > count for label, count in content.items())

    def _move(self, unit: Unit, content: Counter[str], place: Place) -> None:
        left = self.places[unit.members[0]]
        self.counts.subtract({(left, label): count for label, count in content.items()})
        self.counts.update({(place, label): count for label, count in content.items()})
        for member in unit.members:
            self.places[member] = place
