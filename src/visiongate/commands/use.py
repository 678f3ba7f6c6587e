"""``visiongate use``: make a data set the repository's own.

The command writes ``conf/dataset/NAME.yaml``, makes it the default in ``conf/config.yaml`` and composes ``params.yaml``, so
that every later command works on these images. Nothing is written before the images are listed and the settings composed.
"""

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from visiongate import paths
from visiongate.adapters.git import GitError, Repository
from visiongate.commands import params
from visiongate.errors import DataError, SettingsError
from visiongate.ingestion.fetching import file_name
from visiongate.ingestion.opening import OpenedSource, open_source
from visiongate.ingestion.stage import download_options
from visiongate.records.files import write_text
from visiongate.settings.composition import CONF, compose_params
from visiongate.settings.dataset_page import PARENT, DatasetPage, choose_default, derive_name, is_name
from visiongate.settings.grammar import parse_setting
from visiongate.settings.loading import parse_settings
from visiongate.settings.overrides import suggest
from visiongate.settings.schema import Settings

CONFIG = CONF / "config.yaml"
PAGES = CONF / "dataset"
# The page sets them itself, or is chosen before them.
RESERVED = ("dataset", "dataset.name", "dataset.path", "dataset.url", "debug", "experiment")
YES = ("", "y", "yes")


