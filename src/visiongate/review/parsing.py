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
    """The result of `optimize` and `recommend`."""

    trials: int
    better: bool
    conclusion: str
    values: Mapping[str, object]


def parse_values(content: bytes) -> dict[str, object]:
    """Parse JSON, and return each value by its dotted name."""
    return flatten(parse_json(content))


def parse_params(content: bytes) -> dict[str, object]:
    """Parse YAML, and return each value by its dotted name."""
    return flatten(parse_yaml(content))


def describe_other_data(params: Mapping[str, object], base: Mapping[str, object]) -> str:
    """Return why the models of two revisions were not evaluated on comparable images; empty if they may have been.

    Args:
        params: Parameters of a revision by dotted name.
        base: Those of the revision to compare with.
    """
    name = base.get("dataset.name")
    if name is not None and name != params.get("dataset.name"):
        return f"the base was evaluated on {name}"
    classes = [values.get("dataset.classes") for values in (params, base)]
    is_known = all(isinstance(each, tuple) for each in classes)
    return "the base was evaluated with other classes" if is_known and classes[0] != classes[1] else ""


def parse_search(summary: bytes, recommendation: bytes, comparison: bytes, best: bytes) -> Search:
    """Parse ``optimize.json``, ``recommendation.json``, ``comparison.json`` and ``best_params.yaml``."""
    return Search(
        trials=search.parse_summary(summary).trials,
        better=search.parse_recommendation(recommendation).better,
        conclusion=search.parse_comparison(comparison).conclusion,
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
