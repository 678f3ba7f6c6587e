"""Parsers for what the report reads from several files, or from a file without a schema."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from pydantic import TypeAdapter

from visiongate.errors import DataError
from visiongate.records.manifest import parse_manifest
from visiongate.records.parsing import check_type, flatten, parse_json, parse_yaml
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
    figures, details = parse_values(summary), parse_values(study)
    values = {
        "trials": figures.get("trials"),
        "metric": details.get("settings.optimize.metric", "metric"),
        "best": figures.get("best_value"),
        "current": figures.get("current_value"),
        "better": figures.get("beats_current"),
        "conclusion": details.get("conclusion", details.get("verdict", "")),
        "values": parse_params(best),
    }
    return check_type(TypeAdapter(Search), values)


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
