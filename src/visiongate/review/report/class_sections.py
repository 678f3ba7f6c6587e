"""How each class fares, what is taken for what, and the slices on which the model does worst."""

from collections.abc import Mapping, Sequence

from visiongate.records.evaluation import Slice
from visiongate.records.parsing import is_finite
from visiongate.review.report.markdown import between, change, code, figure, listed, table
from visiongate.review.report.snapshot import ClassRow, Judged, Pair

MOST_CLASSES = 12  # of which a confusion matrix can be read
SHORT = 10  # letters of a class in the matrix's header
MOST_SLICES = 5
FEWEST = 20  # images of a slice, where the parameters do not say


def tabulate_classes(judged: Judged, rows: int) -> str:
    """Lay out the classes that changed most; without a base, or where none changed, those with the lowest recall."""
    now = judged.now.classes
    if now is None:
        return ""
    before = {row.name: row for row in (judged.base.classes if judged.base else None) or ()}
    told = _tell_members([row.name for row in now], list(before)) if before else ""
    changed = sorted((row for row in now if _moved(row, before)), key=lambda row: -_distance(row, before))
    shown = (changed or sorted(now, key=_rank))[:rows]
    what = "that changed most" if changed else "with the lowest recall"
    caption = f"The {len(shown)} {what}, of {len(now):,}." if len(shown) < len(now) else ""
    unchanged = "No class fares otherwise than before." if before and not changed else ""
    header = [
        "class",
        "images",
        "recall",
        *(["change"] if before else []),
        "F1",
        *(["change"] if before else []),
    ]
    cells = [_describe(row, before) for row in shown]
    return "\n\n".join(
        part for part in (told, unchanged, caption, table(header, cells, len(header) - 1)) if part
    )


def _tell_members(now: Sequence[str], base: Sequence[str]) -> str:
    added, removed = (
        [name for name in ours if name not in set(theirs)] for ours, theirs in ((now, base), (base, now))
    )
    lines = [f"Classes added: {listed(added)}."] if added else []
    return " ".join([*lines, *([f"Classes removed: {listed(removed)}."] if removed else [])])


def _describe(row: ClassRow, before: Mapping[str, ClassRow]) -> list[str]:
    cells = [code(row.name), f"{row.images:,}", figure(row.recall)]
    if not before:
        return [*cells, figure(row.f1)]
    base = before.get(row.name)
    if base is None:
        return [*cells, "new", figure(row.f1), "new"]
    return [*cells, change(row.recall, base.recall), figure(row.f1), change(row.f1, base.f1)]


def _moved(row: ClassRow, before: Mapping[str, ClassRow]) -> bool:
    base = before.get(row.name)
    return bool(before) and (base is None or (row.recall, row.f1) != (base.recall, base.f1))


def _distance(row: ClassRow, before: Mapping[str, ClassRow]) -> float:
    """Say by how much a class changed: its recall, or where that did not, its F1; a new one comes first."""
    base = before.get(row.name)
    if base is None or not (is_finite(row.recall) and is_finite(base.recall)):
        return 2.0
    if row.recall != base.recall:
        return 1e-3 + abs(row.recall - base.recall)
    return 1e-3 * abs(row.f1 - base.f1) if is_finite(row.f1) and is_finite(base.f1) else 0.0


def _rank(row: ClassRow) -> float:
    return row.recall if is_finite(row.recall) else -1.0


def tabulate_confusion(judged: Judged, rows: int) -> str:
    """Lay out what is taken for what: as a matrix where that can be read, else the pairs most often confused."""
    pairs = judged.now.confusion
    if not pairs:
        return ""
    names = [row.name for row in judged.now.classes or ()]
    names += sorted({name for pair in pairs for name in (pair.actual, pair.predicted)} - set(names))
    wrong = [pair for pair in pairs if pair.actual != pair.predicted]
    if len(names) <= min(MOST_CLASSES, rows):
        return f"Rows: what it is. Columns: what it is taken for.\n\n{_matrix(names, pairs)}"
    if not wrong:
        return "No test image is taken for another class."
    before = {
        (pair.actual, pair.predicted): pair.images
        for pair in (judged.base.confusion if judged.base else None) or ()
    }
    return _tabulate_pairs(wrong, before, rows)


def _matrix(names: Sequence[str], pairs: Sequence[Pair]) -> str:
    counts = {(pair.actual, pair.predicted): pair.images for pair in pairs}
    cells = [[code(actual, SHORT), *(_count(counts, actual, guess) for guess in names)] for actual in names]
    return table(["", *(code(name, SHORT) for name in names)], cells, numbers=len(names))


def _count(counts: Mapping[tuple[str, str], int], actual: str, guess: str) -> str:
    images = counts.get((actual, guess), 0)
    return "·" if not images else f"**{images:,}**" if actual == guess else f"{images:,}"


def _tabulate_pairs(wrong: Sequence[Pair], before: Mapping[tuple[str, str], int], rows: int) -> str:
    caption = f"The {min(rows, len(wrong))} pairs most often confused, of {len(wrong):,}."
    header = ["is", "taken for", "images", *(["base"] if before else [])]
    cells = [
        [
            code(pair.actual),
            code(pair.predicted),
            f"{pair.images:,}",
            *([f"{before.get((pair.actual, pair.predicted), 0):,}"] if before else []),
        ]
        for pair in wrong[:rows]
    ]
    return f"{caption}\n\n{table(header, cells, len(header) - 2)}"


def tabulate_slices(judged: Judged, rows: int) -> str:
    """Lay out the slices with the lowest accuracy that have enough images to say so."""
    if judged.now.slices is None:
        return ""
    fewest = (judged.now.params or {}).get("evaluation.slice_images")
    least = fewest if isinstance(fewest, int) else FEWEST
    large = [found for found in judged.now.slices if found.images >= least and is_finite(found.accuracy)]
    if not large:
        return f"No slice has {least:,} test images, the fewest that say something."
    worst = sorted(large, key=lambda found: (found.accuracy, -found.images))[: min(rows, MOST_SLICES)]
    before = {
        (found.dimension, found.name): found for found in (judged.base.slices if judged.base else None) or ()
    }
    header = ["slice", "images", "accuracy", *(["change"] if before else []), "p"]
    cells = [_describe_slice(found, before) for found in worst]
    caption = (
        f"The {len(worst)} with the lowest accuracy, of {len(large):,} with at least {least:,} test images; p: of being so "
        "much worse than the rest by luck."
    )
    return f"{caption}\n\n{table(header, cells, len(header) - 1)}"


def _describe_slice(found: Slice, before: Mapping[tuple[str, str], Slice]) -> list[str]:
    base = before.get((found.dimension, found.name))
    return [
        f"{code(found.dimension)} {code(found.name)}",
        f"{found.images:,}",
        f"{figure(found.accuracy)}{between(found.low, found.high)}",
        *([change(found.accuracy, base.accuracy) if base else "new"] if before else []),
        figure(found.p_value),
    ]
