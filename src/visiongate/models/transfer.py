"""Networks of a backbone, which may start from pretrained weights, and a new head."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visiongate.errors import SettingsError
from visiongate.models.embedding_networks import PooledNetwork
from visiongate.models.pretrained import SETTING, Start

if TYPE_CHECKING:
    from visiongate.models.normalization import ChannelStatistics


class TransferNetwork(PooledNetwork):
    """A network that maps normalized float images, N×C×H×W, to logits, N×K.

    Args:
        backbone: Maps images to their last feature map, N×D×h×w.
        head: Maps pooled features, N×D, to logits.
        dropout: Dropout rate before the head.

    Attributes:
        pretrained: The origin of the backbone's weights; None if they are random.
        statistics: Of the images that the backbone's weights were trained on; None if they are random.
    """

    def __init__(self, backbone: nn.Module, head: nn.Linear, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.backbone = backbone
        self.head = head
        self.pretrained: str | None = None
        self.statistics: ChannelStatistics | None = None

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last feature map, N×D×h×w."""
        features: Tensor = self.backbone(images)
        return features

    def train(self, mode: bool = True) -> "TransferNetwork":  # noqa: FBT001, FBT002 - torch's signature
        """Set the mode. A frozen backbone stays in evaluation mode, so that its batch norms keep their statistics."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.backbone.parameters()):
            self.backbone.eval()
        return self

    def start_from(self, start: Start | None, channels: int) -> "TransferNetwork":
        """Give the backbone, which was built for RGB, its first weights; return the network.

        Pretrained weights of RGB images are kept for grayscale images, whose channel `Normalization` repeats.

        Args:
            start: The weights; None keeps the random ones.
            channels: Of the images.

        Raises:
            SettingsError: The weights belong to another network.
        """
        name, first = _first_convolution(self.backbone)
        if start is None:
            _set_channels(first, channels)
            return self
        kernel = start.tensors.get(f"{name}.weight")
        if kernel is not None and kernel.ndim == first.weight.ndim and kernel.shape[1] == channels:
            _set_channels(first, channels)
        required = self.backbone.state_dict()
        _check_tensors(required, start)
        self.backbone.load_state_dict({name: start.tensors[name] for name in required})
        self.pretrained, self.statistics = start.origin, start.statistics
        return self


def _first_convolution(backbone: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((name, each) for name, each in backbone.named_modules() if isinstance(each, nn.Conv2d))


def _set_channels(convolution: nn.Conv2d, channels: int) -> None:
    """Let a convolution take images of other channels, with new random weights."""
    if convolution.in_channels != channels:
        outputs, _, *kernel_size = convolution.weight.shape
        convolution.in_channels = channels
        convolution.weight = nn.Parameter(torch.empty(outputs, channels, *kernel_size))
        convolution.reset_parameters()


def _check_tensors(required: dict[str, Tensor], start: Start) -> None:
    for name, value in required.items():
        shape = list(start.tensors[name].shape) if name in start.tensors else None
        if shape != list(value.shape):
            problem = "is missing" if shape is None else f"has the shape {shape}, not {list(value.shape)}"
            raise SettingsError(f"{SETTING} = {start.label!r}: weights of another network: {name} {problem}")
