"""Parsers for what the report reads from several files, or from a file without a schema."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from visiongate.errors import DataError
from visiongate.records import search
from visiongate.records.manifest import parse_manifest
from visiongate.records.parsing import flatten, parse_json, parse_yaml
from visiongate.records.transform import parse_transform

MANIFEST = ("sha256", "path", "split", "label", "group")


@dataclass(frozen=True, slots=True)
class Search:
    """The result of `optimize`."""

    trials: int
    metric: str
    best: float
    current: float | None
    better: bool
    conclusion: str
    values: Mapping[str, object]


def parse_values(content: bytes) -> dict[str, object]:
    """Parse JSON, and return each value by its dotted name."""
    return flatten(parse_json(content))


def parse_params(content: bytes) -> dict[str, object]:
    """Parse YAML, and return each value by its dotted name."""
    return flatten(parse_yaml(content))


def parse_search(summary: bytes, study: bytes, best: bytes) -> Search:
    """Parse ``optimize.json``, ``study.json`` and ``best_params.yaml``."""
    figures, record = search.parse_summary(summary), search.parse_study(study)
    return Search(
        trials=figures.trials,
        metric=str(flatten(record.settings).get("optimize.metric", "metric")),
        best=figures.best_value,
        current=figures.current_value,
        better=figures.beats_current,
        conclusion=record.conclusion,
        values=search.parse_best(best),
    )


def parse_images(manifest: bytes, transform: bytes) -> pa.Table:
    """Return sha256, path, split, label (a name) and group of each image, one row per hash."""
    table = parse_manifest(manifest, MANIFEST)
    names = parse_transform(transform).classes
    try:
        labels = pa.array(names, pa.string()).take(table.column("label").combine_chunks())
    except pa.ArrowException as error:
        raise DataError(f"a label has no class: {error}") from None
    table = table.set_column(table.schema.get_field_index("label"), "label", labels)
    others = [name for name in MANIFEST if name != "sha256"]
    unique = table.group_by("sha256").aggregate([(name, "min") for name in others])
    return unique.rename_columns([name.removesuffix("_min") for name in unique.column_names]).sort_by(
        "sha256"
    )
