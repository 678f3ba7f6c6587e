"""The features that `visiongate correct` and `visiongate label-next` compare images by: those of a frozen backbone."""

import logging
from dataclasses import replace

import numpy as np

from visiongate import paths
from visiongate.correction.embeddings import Embed, Embeddings, backbone_side, embed_enlarged
from visiongate.correction.suspects import LabeledImages, read_labeled_images
from visiongate.images.integrity import check_arrays
from visiongate.images.pixels import load_split
from visiongate.records.splits import SPLITS
from visiongate.records.transform import Transform
from visiongate.settings.loading import load_settings
from visiongate.settings.model import Probe

# Unless the model is a probe, which has its own.
BACKBONE = Probe(kind="probe", name="efficientnet_lite0", options={"weights": "package"}, strength=1.0)
logger = logging.getLogger(__name__)


def open_backbone(transform: Transform) -> Embed:
    """Return a function that embeds images, through the cache of features.

    A trained network is not used, because it may have learned the wrong labels.

    Args:
        transform: The preprocessing of the images.

    Raises:
        SettingsError: The weights cannot be read.
    """
    # Imported here, because torch takes seconds.
    from visiongate.models.backbone import load_backbone  # noqa: PLC0415
    from visiongate.models.embedding import Embedder  # noqa: PLC0415
    from visiongate.models.feature_graph import feature_graph  # noqa: PLC0415

    model = load_settings().model
    backbone = load_backbone(
        model if isinstance(model, Probe) else BACKBONE,
        replace(transform, size=backbone_side(transform.size)),
    )
    return Embedder(feature_graph(backbone.graph))


def embed_labeled() -> tuple[LabeledImages, Embeddings, Embed]:
    """Return the prepared images of all splits, their embeddings, and what computes embeddings.

    Raises:
        VisiongateError: The pipeline has not run, or the weights of the backbone cannot be read.
    """
    transform = check_arrays(paths.TRANSFORMED)
    images = read_labeled_images(paths.TRANSFORMED, paths.PREPARED)
    embed = open_backbone(transform)
    logger.info(
        "Features of %d images; those that are not in the cache take some 20 ms each", len(images.images)
    )
    arrays = [load_split(paths.TRANSFORMED, split).images for split in SPLITS]
    return images, np.concatenate([embed_enlarged(embed, array) for array in arrays if len(array)]), embed
