"""The order of blocks that residual networks share."""

from collections.abc import Callable, Sequence

from torch import nn

MakeBlock = Callable[[int, int, int], nn.Module]  # takes inputs, outputs and stride


def make_stages(make_block: MakeBlock, width: int, blocks: Sequence[int]) -> list[nn.Module]:
    """Make stages of blocks: each stage but the first has twice the channels of the one before, and half the resolution.

    Args:
        make_block: Makes a block.
        width: Channels of what comes in, and of the first stage.
        blocks: Blocks of each stage.
    """
    layers, inputs = [], width
    for stage, count in enumerate(blocks):
        outputs = width * 2**stage
        for place in range(count):
            layers.append(make_block(inputs, outputs, 2 if stage and not place else 1))
            inputs = outputs
    return layers
