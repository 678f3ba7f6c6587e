"""``visiongate use``: make a data set the repository's own.

The command writes ``conf/dataset/NAME.yaml``, makes it the default in ``conf/config.yaml`` and composes ``params.yaml``, so
that every later command works on these images. Nothing is written before the images are listed and the settings composed.
"""

import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.commands import params
from visiongate.commands.default_extras import SETTING, choose_extras
from visiongate.commands.default_recipe import GROUP as RECIPES
from visiongate.commands.default_recipe import choose_recipe, count_images, without_null
from visiongate.commands.source import PAGES, ImageSource, find_source
from visiongate.errors import SettingsError
from visiongate.ingestion.download import without_credentials
from visiongate.ingestion.embedded import SCHEME
from visiongate.ingestion.inspection import Inspection, inspect_source
from visiongate.ingestion.stage import download_options
from visiongate.records.files import write_text
from visiongate.settings.composition import CONF, compose_params
from visiongate.settings.dataset_page import FOLDER, DatasetPage, choose_default, is_name, is_own_page
from visiongate.settings.grammar import parse_setting
from visiongate.settings.loading import parse_settings
from visiongate.settings.schema import Settings

CONFIG = CONF / "config.yaml"
# The page sets them itself, or is chosen before them.
RESERVED = ("dataset", "dataset.name", "dataset.path", "dataset.url", "debug")
YES = ("", "y", "yes")


@dataclass(frozen=True, slots=True)
class Plan:
    """The data set to use, and its page if ``conf/dataset`` has none yet."""

    name: str
    page: DatasetPage | None

    @property
    def files(self) -> dict[Path, str]:
        """The files of ``conf/`` to write."""
        config = choose_default(CONFIG.read_text(encoding="utf-8"), PAGES.name, self.name)
        page = {} if self.page is None else {PAGES / f"{self.name}.yaml": self.page.format()}
        return {**page, CONFIG: config}

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
    inspection = _inspect(settings, download=plan.page is not None)
    print(*_describe_images(inspection, settings), sep="\n")
    if plan.page is not None and inspection is not None:
        page = _add_extras(plan.page, inspection, options)
        plan = Plan(plan.name, _add_recipe(page, inspection, settings, options))
        _compose(plan)
    return _write(plan, options)


def _add_extras(page: DatasetPage, inspection: Inspection, options: Options) -> DatasetPage:
    """Print which packages the images need, and return the page with those that are installed."""
    choice = choose_extras(inspection.extras, options.settings)
    if choice.reason:
        print(choice.reason)
    return replace(page, values={**page.values, SETTING: list(choice.names)}) if choice.names else page


def _add_recipe(
    page: DatasetPage, inspection: Inspection, settings: Settings, options: Options
) -> DatasetPage:
    """Print how the recipe is chosen, unless the settings choose one, and return the page with it.

    Raises:
        SettingsError: The page exists with other content.
    """
    choice = choose_recipe(inspection, settings.dataset, options.settings)
    if choice is not None:
        print(choice.reason)
        page = replace(page, recipe=choice.name)
    _check_page(PAGES / f"{page.name}.yaml", page, force=options.force)
    return page


def _write(plan: Plan, options: Options) -> int:
    names = ", ".join(map(str, [*plan.changed, paths.PARAMS]))
    if options.dry_run:
        print(f"Would write {names}.")
        return 0
    if not options.yes and not _confirm(f"Write {names}?"):
        print("Nothing was written.")
        return 1
    for path, text in plan.changed.items():
        write_text(path, text)
    params.run((), None, check=False)
    print(_format_next_steps(plan.name))
    return 0


def _make_plan(options: Options) -> Plan:
    """Find the source, and return the page to write, with the recipe that the settings choose."""
    source = find_source(options.source)
    name = options.name or source.name
    if source.page is None:
        return Plan(name, _make_page(name, source, options.settings))
    if options.settings or options.name:
        raise SettingsError(f"{name} is the data set of {PAGES}/{source.page}.yaml: write its settings there")
    return Plan(name, None)


