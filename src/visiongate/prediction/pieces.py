"""Predict files on the engine: cut them into pieces, and let each process that predicts pieces load the models once."""

import platform
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import pyarrow as pa

from visiongate.cores import usable_cores
from visiongate.engine.folders import shared_folder
from visiongate.engine.pieces import Engine
from visiongate.errors import EngineError
from visiongate.models.classifier import Classifier, make_classifier
from visiongate.models.predictor import open_predictor
from visiongate.prediction.file_predictor import BATCH, Addition, FilePredictor
from visiongate.prediction.input_files import InputFile

# A piece takes seconds, so that starting it costs little; and what is in memory of an archive stays small.
PIECE_BATCHES = 8
PIECE_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class SharedModel:
    """A model that other processes load.

    Attributes:
        path: Its file, in a folder that all nodes see.
        name: Short, of its columns.
        threshold: Of the second of two classes, if any.
        sha256: Of the file.
    """

    path: Path
    name: str
    threshold: float | None
    sha256: str


@dataclass(frozen=True, slots=True)
class SharedPredictor:
    """A `FilePredictor` that other processes build.

    Attributes:
        models: The models.
        additions: Further columns.
        max_pixels: Largest allowed product of an image's width and height.
    """

    models: tuple[SharedModel, ...]
    additions: tuple[Addition, ...]
    max_pixels: int

    def build(self) -> FilePredictor:
        """Load the models, unless this process has loaded them before."""
        return FilePredictor([load_once(model) for model in self.models], self.additions, self.max_pixels)


@dataclass(frozen=True, slots=True)
class SharedFile:
    """Reads a file that the driver has found.

    Attributes:
        path: In the results.
        read: Reads it.
    """

    path: str
    read: Callable[[], bytes]

    def __call__(self) -> bytes:
        """Return the content.

        Raises:
            EngineError: This machine does not see the file. A reason in the results would hide that the folder is not shared.
        """
        try:
            return self.read()
        except FileNotFoundError:
            raise EngineError(
                f"{self.path}: node {platform.node()} does not see this file; mount its folder there under the same path, "
                "or predict with --engine local. If it was removed in the meantime, run the command again"
            ) from None


@contextmanager
def shared(predictor: FilePredictor) -> Iterator[SharedPredictor]:
    """Copy the models to a folder that all nodes see, within the block."""
    with shared_folder() as folder:
        models = tuple(_share(classifier, folder) for classifier in predictor.classifiers)
        yield SharedPredictor(models, tuple(predictor.additions), predictor.max_pixels)


def predict_in_pieces(
    engine: Engine, predictor: SharedPredictor, files: Iterable[InputFile]
) -> Generator[pa.Table, None, None]:
    """Yield the results in the order of the files, a piece at a time.

    Raises:
        EngineError: The engine cannot run a piece, or a node does not see a file.
        DataError: The outputs of a model are not probabilities.
    """
    yield from engine.stream(partial(predict_piece, predictor), cut(files))


def predict_piece(predictor: SharedPredictor, files: Sequence[InputFile]) -> pa.Table:
    """Predict the files of a piece, as a row for each."""
    # Those with a stamp are on a disk; the reason why another one cannot be read is known already.
    found = (replace(file, read=SharedFile(file.path, file.read)) if file.stamp else file for file in files)
    return pa.concat_tables(predictor.build().predict(found)).combine_chunks()


def cut(files: Iterable[InputFile]) -> Iterator[list[InputFile]]:
    """Cut files into pieces, by their number and size alone.

    A piece has whole batches, which are those of the stream: with some networks, the last bit of a probability depends on the
    image's place in its batch.
    """
    piece: list[InputFile] = []
    size = 0
    for file in files:
        piece.append(file)
        size += file.size
        if len(piece) % BATCH == 0 and (len(piece) == PIECE_BATCHES * BATCH or size >= PIECE_BYTES):
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


@lru_cache(maxsize=8)
def load_once(model: SharedModel) -> Classifier:
    """Load a model for the pieces of this process."""
    predictor = open_predictor(model.path, shares_cores=True, threads=usable_cores())
    return make_classifier(model.name, predictor, model.threshold, model.sha256)


def _share(classifier: Classifier, folder: Path) -> SharedModel:
    path = folder / f"{classifier.sha256}.onnx"
    source = classifier.model.source
    if isinstance(source, Path):
        shutil.copyfile(source, path)
    else:
        path.write_bytes(source)
    return SharedModel(path, classifier.name, classifier.threshold, classifier.sha256)
