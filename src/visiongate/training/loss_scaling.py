"""Scale the loss of a training in fp16, where small gradients would otherwise become 0.

Source: Micikevicius et al., Mixed Precision Training, 2018, section 3.2.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import SGD

from visiongate.training.checkpoint import State

if TYPE_CHECKING:
    from visiongate.training.hardware import Hardware

# A smaller scale means that gradients overflow whatever the scale.
MIN_SCALE = 1.0


class LossScaler:
    """Finds the largest scale at which no gradient overflows; in other precisions than fp16, everything here does nothing.

    All processes of a training have the same scale, because they have the same averaged gradients: an infinite gradient of one
    process makes the average infinite.

    Args:
        network: On its device.
        hardware: States the precision.
    """

    def __init__(self, network: nn.Module, hardware: "Hardware") -> None:
        self._scaler = GradScaler(hardware.device.type, enabled=hardware.dtype is torch.float16)
        # GradScaler takes gradients from an optimizer. This one has those of the whole network and never takes a step, so that
        # the optimizers of the training step all or none.
        self._gradients = SGD(network.parameters())
        self._scale = self._scaler.get_scale()

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss to compute the gradients of."""
        return self._scaler.scale(loss)

    def unscale(self) -> bool:
        """Divide the gradients by the scale, and return whether all are finite; if not, the step must be skipped.

        An infinite or NaN gradient halves the scale of the next steps. On a GPU, this waits for the device in fp16.
        """
        self._scaler.unscale_(self._gradients)
        self._scaler.update()
        before, self._scale = self._scale, self._scaler.get_scale()
        return self._scale >= before

    @property
    def is_exhausted(self) -> bool:
        """Whether so many steps were skipped that another scale will not help."""
        return self._scale < MIN_SCALE

    def state(self) -> State:
        """Return the scale and the number of steps since it changed; nothing in other precisions."""
        return self._scaler.state_dict()

    def restore(self, state: State) -> None:
        """Restore what `state` returned."""
        self._scaler.load_state_dict(state)
        self._scale = self._scaler.get_scale()
