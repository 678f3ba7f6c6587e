"""``params.yaml``, read once into typed settings.

This imports nothing heavy, so that an invalid setting is rejected before torch or MLflow are imported.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from visiongate.errors import SettingsError
from visiongate.paths import PARAMS
from visiongate.settings.overrides import suggest
from visiongate.settings.schema import Settings

# OmegaConf's mark for a value that must be given; DVC passes it on.
MISSING = "???"
Location = tuple[str | int, ...]
Schema = TypeVar("Schema", bound=BaseModel)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's loader, but 1e-4 is a number, as in Hydra and DVC, and not text, as in YAML 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_settings(path: Path = PARAMS) -> Settings:
    """Read ``params.yaml``.

    Raises:
        SettingsError: The file is missing or invalid; the message has a line for each invalid setting.
    """
    try:
        tree = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 - a safe loader
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file; run `visiongate params`") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: invalid YAML: {' '.join(str(error).split())}") from None
    return parse_settings(tree, str(path))


def parse_settings(tree: object, source: str, origins: Mapping[str, str] | None = None) -> Settings:
    """Validate plain values.

    Args:
        tree: The values.
        source: Where they come from, for the messages.
        origins: Where single values come from instead, by dotted name, such as an environment variable.

    Raises:
        SettingsError: As `load_settings`.
    """
    return parse_as(Settings, tree, source, origins or {})


def parse_as(schema: type[Schema], tree: object, source: str, origins: Mapping[str, str]) -> Schema:
    """Validate plain values as `parse_settings` does, by the schema of some of the sections."""
    missing = [_dotted(location) for location in _find_missing(tree)]
    if missing:
        raise SettingsError(
            "\n".join(f"{_origin(key, source, origins)}{key}: a value is required" for key in missing)
        )
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        lines = _explain(error, tree)
        raise SettingsError(
            "\n".join(f"{_origin(key, source, origins)}{text}" for key, text in lines)
        ) from None


def replace_settings(settings: Settings, values: Mapping[str, Any], source: str) -> Settings:
    """Return settings with some values replaced by dotted name, validated again.

    Args:
        settings: The settings.
        values: Such as ``{"model.lr": 0.01}``.
        source: Where the values come from, for the messages.

    Raises:
        SettingsError: A name does not exist, or a value is invalid.
    """
    try:
        tree = settings.replaced(values)
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from None
    return parse_settings(tree, source)


def _find_missing(node: object, location: Location = ()) -> Iterator[Location]:
    if isinstance(node, Mapping | list):
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _find_missing(value, (*location, key))
    elif node == MISSING:
        yield location


def _origin(key: str, source: str, origins: Mapping[str, str]) -> str:
    """Return the start of a message: where the value comes from. The name of an override on the command line says it itself."""
    origin = next((origins[name] for name in origins if f"{key}.".startswith(f"{name}.")), source)
    return "" if origin in origins else f"{origin}: "


def _explain(error: ValidationError, tree: object) -> list[tuple[str, str]]:
    """Return each invalid setting: its key, and a line with the key, the value and pydantic's message."""
    lines: dict[tuple[str, str], list[str]] = {}
    for problem in error.errors(include_url=False):
        location = _in_file(problem["loc"], tree, is_missing=problem["type"] == "missing")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = _explain_unknown(location, tree)
        key = _dotted(location)
        is_value = problem["type"] != "missing" and not isinstance(problem["input"], Mapping | BaseModel)
        shown = f"{key or 'the file'} = {problem['input']!r} is invalid" if is_value else key
        messages = lines.setdefault((key, f"{shown}: " if shown else ""), [])
        if message not in messages:
            messages.append(message)
    return [(key, start + " or ".join(messages)) for (key, start), messages in lines.items()]


def _explain_unknown(location: Location, tree: object) -> str:
    return f"unknown key{suggest(str(location[-1]), _keys(location[:-1], tree))}"


def _in_file(location: Location, tree: Any, *, is_missing: bool) -> Location:  # noqa: ANN401 - plain values
    """Leave out the parts of a location that name members of unions, which are not in the file."""
    kept: list[str | int] = []
    for index, part in enumerate(location):
        is_in_tree = part in tree if isinstance(tree, Mapping) else isinstance(tree, list) and part != "list"
        if is_in_tree:
            tree = tree[part]
        if is_in_tree or (is_missing and index == len(location) - 1):
            kept.append(part)
    return tuple(kept)


def _keys(location: Location, tree: Any) -> Sequence[str]:  # noqa: ANN401 - plain values
    """Return the keys of the section at a location."""
    section: type[BaseModel] | None = Settings
    for part in location:
        tree = tree[part]
        field = section.model_fields.get(str(part)) if section else None
        # A mapping with names of its own, such as the gate's rules, has no field for them.
        section = _section(field.annotation, tree) if field else section
    return list(section.model_fields) if section else ()


def _section(annotation: Any, tree: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any annotation
    """Return the section in an annotation; of a tagged union, the one of the value's kind."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    sections = [found for part in get_args(annotation) if (found := _section(part, tree))]
    kind = tree.get("kind") if isinstance(tree, Mapping) else None
    matching = [
        each
        for each in sections
        if "kind" in each.model_fields and kind in get_args(each.model_fields["kind"].annotation)
    ]
    return next(iter(matching or sections), None)


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location if part != "[key]")