def _make_page(name: str, source: ImageSource, settings: tuple[str, ...]) -> DatasetPage:
    if not is_name(name):
        raise SettingsError(
            f"--name {name} is invalid: use letters, digits, - and _, start with a letter, and avoid words such as yes"
        )
    values = dict(source.values)
    if "url" in values:
        values["path"] = _own_path(name)
    own, choices = _parse_settings(settings)
    recipe = choices.pop(RECIPES, None)
    return DatasetPage(
        name, {f"dataset.{key}": value for key, value in values.items()} | own, choices, recipe
    )


def _parse_settings(texts: Sequence[str]) -> tuple[dict[str, object], dict[str, str]]:
    """Return the values by dotted name, and the choices of groups.

    Raises:
        SettingsError: A name or value is invalid, or the page cannot set it.
    """
    texts = without_null(texts)
    compose_params(CONF, [f"dataset={FOLDER}", *texts])
    parsed = dict(parse_setting(text) for text in texts)
    for name in parsed:
        if name in RESERVED:
            raise SettingsError(f"{name}: not a setting of a data set; see `visiongate use --help`")
    choices = {name: str(value) for name, value in parsed.items() if (CONF / name).is_dir()}
    return {name: value for name, value in parsed.items() if name not in choices}, choices


def _check_page(path: Path, page: DatasetPage, *, force: bool) -> None:
    text = _read(path)
    if text is None or text == page.format():
        return
    if not is_own_page(text):
        raise SettingsError(
            f"{path} exists, and `visiongate use` did not write it: `visiongate use {page.name}` takes it as it is; --name "
            "NAME writes another file"
        )
    if not force:
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


def _inspect(settings: Settings, *, download: bool) -> Inspection | None:
    """Return what ingestion would read; None if the images are not on this machine.

    Args:
        settings: The settings.
        download: Whether to fetch images that are not on this machine.

    Raises:
        DataError: The images cannot be read.
    """
    dataset = settings.dataset
    is_remote = dataset.path == _own_path(dataset.name) and urlsplit(dataset.url or "").scheme != SCHEME
    return None if is_remote and not download else inspect_source(dataset, download_options(dataset))


def _describe_images(inspection: Inspection | None, settings: Settings) -> Iterator[str]:
    """Yield what ingestion would read, line by line."""
    dataset = settings.dataset
    if inspection is None:
        address = without_credentials(dataset.url or "")
        yield f"{dataset.name}: `visiongate repro` downloads the images from {address}"
        return
    yield from inspection.lines()
    if note := _note_pooling(inspection, settings):
        yield f"note: {note}"


def _note_pooling(inspection: Inspection, settings: Settings) -> str:
    """Return what happens to given splits; nothing if they are kept or there are none."""
    from visiongate.transformation.protocol import describe_pooling, is_cross_validated  # noqa: PLC0415 - slow to import

    given = {split for _, split in inspection.images if split}
    images = count_images(inspection, settings.dataset)
    is_pooled = is_cross_validated(images, given, settings.transformation.split, settings.evaluation)
    return describe_pooling(given) if given and is_pooled else ""


def _confirm(question: str) -> bool:
    """Ask on a terminal; elsewhere, go on."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        return True
    try:
        return input(f"{question} [Y/n] ").strip().lower() in YES
    except EOFError:
        print()
        return False


def _format_next_steps(name: str) -> str:
    """Return the commands to run next; an earlier call may have written files that are not committed yet."""
    repository = Repository(Path.cwd())
    files = [each for each in (PAGES / f"{name}.yaml", CONFIG, paths.PARAMS) if repository.differs(each)]
    added = " ".join(shlex.quote(str(path)) for path in files)
    commit = f'  git add {added} && git commit -m "Use the data set {name}"\n' if files else ""
    return f"Every command now uses the data set {name}. Next:\n{commit}  visiongate repro"


def _own_path(name: str) -> str:
    """Return the path that a data set without local images depends on: its own page."""
    return (PAGES / f"{name}.yaml").as_posix()


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
