"""Import torchvision over any build of torch.

torchvision's wheel carries operators compiled for one build of torch. Over another, a CPU build say, they cannot be loaded,
and ``import torchvision`` fails with ``operator torchvision::nms does not exist``: it attaches shape rules to two operators
that nobody declared. Its models, transforms and data sets are Python and need neither. Declaring the two schemas before the
import is enough; where the builds match, the compiled operators load and nothing must be declared.
"""

import importlib
import sys
from functools import cache
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@cache
def import_torchvision() -> ModuleType:
    """Import torchvision, with the schemas of its missing operators declared if its own cannot be loaded.

    Raises:
        ImportError: torchvision is not installed, or fails for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise ImportError(f"torchvision: {error}") from error
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left half-made
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    module = importlib.import_module("torchvision")
    module.__dict__["_visiongate_operators"] = library  # the schemas live as long as this object
    return module
