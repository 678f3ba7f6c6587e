"""Reference transformations by torchvision."""

import torch

from visiongate.models.torchvision_import import import_torchvision


def rotate(pixels: torch.Tensor, degrees: float) -> torch.Tensor:
    """Rotate counter-clockwise, bilinearly."""
    transforms = import_torchvision().transforms
    return transforms.functional.rotate(pixels, degrees, transforms.InterpolationMode.BILINEAR)


def adjust(pixels: torch.Tensor, brightness: float, contrast: float, saturation: float) -> torch.Tensor:
    """Change the colors of RGB images."""
    functional = import_torchvision().transforms.functional
    pixels = functional.adjust_brightness(pixels, brightness)
    return functional.adjust_saturation(functional.adjust_contrast(pixels, contrast), saturation)
