"""A model in memory, with its queue, after a check that it predicts as it did when it was exported."""

import base64
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

import numpy as np

from visiongate.errors import DataError
from visiongate.models.classifier import Classifier, make_classifier
from visiongate.models.model_input import to_input
from visiongate.models.predictor import EMBEDDING, PROBABILITIES, Predictor, open_predictor
from visiongate.records.example import Example, read_example
from visiongate.serving.sources.model_sources import ServedFile
from visiongate.serving.versions.batching import BATCH_SECONDS, Arrangement, Batcher

# Processors round sums in different orders; a wrong model or decoder differs by far more.
EXAMPLE_TOLERANCE = 1e-3
# A shorter run is not faster on several cores.
ALONE_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that answers.

    Attributes:
        origin: Its file, and what the registry knows about it.
        classifier: The loaded file.
        batcher: Its queue.
        example: An image and its probabilities, which were checked; None if the file has none.
        example_image: The bytes of its image.
        loaded_at: Seconds since 1970.
        has_embedding: Whether the model can return its embedding.
    """

    origin: ServedFile
    classifier: Classifier
    batcher: Batcher
    example: Example | None
    example_image: bytes | None = None
    loaded_at: float = field(default_factory=time.time)
    has_embedding: bool = False

    @property
    def name(self) -> str:
        """The name of the registered model, or of the file."""
        return self.origin.name

    @property
    def version(self) -> str | None:
        """The number of the version; None for a file."""
        return self.origin.version


@dataclass(frozen=True, slots=True)
class Runtime:
    """What all models of the process share.

    Attributes:
        executor: Its threads run models.
        cores: Batches of a model at a time.
        max_batch: Images per call of a model.
        threshold: In place of the models' own.
        is_alone: Whether the service has a single request.
        check_signature: Raises an error if a file, with the content that has a sha256, is not signed; None if it need not be.
    """

    executor: Executor
    cores: int
    max_batch: int
    threshold: float | None
    is_alone: Callable[[], bool]
    check_signature: Callable[[ServedFile, str], None] | None = None


def load_model(file: ServedFile, runtime: Runtime) -> LoadedModel:
    """Load a model and check it. Takes seconds for a large model; called in a thread.

    Raises:
        DataError: The file is not a model of this package, is not the registered one, is not signed, or does not predict its
            example.
    """
    try:
        # Read once, so that the checked bytes are the loaded ones.
        content = file.path.read_bytes()
    except OSError as error:
        raise DataError(f"{file.source}: {error.strerror}") from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != file.sha256:
        raise DataError(f"{file.source}: its file has the sha256 {actual}, not the registered {file.sha256}")
    if runtime.check_signature is not None:
        runtime.check_signature(file, actual)
    threshold = file.threshold if runtime.threshold is None else runtime.threshold
    busy = make_classifier(file.name, _open(file, content, 1), threshold, file.sha256)
    seconds = _measure(busy)
    shares = runtime.cores > 1 and seconds > ALONE_SECONDS
    alone = replace(busy, model=_open(file, content, runtime.cores)) if shares else busy
    example = read_example(busy.model.metadata, file.source)
    if example is not None:
        for classifier in (busy, alone):
            _check_example(classifier, example, file.source)
    max_batch = min(runtime.max_batch, max(1, int(BATCH_SECONDS / seconds)))
    arrangement = Arrangement(alone, busy, max_batch)
    batcher = Batcher(arrangement, runtime.executor, runtime.cores, runtime.is_alone)
    image = None if example is None else base64.b64decode(example.image)
    return LoadedModel(file, busy, batcher, example, image, has_embedding=EMBEDDING in busy.model.outputs)


def _open(file: ServedFile, content: bytes, threads: int) -> Predictor:
    try:
        return open_predictor(content, threads=threads)
    except DataError as error:
        reason = str(error).partition(": ")[2]
        raise DataError(f"{file.source}: {reason}") from None


def _measure(classifier: Classifier) -> float:
    """Return the seconds of a single image; the first run is not typical."""
    image = np.zeros((1, *classifier.model.contract.input_shape), np.uint8)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        classifier.run(image)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _check_example(classifier: Classifier, example: Example, source: str) -> None:
    pixels = to_input(base64.b64decode(example.image), classifier.model.contract)
    actual = classifier.run(pixels[None])[PROBABILITIES][0]
    difference = float(np.abs(actual - np.asarray(example.probabilities)).max())
    # The negated comparison is true for NaN, too.
    if not difference <= EXAMPLE_TOLERANCE:
        raise DataError(
            f"{source}: its probabilities for the example in its file differ by {difference:.2g} from those when it was "
            "exported; export it again with the `train` stage"
        )
