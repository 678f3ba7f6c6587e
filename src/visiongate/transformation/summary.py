"""What the log says about splits and folds."""

from collections import Counter
from collections.abc import Sequence

from visiongate.records.splits import SPLITS
from visiongate.text_tables import format_table
from visiongate.transformation.assignment import Assignment

# The smallest classes, which are listed if there are more.
LISTED = 20
# A class with fewer images has one test image at the default share, or two in each of five folds.
FEW_IMAGES = 10
EXAMPLES = 3
# Column of the collected images with cross-validation.
TRAINING = "training only"
LEFT_OUT = "near-duplicates of images that judge the model, or of their groups"


def summarize(assignment: Assignment, labels: Sequence[str]) -> str:
    """Return the protocol, and a table of the images of each class in each split or fold, and of those that only train.

    Args:
        assignment: The splits and folds.
        labels: The class of each image.
    """
    sizes, places = Counter(labels), _name_places(assignment)
    names = list(SPLITS)
    if assignment.fold_count is not None:
        names = [f"fold {fold}" for fold in range(assignment.fold_count)]
        names += [TRAINING] if TRAINING in places else []
    counts = Counter(zip(labels, places, strict=True))
    smallest = sorted(sizes, key=lambda label: (sizes[label], label))[:LISTED]
    rows = [[label, *(str(counts[label, name]) for name in names)] for label in sorted(smallest)]
    rows.append([f"all {len(sizes)} classes", *(str(places.count(name)) for name in names)])
    left_out = places.count(None)
    header = f"{len(labels) - left_out} images, protocol {assignment.protocol}, method {assignment.method}"
    note = f"\n{left_out} collected images are left out: {LEFT_OUT}" if left_out else ""
    return f"{header}\n{format_table(['class', *names], rows)}{note}"


def _name_places(assignment: Assignment) -> list[str | None]:
    """Return the column of each image; None if it is left out."""
    if assignment.folds is None:
        return list(assignment.splits)
    folded = zip(assignment.splits, assignment.folds, strict=True)
    return [(TRAINING if fold is None else f"fold {fold}") if split else None for split, fold in folded]


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
