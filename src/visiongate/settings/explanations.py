"""What is wrong with a setting, in words: key, value and what is allowed, out of the types of the settings themselves."""

import types
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Annotated, Any, Literal, NamedTuple, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

MISSING = "???"  # OmegaConf's mark for a value that must be given; DVC passes it through

Location = tuple[str | int, ...]  # keys and indices, from the root down
Section = type[BaseModel]


class _Place(NamedTuple):
    """Where in the settings a location leads."""

    section: type[BaseModel]  # the innermost on the way
    allowed: str | None  # what may stand there; None where the key is unknown
    depth: int  # how many parts lead there; pydantic adds the member of a union that it tried


def explain_missing(root: Section, tree: object, location: Location) -> str:
    """Say what must be given in the place of a mark for a missing value."""
    place = _locate(root, tree, location)
    wanted = f"a value must be given: {place.allowed}" if place.allowed else _unknown(place, location)
    return f"{_dotted(location)} = {MISSING!r}: {wanted}"


def explain(root: Section, tree: Any, problem: Any) -> str:  # noqa: ANN401 - plain values, pydantic's ErrorDetails
    """Say in one line what pydantic found: key, value and what is allowed.

    Args:
        root: The section that the tree was validated as.
        tree: Plain values.
        problem: One of `ValidationError.errors`.
    """
    found = _untagged(root, problem["loc"])
    kind, place = problem["type"], _locate(root, tree, found)
    location = found[: place.depth]
    key = _dotted(location).removesuffix(".[key]")
    if kind.startswith("union_tag"):
        members = ", ".join(_members(root.model_fields[key]))
        given = "" if kind.endswith("not_found") else f" = {reduce(getitem, location, tree)['kind']!r}"
        return f"{key}.kind{given or ': missing'}{':' if given else ';'} must be one of {members}"
    if kind == "value_error":
        message = str(problem["ctx"]["error"])
        return f"{key}: {message}" if key else message
    if kind == "missing":
        return f"{key}: missing; must be {place.allowed}"
    if kind == "invalid_key" or found[-1:] == ("[key]",):
        return f"{key}: a key must be text, not {problem['input']!r}"
    value = f"{key or 'the file'} = {reduce(getitem, location, tree)!r}"
    if place.allowed is None:
        return f"{value}: {_unknown(place, location)}"
    return f"{value}: must be {place.allowed}{', and finite' if kind == 'finite_number' else ''}"


def _unknown(place: _Place, location: Location) -> str:
    return f"unknown key; {_dotted(location[:-1]) or 'the file'} has {', '.join(place.section.model_fields)}"


def _dotted(location: Location) -> str:
    return ".".join(map(str, location))


def _untagged(root: Section, location: Location) -> Location:
    """Leave out the member of a tagged union that pydantic puts after the key."""
    field = root.model_fields.get(str(location[0])) if location else None
    tagged = field is not None and field.discriminator is not None
    return location[:1] + location[2:] if tagged else location


def _locate(root: Section, tree: Any, location: Location) -> _Place:  # noqa: ANN401 - plain values
    """Follow a location through sections, mappings and lists, as far as it names something in the file."""
    section = root
    annotation: Any = root
    allowed = _kind(root)
    for depth, part in enumerate(location):
        if _is_section(annotation):
            section = annotation
            field = section.model_fields.get(str(part))
            if field is None:
                return _Place(section, None, depth + 1)
            annotation, allowed = _choose(field, tree, part), _allowed(field)
        elif inner := _entry(annotation, part):
            annotation, allowed = inner, _kind(inner)
        else:
            return _Place(section, allowed, depth)
    return _Place(section, allowed, len(location))


def _choose(field: FieldInfo, tree: Any, key: str | int) -> Any:  # noqa: ANN401 - plain values in, any type annotation out
    """Return a field's type; of a tagged union, the member that the file asks for; the section where it may also be null."""
    if field.discriminator is None:
        sections = [arg for arg in get_args(field.annotation) if _is_section(arg)]
        return sections[0] if len(sections) == 1 and _is_union(field.annotation) else field.annotation
    chosen = tree.get(key) if isinstance(tree, Mapping) else None
    members = _members(field)
    kind = chosen.get("kind") if isinstance(chosen, Mapping) else None
    return members.get(str(kind), next(iter(members.values())))


def _members(field: FieldInfo) -> dict[str, type[BaseModel]]:
    """The sections of a tagged union by their tag."""
    return {
        get_args(member.model_fields["kind"].annotation)[0]: member for member in get_args(field.annotation)
    }


def _entry(annotation: Any, part: str | int) -> Any:  # noqa: ANN401 - any type annotation
    """Return the type of a mapping's or list's entries, None for anything else."""
    origin = get_origin(annotation)
    options = [arg for arg in get_args(annotation) if arg is not type(None)]
    if origin is dict or (origin is list and isinstance(part, int)):
        return options[-1]
    is_optional = _is_union(annotation) and len(options) == 1
    return _entry(options[0], part) if is_optional else None


def _is_union(annotation: Any) -> bool:  # noqa: ANN401 - any type annotation
    return get_origin(annotation) in (types.UnionType, Union)


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:  # noqa: ANN401
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


_KINDS: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    str: "text",
    bool: "true or false",
    type(None): "null",
}
_ENTRIES: dict[Any, str] = {dict: "a mapping, each value", list: "a list, each"}
_BOUNDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}


def _allowed(field: FieldInfo) -> str:
    """Say in words what a field takes, bounds included."""
    bounds = [
        f"{word} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, word in _BOUNDS.items()
        if getattr(rule, name, None) is not None
    ]
    patterns = [f"matching {rule.pattern}" for rule in field.metadata if getattr(rule, "pattern", None)]
    words = " ".join([_kind(field.annotation), " and ".join(bounds + patterns)]).strip()
    return (
        f"{words}; not empty" if any(getattr(rule, "min_length", None) for rule in field.metadata) else words
    )


def _kind(annotation: Any) -> str:  # noqa: ANN401 - any type annotation
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is Annotated:
        return _allowed(FieldInfo.from_annotation(annotation))
    if origin in (types.UnionType, Union):
        return " or ".join(_kind(arg) for arg in args)
    if origin in _ENTRIES:
        return f"{_ENTRIES[origin]} {_kind(args[-1])}"
    if _is_section(annotation):
        return "a mapping with " + ", ".join(annotation.model_fields)
    return _KINDS.get(annotation, str(annotation))
