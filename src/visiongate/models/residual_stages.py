"""The stages of blocks that residual networks share."""

from collections.abc import Callable, Sequence

from torch import nn

# Takes the input channels, the output channels and the stride.
MakeBlock = Callable[[int, int, int], nn.Module]


def make_stages(make_block: MakeBlock, width: int, blocks: Sequence[int]) -> list[nn.Module]:
    """Return the blocks of all stages; each stage after the first doubles the channels and halves the resolution.

    Args:
        make_block: Returns a block.
        width: Channels of the input and of the first stage.
        blocks: Number of blocks of each stage.
    """
    layers, inputs = [], width
    for stage, count in enumerate(blocks):
        outputs = width * 2**stage
        for index in range(count):
            layers.append(make_block(inputs, outputs, 2 if stage and not index else 1))
            inputs = outputs
    return layers
