"""``visiongate predict``: the classes of images in files, folders, archives and at addresses."""

import io
import logging
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from visiongate import paths
from visiongate.engine.pieces import open_engine
from visiongate.errors import DataError
from visiongate.explanation.training_images import read_training_images
from visiongate.models.predictor import Predictor
from visiongate.prediction.additions import (
    EmbeddingColumn,
    HeatMaps,
    SimilarImages,
    embedding_size,
    require_embedding,
)
from visiongate.prediction.chosen_models import CommittedModel, find_models, load_classifier
from visiongate.prediction.file_predictor import Addition, FilePredictor
from visiongate.prediction.input_files import InputFile, show_path
from visiongate.prediction.journal import Journal
from visiongate.prediction.picture_paths import place_pictures
from visiongate.prediction.pieces import predict_in_pieces, shared
from visiongate.prediction.result_files import (
    TEXT_WRITERS,
    check_embeddings_path,
    check_results_path,
    require_writable,
    write_embeddings,
    write_results,
)
from visiongate.prediction.sources import Sources
from visiongate.prediction.summary import Summary
from visiongate.settings.engine import Engine
from visiongate.settings.loading import load_settings
from visiongate.settings.schema import Settings

logger = logging.getLogger(__name__)
INTERRUPTED = 130
# Yields the results of files in their order.
Predict = Callable[[Iterable[InputFile]], Iterator[pa.Table]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command."""

    sources: tuple[str, ...]
    models: tuple[str, ...]
    threshold: float | None
    output: Path | None
    format_: str | None
    explain: Path | None
    similar: int | None
    embed: Path | None
    engine: Literal["local", "ray"] | None

    @property
    def files(self) -> list[Path]:
        """The files of results to write."""
        return [path for path in (self.output, self.embed) if path is not None]

    def check(self) -> None:
        """Check the options against each other.

        Raises:
            DataError: They contradict each other, or no format belongs to a file's suffix.
        """
        if self.output is not None:
            check_results_path(self.output)
        if self.embed is not None:
            check_embeddings_path(self.embed)
        if self.format_ is not None and self.files:
            raise DataError("--format prints the results; leave it out, or leave out --output and --embed")
        if self.output is not None and self.output == self.embed:
            raise DataError(f"{self.output}: --output and --embed need different files")
        additions = {"--explain": self.explain, "--similar": self.similar, "--embed": self.embed}
        chosen = [name for name, value in additions.items() if value is not None]
        if len(self.models) > 1 and chosen:
            raise DataError(f"{', '.join(chosen)} needs a single --model")

    def command(self) -> str:
        """Return the command line."""
        words = ["visiongate", "predict", *self.sources]
        for model in self.models:
            words += ["--model", model]
        values = {
            "--threshold": self.threshold,
            "--output": self.output,
            "--format": self.format_,
            "--explain": self.explain,
            "--similar": self.similar,
            "--embed": self.embed,
            "--engine": self.engine,
        }
        words += [word for name, value in values.items() if value is not None for word in (name, str(value))]
        return shlex.join(words)


def run(**values: object) -> int:
    """Predict images; return 1 if some of the files could not be read.

    Raises:
        VisiongateError: There is no such model, source or format, or no image was found.
    """
    options = Options(**values)  # type: ignore[arg-type]
    options.check()
    settings = load_settings()
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Names of files may have any bytes.
        sys.stdin.reconfigure(errors="surrogateescape")
    sources = Sources(options.sources, sys.stdin, settings.dataset)
    sources.check()
    predictor = _build_predictor(options, settings)
    summary = Summary(predictor)
    try:
        with _explain_disk(options), _open_engine(options, predictor, settings.engine) as predict:
            if options.files:
                _write_files(options, predictor, predict, sources, summary)
            else:
                _print_results(options, predict, sources, summary)
    except KeyboardInterrupt:
        print(f"\nInterrupted after {summary.files:,} files. {_advise(options)}", file=sys.stderr)
        return INTERRUPTED
    _require_files(options, summary)
    _print_summary(options, summary)
    return int(summary.unread > 0)


def _build_predictor(options: Options, settings: Settings) -> FilePredictor:
    committed = CommittedModel(paths.MODEL_ONNX, paths.METRICS)
    classifiers = []
    for file in find_models(options.models, committed, settings):
        classifier = load_classifier(file, options.threshold)
        named = file.name if len(options.models) > 1 else "Model"
        threshold = f", threshold {classifier.threshold:g}" if classifier.threshold is not None else ""
        logger.info("%s: %s%s", named, file.origin, threshold)
        classifiers.append(classifier)
    additions = list(_build_additions(options, classifiers[0].model))
    return FilePredictor(classifiers, additions, settings.dataset.limits.max_pixels)


@contextmanager
def _open_engine(options: Options, predictor: FilePredictor, settings: Engine) -> Iterator[Predict]:
    """Provide what predicts files: this process as a stream, or Ray in pieces, with the same results."""
    chosen = settings.model_copy(update={"kind": options.engine or settings.kind})
    is_local = options.explain is not None or options.similar is not None
    if chosen.kind == "ray" and is_local:
        logger.warning("--explain and --similar are computed on this machine; engine = ray is not used")
    if chosen.kind == "local" or is_local:
        yield predictor.predict
        return
    with open_engine(chosen) as engine, shared(predictor) as sharable, ExitStack() as streams:

        def predict(files: Iterable[InputFile]) -> Iterator[pa.Table]:
            # Pieces of an interrupted prediction are canceled before the cluster is left.
            return streams.enter_context(closing(predict_in_pieces(engine, sharable, files)))

        yield predict


def _build_additions(options: Options, model: Predictor) -> Iterator[Addition]:
    if options.explain is not None:
        yield HeatMaps(model, place_pictures(options.explain, options.sources))
    if options.similar is not None:
        require_embedding(model, "--similar")
        yield SimilarImages(read_training_images(paths.TRANSFORMED, model), options.similar)
    if options.embed is not None:
        require_embedding(model, "--embed")
        yield EmbeddingColumn()


def _write_files(
    options: Options, predictor: FilePredictor, predict: Predict, sources: Sources, summary: Summary
) -> None:
    """Predict what the journal does not have yet, then write the files from the journal."""
    for path in options.files:
        require_writable(path)
    first = options.files[0]
    key = {
        "sources": [show_path(name) for name in options.sources],
        "models": [classifier.sha256 for classifier in predictor.classifiers],
        "thresholds": [classifier.threshold for classifier in predictor.classifiers],
        "heat maps": str(options.explain),
        "similar": options.similar,
        "max_pixels": predictor.max_pixels,
    }
    with Journal(first.with_name(f"{first.name}.parts"), predictor.schema, key) as journal:
        files = journal.skip_done(sources.files())
        for table in journal.tables():
            summary.add(table)
        if summary.files:
            logger.info("Going on after %s files of an interrupted run", f"{summary.files:,}")
        for table in _with_progress(predict(files), sources, summary.files):
            journal.append(table)
            summary.add(table)
        journal.save()
        _require_files(options, summary)
        if options.output is not None:
            write_results(options.output, predictor.schema, journal.tables())
        if options.embed is not None:
            size = embedding_size(predictor.classifiers[0].model)
            write_embeddings(options.embed, (summary.files, size), journal.tables())
        journal.remove()


def _require_files(options: Options, summary: Summary) -> None:
    if not summary.files:
        raise DataError(f"{', '.join(options.sources)}: no files found; name other files or folders")


@contextmanager
def _explain_disk(options: Options) -> Iterator[None]:
    """Raise errors of the disk as a `DataError`."""
    try:
        yield
    except BrokenPipeError:
        # The reader of the output has enough.
        raise
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror or error}; {_advise(options)}") from None


def _print_results(options: Options, predict: Predict, sources: Sources, summary: Summary) -> None:
    results = predict(sources.files())
    if options.format_ is None:
        for table in _with_progress(results, sources, 0):
            summary.add(table)
        return

    def counted() -> Iterator[pa.Table]:
        for table in results:
            summary.add(table)
            yield table

    TEXT_WRITERS[options.format_](sys.stdout, counted())


def _with_progress(results: Iterator[pa.Table], sources: Sources, done: int) -> Iterator[pa.Table]:
    """Yield results, and show a progress bar if standard error is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(
            "files", total=sources.count() if console.is_terminal else None, completed=done
        )
        for table in results:
            yield table
            progress.advance(task, table.num_rows)


def _print_summary(options: Options, summary: Summary) -> None:
    listed = None if options.output else summary.list_images()
    if options.format_ is None:
        if listed is not None:
            print(listed, end="\n\n")
        print(summary.list_classes())
        if listed is None and not options.output:
            print("\nTo write the result of each image: --output FILE.csv")
    if options.format_ is not None or listed is None:
        for line in summary.describe_unread():
            print(line, file=sys.stderr)
    for path in options.files:
        logger.info("Wrote %s", path)


def _advise(options: Options) -> str:
    if options.files:
        return f"To go on, run: {options.command()}"
    return "Nothing was written; with --output FILE.csv, an interrupted run can go on."
