"""The answers of a model as columns of the results."""

import numpy as np
import pyarrow as pa

from visiongate.models.classifier import Answers, Classifier
from visiongate.models.reliability import Flags


def answer_schema(classifier: Classifier) -> pa.Schema:
    """Return the names and types of the columns of `tabulate_answers`."""
    columns = {
        "predicted": pa.string(),
        "confidence": pa.float32(),
        "sure": pa.bool_(),
        "out_of_distribution": pa.bool_(),
        **{probability_column(name): pa.float32() for name in classifier.classes},
    }
    return pa.schema(columns)


def tabulate_answers(classifier: Classifier, answers: Answers) -> pa.Table:
    """Return one row for each image, in the order of the answers."""
    columns = [
        pa.array(np.asarray(classifier.classes)[answers.predicted], pa.string()),
        pa.array(answers.confidence, pa.float32()),
        _flags(answers.sure, len(answers.predicted)),
        _flags(answers.out_of_distribution, len(answers.predicted)),
        *(pa.array(column, pa.float32()) for column in answers.probabilities.T),
    ]
    return pa.Table.from_arrays(columns, schema=answer_schema(classifier))


def probability_column(name: str) -> str:
    """Return the name of the column with a class's probability."""
    return f"probability_{name}"


def _flags(values: Flags | None, images: int) -> pa.Array:
    """Return flags as a column; a model that cannot tell leaves it empty."""
    return pa.nulls(images, pa.bool_()) if values is None else pa.array(values)
