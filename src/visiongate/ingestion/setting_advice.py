"""Settings that decide about a refused tree, as text that Hydra and a shell read."""

import glob
import re
import shlex
from collections.abc import Sequence

import yaml

from visiongate.ingestion.split_names import read_split_name
from visiongate.settings.dataset import Dataset
from visiongate.settings.overrides import quote_text

# Hydra reads no quotes around the keys of a mapping, no letters beyond ASCII in them, and takes some words for other things.
READABLE_KEY = re.compile(
    r"(?!(?:null|true|false|nan|inf)$)[a-z][\w.+()\[\]{}:=,-]*(?: [\w.+()\[\]{}:=,-]+)*",
    re.ASCII | re.IGNORECASE,
)
# Hydra reads these only after a backslash.
ESCAPED = re.compile(r"[()\[\]{}:=,]")
# More folders than this are not spelled out.
MAX_FOLDERS = 10


def advise_on_splits(folders: Sequence[str], dataset: Dataset) -> str:
    """Return ``dataset.splits`` with the present entries and a split for each of some folders."""
    if len(folders) > MAX_FOLDERS:
        return f"dataset.splits with train, val or test for each of the {len(folders)} folders"
    splits = dict(dataset.splits or {}) | {folder: _guess_split(folder, folders) for folder in folders}
    if all(map(READABLE_KEY.fullmatch, splits)):
        entries = ", ".join(
            ESCAPED.sub(r"\\\g<0>", folder) + f": {split}" for folder, split in splits.items()
        )
        return shlex.quote(f"dataset.splits={{{entries}}}")
    entries = yaml.safe_dump(splits, allow_unicode=True, default_flow_style=True, width=1_000_000).strip()
    return f"splits: {entries} in conf/dataset/{dataset.name}.yaml, which `visiongate use` with dataset.splits={{}} writes"


def advise_on_exclusion(folders: Sequence[str], dataset: Dataset) -> str:
    """Return ``dataset.exclude`` with the present patterns and one for each of some folders."""
    if len(folders) > MAX_FOLDERS:
        return f"dataset.exclude with patterns of the {len(folders)} folders, such as {folders[0]}/*"
    return _exclude([f"{glob.escape(folder)}/*" for folder in folders], dataset)


def advise_on_excluding(files: Sequence[str], dataset: Dataset) -> str:
    """Return ``dataset.exclude`` with the present patterns and some files."""
    return _exclude([glob.escape(file) for file in files], dataset)


def _exclude(added: Sequence[str], dataset: Dataset) -> str:
    patterns = [*dataset.exclude, *added]
    return _quote_for_shell(f"dataset.exclude=[{', '.join(map(quote_text, patterns))}]")


def advise_on_links(target: str, links: Sequence[str]) -> str:
    """Return ``dataset.links`` with the present folders and one more."""
    return _quote_for_shell(f"dataset.links=[{', '.join(map(quote_text, [*links, target]))}]")


def advise_on_table(key: str, value: str) -> str:
    """Return a setting of ``dataset.table`` as an override."""
    return _quote_for_shell(f"dataset.table.{key}={quote_text(value)}")


def _guess_split(folder: str, folders: Sequence[str]) -> str:
    name = read_split_name(folder)
    if name:
        return name.split
    return "test" if len(folders) > 1 and folder == folders[-1] else "train"


def _quote_for_shell(override: str) -> str:
    # Double quotes are easier to read around the single quotes of the patterns.
    return shlex.quote(override) if re.search(r'["$`\\!]', override) else f'"{override}"'
