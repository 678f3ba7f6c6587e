"""Heat maps: which places of an image speak for a class."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from visiongate.explanation.occlusion import occlusion_map
from visiongate.images.pixels import Labels, Pixels
from visiongate.models.predictor import ACTIVATION_MAP, PROBABILITIES, Outputs, Predictor

Heat = npt.NDArray[np.float32]
CLASS_ACTIVATION, OCCLUSION = "class activation map", "occlusion"
# Near the smallest number of float32.
MIN_PROBABILITY = 1e-37


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The places that speak for a class, as positive values, and against it, as negative values.

    Attributes:
        values: float32, H×W of the model's input, in logits.
        method: `CLASS_ACTIVATION` or `OCCLUSION`.
    """

    values: Heat
    method: str


def heat_map_outputs(predictor: Predictor) -> list[str]:
    """Return the outputs that a class activation map needs; none if the model is explained by occlusion."""
    return [PROBABILITIES, ACTIVATION_MAP] if ACTIVATION_MAP in predictor.outputs else []


def heat_map(predictor: Predictor, pixels: Pixels, class_index: int) -> HeatMap:
    """Return the heat map of an image for a class.

    Args:
        predictor: The model.
        pixels: The model's input, uint8 H×W×C.
        class_index: The class, usually the predicted one.
    """
    return next(heat_maps(predictor, pixels[None], np.array([class_index])))


def heat_maps(
    predictor: Predictor, images: Pixels, classes: Labels, outputs: Outputs | None = None
) -> Iterator[HeatMap]:
    """Yield the heat map of each image for its class.

    Args:
        predictor: The model.
        images: The model's inputs, uint8 N×H×W×C.
        classes: N.
        outputs: The outputs `heat_map_outputs` of the model for the images, if they are known.
    """
    names = heat_map_outputs(predictor)
    if not names:
        for image, label in zip(images, classes.tolist(), strict=True):
            yield HeatMap(occlusion_map(predictor, image, label), OCCLUSION)
        return
    evidence = class_evidence(predictor, outputs or predictor.run(images, names), classes)
    for each in evidence:
        yield HeatMap(enlarge(each, (images.shape[1], images.shape[2])), CLASS_ACTIVATION)


def class_evidence(predictor: Predictor, outputs: Outputs, classes: Labels) -> Heat:
    """Return the evidence for one class of each image by place, N×h×w. Its mean over the places is the logit of the class.

    Zhou, B., Khosla, A., Lapedriza, A., Oliva, A., Torralba, A. (2016), Learning deep features for discriminative localization,
    CVPR, section 2. Unlike there, the logits of an image have the mean 0, because a softmax ignores what is added to all of
    them: a logistic regression of two classes can have a constant logit for one of them. Each place has an equal share of the
    bias, because it is the counterpart of features whose mean is not 0.

    Args:
        predictor: The model.
        outputs: Its outputs `PROBABILITIES` and `ACTIVATION_MAP` for N images.
        classes: N.
    """
    logits = (predictor.temperature or 1.0) * np.log(np.maximum(outputs[PROBABILITIES], MIN_PROBABILITY))
    maps = outputs[ACTIVATION_MAP]
    parts = maps - maps.mean(axis=(2, 3), keepdims=True) + logits[:, :, None, None]
    own = np.take_along_axis(parts, classes[:, None, None, None], axis=1)[:, 0]
    evidence: Heat = (own - parts.mean(axis=1)).astype(np.float32)
    return evidence


def enlarge(heat: Heat, size: tuple[int, int]) -> Heat:
    """Interpolate a map bilinearly to a height and width. Each value stays in the middle of its place."""
    height, width = size
    picture = Image.fromarray(np.ascontiguousarray(heat, dtype=np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
