"""Average pooling to a grid of a fixed size, whatever the size of the images."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class GridPooling(nn.Module):
    """Adaptive average pooling with a deterministic gradient on every device: torch's own has none on a GPU.

    Args:
        grid: Height and width of the output.
    """

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, images: Tensor) -> Tensor:
        """Return N×C×grid×grid for N×C×H×W."""
        if images.device.type == "cpu":
            return functional.adaptive_avg_pool2d(images, self.grid)
        return pool_by_products(images, self.grid)


def pool_by_products(images: Tensor, grid: int) -> Tensor:
    """Pool by two matrix products, N×C×H×W to N×C×grid×grid."""
    rows, columns = (
        _shares(length, grid, images.device).to(images.dtype) for length in (images.shape[2], images.shape[3])
    )
    return rows @ images @ columns.T


def _shares(length: int, grid: int, device: torch.device) -> Tensor:
    """Return the share of each pixel in each cell, grid×length; cells overlap if the length is not a multiple of the grid."""
    cells, pixels = torch.arange(grid, device=device)[:, None], torch.arange(length, device=device)
    starts, ends = cells * length // grid, -(-(cells + 1) * length // grid)
    return ((pixels >= starts) & (pixels < ends)) / (ends - starts)
