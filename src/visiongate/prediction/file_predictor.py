"""Predict files as a stream: threads read and decode some while the models predict others, and few are in memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa

from visiongate.errors import DataError
from visiongate.images.decoding import Fault, Pixels, RefusedImageError
from visiongate.images.parallel import map_in_order
from visiongate.models.classifier import Classifier
from visiongate.models.model_input import to_input
from visiongate.models.predictor import Contract, Images, Outputs
from visiongate.prediction.answer_columns import answer_schema, tabulate_answers
from visiongate.prediction.input_files import InputFile
from visiongate.prediction.sources import read_ahead

# Images per call of a model. The probabilities do not depend on it, but for the last bit with some networks.
BATCH = 32
PATH, REASON = "path", "reason"
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ReadImages:
    """The images of a batch that could be read.

    Attributes:
        paths: N, as in the results.
        pixels: uint8 N×H×W×C, the model's input.
        outputs: Of the model.
        answers: N rows, as `tabulate_answers` returns them.
    """

    paths: list[str]
    pixels: Images
    outputs: Outputs
    answers: pa.Table


class Addition(Protocol):
    """Further columns about the images, and files beside them."""

    @property
    def outputs(self) -> Sequence[str]:
        """The outputs of the model that it needs."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""

    def add(self, images: ReadImages) -> pa.Table:
        """Return a row for each image."""


@dataclass(frozen=True, slots=True)
class FilePredictor:
    """Models, and what to add to the answers of the first.

    Attributes:
        classifiers: The models.
        additions: Further columns.
        max_pixels: Largest allowed product of an image's width and height.
    """

    classifiers: Sequence[Classifier]
    additions: Sequence[Addition]
    max_pixels: int

    @property
    def schema(self) -> pa.Schema:
        """The columns of the results."""
        fields = [pa.field(PATH, pa.string())]
        for classifier in self.classifiers:
            fields += [
                field.with_name(self.column(classifier, field.name)) for field in answer_schema(classifier)
            ]
        fields += [field for addition in self.additions for field in addition.schema]
        return pa.schema([*fields, pa.field(REASON, pa.string())])

    def column(self, classifier: Classifier, name: str) -> str:
        """Return the name of a model's column; that of several models starts with the model's."""
        return f"{classifier.name}/{name}" if len(self.classifiers) > 1 else name

    def predict(self, files: Iterable[InputFile]) -> Iterator[pa.Table]:
        """Yield the results in the order of the files, a batch at a time.

        Each file has one row. If it could not be read, the row has the reason and no answer.

        Raises:
            DataError: The outputs of a model are not probabilities.
        """
        contracts = {_preprocessing(each.model.contract): each.model.contract for each in self.classifiers}
        decode = partial(_decode, contracts=contracts, max_pixels=self.max_pixels)
        decoded_bytes = sum(int(np.prod(contract.input_shape)) for contract in contracts.values())
        decoded = map_in_order(decode, read_ahead(files), lambda file: file.size + decoded_bytes)
        for batch in _batches(decoded):
            yield self._predict_batch(batch)

    def _predict_batch(self, batch: Sequence["_Decoded"]) -> pa.Table:
        read = [image for image in batch if image.reason is None]
        tables = [self._answer(place, read) for place in range(len(self.classifiers))] if read else []
        # Rows of null for what could not be read.
        numbers = iter(range(len(read)))
        rows = pa.array([next(numbers) if image.reason is None else None for image in batch], pa.int64())
        columns = [column.combine_chunks().take(rows) for table in tables for column in table.columns]
        fields = list(self.schema)[1:-1]
        columns = columns or [pa.nulls(len(batch), field.type) for field in fields]
        paths = pa.array([image.path for image in batch], pa.string())
        reasons = pa.array([image.reason for image in batch], pa.string())
        return pa.Table.from_arrays([paths, *columns, reasons], schema=self.schema)

    def _answer(self, place: int, read: Sequence["_Decoded"]) -> pa.Table:
        """Return the columns of a model; the first has the additions, too."""
        classifier, additions = self.classifiers[place], self.additions if place == 0 else ()
        key = _preprocessing(classifier.model.contract)
        paths, pixels = [image.path for image in read], np.stack([image.pixels[key] for image in read])
        outputs = classifier.run(pixels, [name for addition in additions for name in addition.outputs])
        answers = tabulate_answers(classifier, classifier.answer(outputs, paths))
        images = ReadImages(paths, pixels, outputs, answers)
        columns = list(answers.columns)
        columns += [column for addition in additions for column in addition.add(images).columns]
        return pa.table(columns, [str(number) for number in range(len(columns))])


# What two models must have in common to share pixels.
_Preprocessing = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Decoded:
    path: str
    pixels: Mapping[_Preprocessing, Pixels]
    reason: str | None


def _preprocessing(contract: Contract) -> _Preprocessing:
    return (
        contract.input_shape,
        contract.mode,
        contract.resize,
        contract.depth,
        contract.background,
        contract.window,
    )


def _decode(file: InputFile, contracts: Mapping[_Preprocessing, Contract], max_pixels: int) -> _Decoded:
    try:
        content = file.read()
        pixels = {key: to_input(content, contract, max_pixels) for key, contract in contracts.items()}
    except DataError as error:
        return _Decoded(file.path, {}, _explain(error, file.path))
    except OSError as error:
        return _Decoded(file.path, {}, error.strerror or str(error))
    return _Decoded(file.path, pixels, None)


def _explain(error: DataError, path: str) -> str:
    """Return in one line why a file cannot be used. What a decoder says of missing bytes differs from format to format."""
    if isinstance(error, RefusedImageError) and error.fault is Fault.TRUNCATED:
        return "truncated; download or copy the file again"
    return " ".join(str(error).removeprefix(f"{path}: ").split())


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
