"""What was found of the data, and how they changed."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from visiongate.records.preparation import QuarantinedImage
from visiongate.review.report.markdown import MOST_SENTENCE, change, code, table
from visiongate.review.report.snapshot import Judged

SHOWN_SENTENCE = MOST_SENTENCE // 2
SPLITS = ("train", "val", "test")


def tell_validation(judged: Judged, rows: int) -> str:
    """Say how many expectations are met, and lay out those that are not."""
    found = judged.now.expectations
    if found is None:
        return ""
    failed = sorted(
        (each for each in found if not each.success), key=lambda each: each.severity != "critical"
    )
    told = f"{len(found) - len(failed):,} of {len(found):,} expectations met."
    if not failed:
        return told
    before = _failed_before(judged)
    cells = [
        [
            f"{'❌' if each.severity == 'critical' else '⚠️'} {code(each.name)}",
            f"{code(each.required, SHOWN_SENTENCE)}",
            f"{code(each.actual, SHOWN_SENTENCE)}{'' if before is None or each.name in before else ' (new)'}",
        ]
        for each in failed[:rows]
    ]
    return f"{told}\n\n{table(['expectation', 'required', 'actual'], cells)}"


def _failed_before(judged: Judged) -> set[str] | None:
    if judged.base is None or judged.base.expectations is None:
        return None
    return {each.name for each in judged.base.expectations if not each.success}


def tabulate_images(judged: Judged, rows: int) -> str:
    """Count the images by split, and say which came, went, moved or changed their label."""
    now, base = judged.now.images, judged.base.images if judged.base else None
    counts = _count(now) if now is not None else None
    parts = []
    if counts is not None and now is not None:
        before = _count(base) if base is not None else None
        splits = [*SPLITS, *sorted({*counts, *(before or {})} - set(SPLITS))]
        header = ["split", *(["base"] if before else []), "now", *(["change"] if before else [])]
        cells = [
            [
                code(split),
                *([f"{before[split]:,}"] if before else []),
                f"{counts[split]:,}",
                *([change(counts[split], before[split])] if before else []),
            ]
            for split in splits[:rows]
        ]
        parts.append(table(header, cells, len(header) - 1))
        parts.append(_tell_moves(now, base) if base is not None else "")
    parts.append(_tell_quarantine(judged, rows))
    return "\n\n".join(part for part in parts if part)


def _count(images: pa.Table) -> Counter[str]:
    return Counter(
        {str(found["values"]): found["counts"] for found in pc.value_counts(images["split"]).to_pylist()}
    )


def _tell_moves(now: pa.Table, base: pa.Table) -> str:
    """Tell images by their content: the same bytes are the same image, whatever their path."""
    if now.equals(base):
        return "The same images as before."
    kept = now.join(base, keys="sha256", join_type="inner", right_suffix="_base")
    moved = _count_unlike(kept, "split")
    relabeled = _count_unlike(kept, "label")
    return (
        f"Added {len(now) - len(kept):,}, removed {len(base) - len(kept):,}; of the others {moved:,} moved to another split, "
        f"and {relabeled:,} have another label."
    )


def _count_unlike(kept: pa.Table, column: str) -> int:
    return int(pc.sum(pc.not_equal(kept[column], kept[f"{column}_base"])).as_py() or 0)


def _tell_quarantine(judged: Judged, rows: int) -> str:
    """Count what was left out by reason, and name what is new there."""
    now = judged.now.quarantine
    if now is None:
        return ""
    base = judged.base.quarantine if judged.base else None
    if not now and not base:
        return "No image is quarantined."
    counts, before = _reasons(now), _reasons(base or ())
    header = ["quarantined for", *(["base"] if base is not None else []), "now"]
    cells = [
        [code(reason), *([f"{before[reason]:,}"] if base is not None else []), f"{counts[reason]:,}"]
        for reason in sorted({*counts, *before})[:rows]
    ]
    known = {(each.sha256, each.path) for each in base or ()}
    fresh = [each for each in now if base is not None and (each.sha256, each.path) not in known]
    return "\n\n".join(part for part in (table(header, cells, len(header) - 1), _name(fresh, rows)) if part)


def _reasons(quarantine: Sequence[QuarantinedImage]) -> Counter[str]:
    return Counter(each.reason for each in quarantine)


def _name(fresh: Sequence[QuarantinedImage], rows: int) -> str:
    if not fresh:
        return ""
    cells = [[code(each.path), code(each.label), code(each.reason)] for each in fresh[:rows]]
    caption = (
        f"Newly quarantined: {len(fresh):,}{f', of these the first {rows}' if len(fresh) > rows else ''}."
    )
    return f"{caption}\n\n{table(['image', 'class', 'reason'], cells)}"
