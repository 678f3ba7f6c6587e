"""``docs/configuration.md`` and ``conf/schema.json``, generated from the types and descriptions of the settings.

Run ``python -m visiongate.settings.reference`` after a change of the settings.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from visiongate.records.files import write_text
from visiongate.settings.composition import CONF, compose_params
from visiongate.settings.schema import Settings

PAGE, SCHEMA = Path("docs/configuration.md"), Path("conf/schema.json")
INTRODUCTION = """\
# Configuration

This page lists every setting of `params.yaml` with its type, its default for the digits, and its meaning. Change a setting in
`conf/`, or for one run:

```sh
dvc exp run -S training.epochs=60
VISIONGATE_TRAINING__EPOCHS=60 visiongate repro
visiongate repro --config mine.yaml
```

The name of an environment variable is `VISIONGATE_`, the section, two underscores, and the key. Its value may be any text.
Only `visiongate serve` reads those of the section `serving`, which may have a password; `params.yaml` is in git.
After `-S`, Hydra needs quotes around a text with special characters: `-S "dataset.path='/data/My Pets (2026)'"`. `mine.yaml`
has the format of `params.yaml` and contains only the settings to change. Overrides from the environment and the file are
printed and listed at the top of `params.yaml`. The file takes precedence over `-S`, `-S` over the environment, and the
environment over `conf/`. Editors can use the JSON schema in `conf/schema.json`.

This page is generated: `python -m visiongate.settings.reference`.
"""
_TYPES = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "boolean": "boolean",
    "null": "null",
    "array": "list",
    "object": "mapping",
}
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


def render_reference(conf: Path) -> str:
    """Return the page as Markdown."""
    values = yaml.safe_load(compose_params(conf))
    sections = [_render_section(name, field, values[name]) for name, field in Settings.model_fields.items()]
    return "\n".join([INTRODUCTION, *sections])


def render_schema() -> str:
    """Return the JSON schema of ``params.yaml``."""
    return json.dumps(Settings.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def _render_section(name: str, field: FieldInfo, values: Any) -> str:  # noqa: ANN401 - plain values
    header = (
        f"## {name}\n\n{field.description}\n\n| setting | type | default | meaning |\n|---|---|---|---|\n"
    )
    rows = [row for section in _sections(field.annotation) for row in _rows(name, section, values)]
    return header + "".join(f"{row}\n" for row in dict.fromkeys(rows))


def _rows(prefix: str, section: type[BaseModel], values: Any) -> Iterator[str]:  # noqa: ANN401 - plain values
    schema = section.model_json_schema()
    for name, field in section.model_fields.items():
        value = values.get(name) if isinstance(values, dict) else None
        nested = _sections(field.annotation)
        is_mapping = str(field.annotation).startswith("dict")
        if nested and not is_mapping and len(nested) == 1 and isinstance(value, dict):
            yield from _rows(f"{prefix}.{name}", nested[0], value)
            continue
        kind = _describe_type(schema["properties"][name], schema.get("$defs", {}))
        default = "" if is_mapping or value is None else f"`{json.dumps(value, ensure_ascii=False)}`"
        yield f"| `{prefix}.{name}` | {kind} | {_cell(default)} | {_cell(field.description or '')} |"
        if nested and (is_mapping or value is None):
            entry = f"{prefix}.{name}.NAME" if is_mapping else f"{prefix}.{name}"
            yield from _rows(entry, nested[0], None)


def _sections(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]


def _describe_type(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in schema:
        return "mapping"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_describe_type(part, definitions) for part in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    bounds = [f"{mark} {schema[key]:g}" for key, mark in _BOUNDS.items() if key in schema]
    return " ".join([_TYPES.get(schema["type"], schema["type"]), *bounds])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write the page and the schema."""
    write_text(PAGE, render_reference(CONF))
    write_text(SCHEMA, render_schema())
    return 0


if __name__ == "__main__":
    sys.exit(main())
