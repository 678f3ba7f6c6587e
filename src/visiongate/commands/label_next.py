"""``visiongate label-next``: choose the unlabeled images that are worth a label."""

import hashlib
import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from visiongate import paths
from visiongate.commands.features import embed_labeled
from visiongate.correction.embeddings import Embed, Embeddings, embed_enlarged
from visiongate.correction.labeling import choose_images
from visiongate.correction.labeling_list import LIST_FILE, LabelingRow, write_list
from visiongate.correction.linear_model import train_and_predict
from visiongate.errors import DataError
from visiongate.images.pixels import Pixels
from visiongate.images.preprocessing import thumbnail
from visiongate.images.table import read_table
from visiongate.models.model_input import decode_options, to_input
from visiongate.models.predictor import Contract
from visiongate.prediction.input_files import InputFile
from visiongate.prediction.sources import STANDARD_INPUT, Sources
from visiongate.records.transform import Transform, read_transform
from visiongate.settings.loading import load_settings
from visiongate.text_tables import escape_unprintable

CHUNK = 256
PICTURE_SIDE = 256
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UnlabeledImage:
    """An image without a label: its path as the sources name it, its hash and its pixels."""

    path: str
    sha256: str
    pixels: Pixels


class UnlabeledImages:
    """The images of the sources that the data set does not have, each once."""

    def __init__(self, sources: Sources, transform: Transform) -> None:
        self._sources, self._contract = sources, Contract.of(transform)
        self._max_pixels = sources.dataset.limits.max_pixels
        self.labeled = self.unread = 0

    def __iter__(self) -> Iterator[UnlabeledImage]:
        """Decode the images one by one, and count those that are left out."""
        known = set(read_table(paths.RAW, ["sha256"]).column("sha256").to_pylist())
        seen: set[str] = set()
        for file in self._sources.files():
            try:
                image = self._decode(file)
            except (DataError, OSError) as error:
                self.unread += 1
                logger.debug("%s: %s", escape_unprintable(file.path), error)
                continue
            self.labeled += image.sha256 in known
            if image.sha256 not in known | seen:
                seen.add(image.sha256)
                yield image

    def pictures(self, chosen: Sequence[str]) -> list[bytes]:
        """Return a picture of each chosen file, which is read again, because all files need not fit into memory."""
        wanted, options = set(chosen), decode_options(self._contract, self._max_pixels)
        found = {
            file.path: thumbnail(file.read(), PICTURE_SIDE, options)
            for file in self._sources.files()
            if file.path in wanted
        }
        return [found[path] for path in chosen]

    def _decode(self, file: InputFile) -> UnlabeledImage:
        encoded = file.read()
        pixels = to_input(encoded, self._contract, self._max_pixels)
        return UnlabeledImage(file.path, hashlib.sha256(encoded).hexdigest(), pixels)


def run(sources: tuple[str, ...], count: int, output: Path | None) -> int:
    """Write the list and the page of the images to label next.

    Raises:
        VisiongateError: The sources do not exist or have no unlabeled image, the pipeline has not run, or the weights of the
            backbone cannot be read.
    """
    # The sources are read twice.
    lines = list(sys.stdin) if STANDARD_INPUT in sources else ()
    named = Sources(sources, lines, load_settings().dataset)
    named.check()
    images = UnlabeledImages(named, read_transform(paths.TRANSFORMED))
    labeled, embeddings, embed = embed_labeled()
    found, unlabeled = _embed(images, embed)
    _report(images, len(found), sources)
    # Classes have the same weight, because what was chosen in earlier rounds need not be balanced.
    probabilities = train_and_predict(
        embeddings, labeled.labels, unlabeled, len(labeled.classes), is_balanced=True
    )
    rows = [
        LabelingRow(*found[each.row], labeled.classes[each.predicted], each.probability, each.margin)
        for each in choose_images(unlabeled, probabilities, count)
    ]
    folder = output or paths.LABELING
    write_list(folder, rows, images.pictures([row.path for row in rows]), len(found))
    print(
        f"Wrote {len(rows)} of {len(found):,} unlabeled images to {folder}/{LIST_FILE} and {folder}/index.html"
    )
    return 0


def _embed(images: UnlabeledImages, embed: Embed) -> tuple[list[tuple[str, str]], Embeddings]:
    """Return path and sha256 of each image, and the embeddings. The pixels of a chunk are in memory."""
    names: list[tuple[str, str]] = []
    parts = []
    waiting = iter(images)
    while chunk := list(islice(waiting, CHUNK)):
        names += [(image.path, image.sha256) for image in chunk]
        parts.append(embed_enlarged(embed, np.stack([image.pixels for image in chunk])))
    return names, np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _report(images: UnlabeledImages, found: int, sources: Collection[str]) -> None:
    """Say how many files were left out.

    Raises:
        DataError: No unlabeled image is left.
    """
    left_out = f"{images.labeled:,} already in the data set, {images.unread:,} unreadable"
    if not found:
        raise DataError(
            f"{', '.join(sources)}: no unlabeled image ({left_out}); name a folder of unlabeled images"
        )
    if images.labeled or images.unread:
        logger.info("Left out: %s", left_out)
