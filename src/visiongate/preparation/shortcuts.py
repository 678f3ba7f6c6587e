"""Shortcuts: properties of the files that predict the class, so that a model can learn them instead of the subject.

Geirhos, R., et al. (2020), Shortcut learning in deep neural networks, Nature Machine Intelligence 2, 665-673.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visiongate.preparation.quality import ImageRow
from visiongate.records.measurements import Measurement
from visiongate.text_tables import join_first

# Fewer images of a class, or of the others, show nothing.
MIN_IMAGES = 10
# The least share of a class's images, and of all others, that the property must tell apart.
MIN_SHARE = 0.9
# Classes in a message.
MAX_CLASSES = 3
_SAME_SOURCE = "take images of every class from the same sources"
_REMEDIES = {
    "size": f"{_SAME_SOURCE}, or set transformation.size to the smallest side, so that no image is enlarged",
    "format": f"{_SAME_SOURCE}, or save all images in one format",
    "color mode": f"{_SAME_SOURCE}, or convert all images to one color mode",
}
_PROPERTIES: dict[str, Callable[[Measurement], str]] = {
    "size": lambda found: f"{found.width} × {found.height}",
    "format": lambda found: str(found.format),
    "color mode": lambda found: str(found.mode),
}


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A property that predicts classes.

    Attributes:
        name: ``size``, ``format`` or ``color mode``.
        classes: The most frequent value of each class that it predicts.
    """

    name: str
    classes: dict[str, str]

    def __str__(self) -> str:
        """Return one line with the classes and what to do."""
        named = join_first((f"{label} ({value})" for label, value in self.classes.items()), MAX_CLASSES)
        return (
            f"the {self.name} of the images alone predicts the class {named}; a model can learn it instead of the subject; "
            f"{_REMEDIES[self.name]}"
        )


def find_shortcuts(
    rows: Sequence[ImageRow], measurements: Sequence[Measurement], classes: Sequence[str]
) -> list[Shortcut]:
    """Return the properties that tell a class from the others.

    An image is predicted as a class if most other images with the same value are of that class; so a value of a single image
    predicts nothing. A class is told apart if that is right for at least `MIN_SHARE` of its images and of the others.

    Args:
        rows: The images.
        measurements: The measurement of each image, which decodes.
        classes: All labels.
    """
    found = []
    for name, read in _PROPERTIES.items():
        by_class: dict[str, Counter[str]] = {label: Counter() for label in classes}
        for row, image in zip(rows, measurements, strict=True):
            by_class[row.label][read(image)] += 1
        totals = sum(by_class.values(), Counter[str]())
        predicted = {
            label: own.most_common(1)[0][0] for label, own in by_class.items() if _is_told_apart(own, totals)
        }
        if predicted:
            found.append(Shortcut(name, predicted))
    return found


def _is_told_apart(own: Counter[str], totals: Counter[str]) -> bool:
    """Return whether the values tell a class from the others, given their counts in the class and in all images."""
    images, others = own.total(), totals.total() - own.total()
    if min(images, others) < MIN_IMAGES:
        return False
    right = sum(count for value, count in own.items() if 2 * (count - 1) > totals[value] - 1)
    wrong = sum(totals[value] - count for value, count in own.items() if 2 * count > totals[value] - 1)
    return right >= MIN_SHARE * images and others - wrong >= MIN_SHARE * others
