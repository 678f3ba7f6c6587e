"""What the log says about splits and folds."""

from collections import Counter
from collections.abc import Sequence

from visiongate.records.splits import SPLITS
from visiongate.text_tables import format_table
from visiongate.transformation.protocol import Assignment

# The smallest classes, which are listed if there are more.
LISTED = 20
# A class with fewer images has one test image at the default share, or two in each of five folds.
FEW_IMAGES = 10
EXAMPLES = 3


def summarize(assignment: Assignment, labels: Sequence[str]) -> str:
    """Return the protocol, and a table of the images of each class in each split or fold.

    Args:
        assignment: The splits and folds.
        labels: The class of each image.
    """
    folds, sizes = assignment.folds, Counter(labels)
    names = list(SPLITS) if folds is None else [f"fold {fold}" for fold in sorted(set(folds))]
    places = assignment.splits if folds is None else [f"fold {fold}" for fold in folds]
    counts = Counter(zip(labels, places, strict=True))
    smallest = sorted(sizes, key=lambda label: (sizes[label], label))[:LISTED]
    rows = [[label, *(str(counts[label, name]) for name in names)] for label in sorted(smallest)]
    rows.append([f"all {len(sizes)} classes", *(str(places.count(name)) for name in names)])
    header = f"{len(labels)} images, protocol {assignment.protocol}, method {assignment.method}"
    return f"{header}\n{format_table(['class', *names], rows)}"


def explain_small_classes(labels: Sequence[str]) -> str | None:
    """Return a warning about classes with too few images to be measured, None if there are none."""
    sizes = Counter(labels)
    small = sorted((count, label) for label, count in sizes.items() if count < FEW_IMAGES)
    if not small:
        return None
    examples = ", ".join(f"{label!r} ({count})" for count, label in small[:EXAMPLES])
    return (
        f"{len(small)} of {len(sizes)} classes have fewer than {FEW_IMAGES} images, such as {examples}: their metrics "
        "will vary by tens of points; add images"
    )