@dataclass(frozen=True, slots=True)
class Plan:
    """The data set to use, and the files of ``conf/`` to write."""

    name: str
    files: Mapping[Path, str]

    @property
    def changed(self) -> dict[Path, str]:
        """The files whose content differs from that on disk."""
        return {path: text for path, text in self.files.items() if _read(path) != text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command."""

    source: str
    settings: tuple[str, ...]
    name: str | None
    dry_run: bool
    yes: bool
    force: bool


def run(**options: object) -> int:
    """Show the images, write the files and print what to do next; return 1 if the user declines.

    Raises:
        VisiongateError: There are no such images, a setting is invalid, or the data set's file exists with other content.
    """
    return _run(Options(**options))  # type: ignore[arg-type]


def _run(options: Options) -> int:
    plan = _make_plan(options)
    settings = _compose(plan)
    _show_images(settings)
    changed = [*plan.changed, paths.PARAMS]
    names = ", ".join(map(str, changed))
    if options.dry_run:
        print(f"Would write {names}.")
        return 0
    if not options.yes and not _confirm(f"Write {names}?"):
        print("Nothing was written.")
        return 1
    for path, text in plan.changed.items():
        write_text(path, text)
    params.run((), None, check=False)
    print(_format_next_steps(plan.name, changed))
    return 0


def _make_plan(options: Options) -> Plan:
    """Find the source, and return the files to write."""
    page = _find_page(options)
    if page is None:
        made = _make_page(options)
        path = PAGES / f"{made.name}.yaml"
        _check_page(path, made, force=options.force)
        files = {path: made.format()}
        page = made.name
    else:
        files = {}
    text = CONFIG.read_text(encoding="utf-8")
    return Plan(page, {**files, CONFIG: choose_default(text, PAGES.name, page)})


def _find_page(options: Options) -> str | None:
    """Return the name of an existing page, if the source is one."""
    if options.source not in _list_pages():
        return None
    if options.source == PARENT:
        raise SettingsError(f"{PARENT}: name the folder or archive, as in `visiongate use /path/to/images`")
    if options.settings or options.name:
        path = PAGES / f"{options.source}.yaml"
        raise SettingsError(f"{options.source} is the data set of {path}: write its settings there")
    return options.source


def _make_page(options: Options) -> DatasetPage:
    name, values = _locate(options.source)
    name = options.name or name
    if not is_name(name):
        raise SettingsError(
            f"--name {name} is invalid: use letters, digits, - and _, and start with a letter"
        )
    if "url" in values:
        values["path"] = (PAGES / f"{name}.yaml").as_posix()
    settings, choices = _parse_settings(options.settings)
    located = {f"dataset.{key}": value for key, value in values.items()}
    return DatasetPage(name, located | settings, choices)


def _locate(source: str) -> tuple[str, dict[str, str]]:
    """Return a name for the data set, and its path or address.

    Raises:
        DataError: There is no such folder, archive or data set.
    """
    if "://" in source:
        return derive_name(file_name(source) or urlsplit(source).netloc), {"url": source}
    path = Path(source).expanduser()
    if not path.exists():
        hint = suggest(source, [name for name in _list_pages() if name != PARENT])
        raise DataError(f"{source}: no such folder, archive, address or data set{hint}")
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise DataError(f"{source!r}: the path is not UTF-8; rename the folder") from None
    # The name of `.` and of `photos/..` as well.
    absolute = Path(os.path.normpath(path.absolute()))
    return derive_name(absolute.name), {"path": _portable(absolute)}


def _portable(path: Path) -> str:
    """Return a path relative to the repository if a clone has the images too; otherwise the absolute path.

    An experiment in a temporary copy of the repository finds files that git or DVC tracks at their relative path, and others at
    their absolute path only.
    """
    root = Path.cwd()
    if not path.is_relative_to(root) or path == root:
        return str(path)
    relative = path.relative_to(root)
    try:
        tracked = bool(Repository(root).run("ls-files", "--", f":(literal){relative}"))
    except GitError:
        tracked = False
    return str(relative if tracked or path.with_name(f"{path.name}.dvc").exists() else path)


def _parse_settings(texts: tuple[str, ...]) -> tuple[dict[str, object], dict[str, str]]:
    """Return the values by dotted name, and the choices of groups.

    Raises:
        SettingsError: A name or value is invalid, or the page cannot set it.
    """
    compose_params(CONF, [f"dataset={PARENT}", *texts])
    parsed = dict(parse_setting(text) for text in texts)
    for name in parsed:
        if name in RESERVED:
            raise SettingsError(f"{name}: not a setting of a data set; see `visiongate use --help`")
    choices = {name: str(value) for name, value in parsed.items() if (CONF / name).is_dir()}
    return {name: value for name, value in parsed.items() if name not in choices}, choices


def _check_page(path: Path, page: DatasetPage, *, force: bool) -> None:
    if path.exists() and _read(path) != page.format() and not force:
        raise SettingsError(
            f"{path} exists with other content: `visiongate use {page.name}` takes it as it is; --name NAME writes another "
            "file, --force overwrites it"
        )


def _compose(plan: Plan) -> Settings:
    """Compose the files in a copy of ``conf/``, and return the settings.

    Raises:
        SettingsError: They do not compose, or a value is invalid.
    """
    with tempfile.TemporaryDirectory(prefix="visiongate-use-") as folder:
        conf = Path(folder) / CONF
        shutil.copytree(CONF, conf)
        for path, text in plan.files.items():
            write_text(Path(folder) / path, text)
        try:
            return parse_settings(yaml.safe_load(compose_params(conf)), str(paths.PARAMS))
        except SettingsError as error:
            raise SettingsError(str(error).replace(str(conf), str(CONF))) from None


def _show_images(settings: Settings) -> None:
    """Print what ingestion would read.

    Raises:
        DataError: The images cannot be read.
    """
    with open_source(settings.dataset, download_options(settings.dataset)) as opened:
        print(_describe(opened))


def _describe(opened: OpenedSource) -> str:
    source = opened.source
    ignored = ", ".join(f"{count} {reason}" for reason, count in sorted(source.ignored.items()))
    return (
        f"{opened.address}: {source.images} images in {len(source.classes)} classes: {', '.join(source.classes)}\n"
        f"Ignored: {ignored or 'nothing'}"
    )


def _confirm(question: str) -> bool:
    """Ask on a terminal; elsewhere, go on."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        return True
    return input(f"{question} [Y/n] ").strip().lower() in YES


def _format_next_steps(name: str, changed: list[Path]) -> str:
    files = " ".join(shlex.quote(str(path)) for path in changed)
    return (
        f"Every command now uses the data set {name}. Next:\n"
        f'  git add {files} && git commit -m "Use the data set {name}"\n'
        "  visiongate repro"
    )


def _list_pages() -> list[str]:
    return sorted(path.stem for path in PAGES.glob("*.yaml"))


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
