"""Import torchvision with any build of torch.

torchvision's wheel contains operators compiled for one build of torch. With another build, such as a CPU build, they fail to
load, and ``import torchvision`` raises ``operator torchvision::nms does not exist`` because it registers shape rules for two
undeclared operators. Its models are pure Python and need neither operator, so declaring both before the import is enough.
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
    """Import torchvision; if its operators fail to load, declare them and import it again.

    Raises:
        ImportError: torchvision is not installed or fails for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise ImportError(f"torchvision: {error}") from error
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    module = importlib.import_module("torchvision")
    # The declarations live as long as the library object.
    module.__dict__["_visiongate_operators"] = library
    return module
