"""Overrides as text, such as ``model.lr=1e-4``: quoting for Hydra, and suggestions for misspelled names."""

import difflib
import re
from collections.abc import Iterable
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from visiongate.settings.schema import Settings

# Names that a message lists.
MAX_LISTED = 40
Alternatives = tuple[Any, ...]


def quote_text(text: str) -> str:
    """Return a text as Hydra reads it, whatever characters it has."""
    text = escape_interpolations(text)
    # Hydra reads backslashes as escapes only before a quote.
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    text = re.sub(r"(\\+)$", r"\1\1", text)
    return f"'{text}'"


def escape_interpolations(text: str) -> str:
    """Return a text as OmegaConf reads it: ``${`` starts an interpolation, unless a backslash precedes it."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def is_text(name: str) -> bool:
    """Return whether a dotted name is that of a setting whose value is text of any characters."""
    alternatives: Alternatives = (Settings,)
    for part in name.split("."):
        alternatives = tuple(found for each in alternatives for found in _children(each, part))
    return bool(alternatives) and set(alternatives) <= {str, NoneType}


def suggest(name: str, known: Iterable[str], limit: int = MAX_LISTED) -> str:
    """Return the end of a message on an unknown name: a similar one, otherwise all known ones unless they are too many."""
    names = sorted(known, key=lambda each: each.count("."))
    same_key = [each for each in names if each.rpartition(".")[2] == name]
    similar = difflib.get_close_matches(name, names, n=1) or same_key[:1]
    if similar:
        return f"; did you mean {similar[0]}?"
    return f"; choose one of {', '.join(names)}" if len(names) <= limit else ""


def _children(annotation: object, name: str) -> Iterable[object]:
    """Return the types that a key of a section or of a mapping may have."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(name)
        return () if field is None else _alternatives(field.annotation)
    return _alternatives(get_args(annotation)[1]) if get_origin(annotation) is dict else ()


def _alternatives(annotation: object) -> Iterable[object]:
    """Return the members of a union, otherwise the annotation itself."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if isinstance(annotation, type) or get_origin(annotation) in {dict, list}:
        return (annotation,)
    members = get_args(annotation)
    if not members or isinstance(members[0], str):
        return (annotation,)
    return tuple(found for member in members for found in _alternatives(member))
