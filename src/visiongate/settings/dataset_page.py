"""A page of ``conf/dataset`` for a user's own images, and the choice of it in ``conf/config.yaml``."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from visiongate.errors import SettingsError
from visiongate.settings.overrides import escape_interpolations

# The page of any images, whose values the new page changes.
FOLDER = "folder"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
FALLBACK = "images"
ARCHIVE_ENDING = re.compile(r"(\.tar)?\.(zip|tar|tgz|tbz2?|txz|gz|bz2|xz|npz|parquet)$", re.IGNORECASE)
WRITTEN = "# Written by `visiongate use`."
COMMENT = f"""\
# @package _global_
{WRITTEN} docs/new-data-set.md lists what else it may set, such as paths to exclude or groups of images.
#   dvc exp run -S dataset={{name}}
"""
# Absolute, because the page is in another group.
RECIPES = "/experiment"
# Text that YAML, OmegaConf and Hydra read as text without quotes.
_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class DatasetPage:
    """A page to write.

    Attributes:
        name: Of the page and of the data set.
        values: Settings by dotted name that differ from those of ``conf/dataset/folder.yaml``.
        choices: Files of other groups, such as ``{"transformation": "color_32"}``.
        recipe: A file of ``conf/experiment``, which the values and choices take precedence over.
    """

    name: str
    values: Mapping[str, Any]
    choices: Mapping[str, str] = field(default_factory=dict)
    recipe: str | None = None

    def format(self) -> str:
        """Return the text of the file."""
        defaults: list[Any] = [FOLDER, *([f"{RECIPES}/{self.recipe}"] if self.recipe else []), "_self_"]
        defaults += [{f"override /{group}": choice} for group, choice in self.choices.items()]
        tree: dict[str, Any] = {"defaults": defaults, "dataset": {"name": self.name}}
        for name, value in self.values.items():
            *sections, key = name.split(".")
            node = tree
            for section in sections:
                node = node.setdefault(section, {})
            node[key] = _escape(value)
        text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
        return COMMENT.format(name=self.name) + text


def derive_name(file: str) -> str:
    """Return a data set's name from that of a folder or archive: ``My Pets (2026)`` becomes ``my_pets_2026``."""
    plain = unicodedata.normalize("NFKD", ARCHIVE_ENDING.sub("", file)).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    return name if is_name(name) else f"{FALLBACK}_{name}".strip("_")


def is_name(name: str) -> bool:
    """Return whether a data set may have this name: YAML and Hydra must read it as text."""
    return (
        bool(NAME.fullmatch(name))
        and name != FOLDER
        and isinstance(yaml.safe_load(name), str)
        and name.lower() not in {"nan", "inf"}
    )


def is_own_page(text: str) -> bool:
    """Return whether `visiongate use` wrote the text of a page, even if it was edited since."""
    return WRITTEN in text


def choose_default(text: str, group: str, choice: str) -> str:
    """Return the text of ``conf/config.yaml`` with another choice of a group; the rest stays as it is.

    Raises:
        SettingsError: ``defaults`` has no entry for the group, or several.
    """
    pattern = re.compile(rf"^(\s*- {re.escape(group)}:[ \t]*)[^\s#]+", flags=re.MULTILINE)
    chosen, count = pattern.subn(rf"\g<1>{choice}", text)
    if count != 1:
        raise SettingsError(
            f"conf/config.yaml: `defaults` needs one entry `- {group}: NAME`, but has {count}; correct it"
        )
    return chosen


class _Dumper(yaml.SafeDumper):
    """Quotes every text that is not a plain word."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if _is_plain(text) else '"'
    ),
)


def _is_plain(text: str) -> bool:
    return bool(_PLAIN.fullmatch(text)) or text.startswith("override /")


def _escape(value: Any) -> Any:  # noqa: ANN401 - plain values
    """Return a value whose texts OmegaConf reads as they are."""
    if isinstance(value, str):
        return escape_interpolations(value)
    if isinstance(value, list):
        return [_escape(each) for each in value]
    return {key: _escape(each) for key, each in value.items()} if isinstance(value, dict) else value
