"""DVC's settings as they take effect, from all of its files, read by and written for DVC's own command."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from visiongate.adapters.dvc import run_dvc
from visiongate.records.files import write_text

Settings = Mapping[str, str]  # by dotted names, as `remote.shared.url`


def read_settings(directory: Path) -> dict[str, str]:
    """Return the settings that take effect in a repository; folders are absolute."""
    lines = run_dvc(["config", "--list"], directory).splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line)
    return {"cache.dir": str(directory.absolute() / ".dvc/cache"), **settings}


def write_settings(settings: Settings, directory: Path) -> None:
    """Make a folder a DVC workspace with these settings and no others, or give one that is other settings."""
    sections: dict[str, list[str]] = defaultdict(list)
    for name, value in settings.items():
        section, _, key = name.rpartition(".")
        kind, _, title = section.partition(".")
        header = f"""['{kind} "{title}"']""" if title else f"[{kind}]"
        sections[header].append(f"{key} = {_quote(value)}")
    text = "".join(f"{header}\n" + "\n".join(lines) + "\n" for header, lines in sections.items())
    (directory / ".dvc/config.local").unlink(missing_ok=True)
    write_text(directory / ".dvc/config", text)


def _quote(value: str) -> str:
    """Write a value as DVC's files take it."""
    quotes = ('"', "'", "'''", '"""')
    return next(f"{quote}{value}{quote}" for quote in quotes if quote not in value and value[-1:] != quote[0])
