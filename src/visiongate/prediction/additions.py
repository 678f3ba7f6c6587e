"""What can be added to a model's answers: embeddings, heat maps, and the nearest training images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from visiongate.errors import DataError
from visiongate.explanation.heat_maps import heat_map_outputs, heat_maps
from visiongate.explanation.neighbors import find_neighbors
from visiongate.explanation.overlay import overlay
from visiongate.explanation.training_images import TrainingImages
from visiongate.models.predictor import EMBEDDING, Predictor
from visiongate.prediction.file_predictor import ReadImages
from visiongate.prediction.picture_paths import PicturePaths
from visiongate.records.files import atomic_path

HEAT_MAP, SIMILAR, SIMILAR_LABELS = "heat_map", "similar", "similar_labels"


def require_embedding(model: Predictor, option: str) -> None:
    """Check that a model has embeddings.

    Raises:
        DataError: It has none.
    """
    if EMBEDDING not in model.outputs:
        raise DataError(
            f"{model.name}: {option} needs the output {EMBEDDING!r}, which this model has not; choose a network that ends in "
            "pooling and a linear layer, such as `model=probe`, and train it"
        )


def embedding_size(model: Predictor) -> int:
    """Return the length of a model's embeddings."""
    blank = np.zeros((1, *model.contract.input_shape), np.uint8)
    return int(model.run(blank, [EMBEDDING])[EMBEDDING].shape[1])


@dataclass(frozen=True, slots=True)
class EmbeddingColumn:
    """The embedding of each image, a column of lists of float32."""

    outputs: ClassVar[Sequence[str]] = (EMBEDDING,)
    # Lists of a fixed size cannot be null in Parquet.
    schema: ClassVar[pa.Schema] = pa.schema({EMBEDDING: pa.list_(pa.float32())})

    def add(self, images: ReadImages) -> pa.Table:
        """Return a row for each image."""
        embeddings = images.outputs[EMBEDDING]
        ends = np.arange(len(embeddings) + 1, dtype=np.int32) * embeddings.shape[1]
        lists = pa.ListArray.from_arrays(ends, pa.array(embeddings.ravel(), pa.float32()))
        return pa.Table.from_arrays([lists], schema=self.schema)


@dataclass(frozen=True, slots=True)
class HeatMaps:
    """A picture for each image that shows what speaks for the predicted class.

    Attributes:
        model: The model.
        places: The paths of the pictures, which are named like the images.
    """

    model: Predictor
    places: PicturePaths
    schema: ClassVar[pa.Schema] = pa.schema({HEAT_MAP: pa.string()})

    @property
    def outputs(self) -> Sequence[str]:
        """The outputs of the model that it needs."""
        return heat_map_outputs(self.model)

    def add(self, images: ReadImages) -> pa.Table:
        """Write the pictures, and return their paths."""
        names = {name: number for number, name in enumerate(self.model.contract.classes)}
        predicted = np.array([names[name] for name in images.answers["predicted"].to_pylist()])
        maps = heat_maps(self.model, images.pixels, predicted, images.outputs)
        paths = [self.places[path] for path in images.paths]
        for path, pixels, heat in zip(paths, images.pixels, maps, strict=True):
            with atomic_path(path) as temporary:
                temporary.write_bytes(overlay(pixels, heat.values))
        return pa.table({HEAT_MAP: pa.array(map(str, paths), pa.string())}, schema=self.schema)


@dataclass(frozen=True, slots=True)
class SimilarImages:
    """The nearest training images of each image, by the cosine of their embeddings, the nearest first.

    Attributes:
        training: The training images of the model.
        count: How many to name.
    """

    training: TrainingImages
    count: int
    outputs: ClassVar[Sequence[str]] = (EMBEDDING,)
    schema: ClassVar[pa.Schema] = pa.schema(
        {SIMILAR: pa.list_(pa.string()), SIMILAR_LABELS: pa.list_(pa.string())}
    )

    def add(self, images: ReadImages) -> pa.Table:
        """Return a row for each image."""
        found = find_neighbors(images.outputs[EMBEDDING], self.training.embeddings, self.count)
        columns = [
            pa.array([[values[row] for row in rows] for rows in found.rows.tolist()], pa.list_(pa.string()))
            for values in (self.training.paths, self.training.labels)
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)
