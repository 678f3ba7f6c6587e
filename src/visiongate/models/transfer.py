"""Networks of torchvision with a new head, and the weights that their backbone starts from."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from visiongate.errors import SettingsError

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

SETTING = "params.yaml: model.options.weights"
NONE, IMAGENET = "none", "imagenet"
# Channels of the images that torchvision's weights were trained on.
RGB = 3
# How names begin in a model.safetensors of this project.
PREFIX = "backbone."


class TransferNetwork(nn.Module):
    """A network that maps normalized float images, N×C×H×W, to logits, N×K.

    Args:
        backbone: Maps images to features.
        head: Maps features to logits.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        # The origin of the backbone's weights; None if they are random.
        self.pretrained: str | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def train(self, mode: bool = True) -> "TransferNetwork":  # noqa: FBT001, FBT002 - torch's signature
        """Set the mode. A frozen backbone stays in evaluation mode, so that its batch norms keep their statistics."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.backbone.parameters()):
            self.backbone.eval()
        return self

    def load_backbone(self, weights: str, published: "WeightsEnum", first_kernel: str) -> None:
        """Load the weights that ``model.options.weights`` selects into the backbone.

        Args:
            weights: ``none``, ``imagenet`` or a file: safetensors, or a state dict that ``torch.save`` wrote.
            published: torchvision's weights for ``imagenet``.
            first_kernel: The name of the first kernel, which is adapted to the channels of the images.

        Raises:
            SettingsError: The weights cannot be downloaded or read, or belong to another network.
        """
        if weights == NONE:
            return
        if weights == IMAGENET:
            state, self.pretrained = _download(published), published.url
        else:
            state, self.pretrained = _read(Path(weights)), f"sha256:{_sha256(Path(weights))}"
        if any(name.startswith(PREFIX) for name in state):
            state = {
                name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)
            }
        required = self.backbone.state_dict()
        if first_kernel in state:
            state[first_kernel] = _adapt_channels(state[first_kernel], required[first_kernel].shape[1])
        _check_names(required, state, weights)
        self.backbone.load_state_dict({name: state[name] for name in required})


def _download(published: "WeightsEnum") -> dict[str, Tensor]:
    try:
        return dict(published.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or error
        raise SettingsError(
            f"{SETTING} = {IMAGENET!r}: download of {published.url} failed: {reason}; copy that file here and set its path, or "
            f"set {NONE}"
        ) from None


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # weights_only refuses a pickle that would run code.
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    except FileNotFoundError:
        raise SettingsError(
            f"{SETTING} = {str(path)!r}: no such file; set a file, {IMAGENET} or {NONE}"
        ) from None
    # safetensors, pickle and torch raise errors of many kinds.
    except Exception as error:
        raise SettingsError(
            f"{SETTING} = {str(path)!r}: not a file of weights; set a .safetensors file or a state dict saved by torch.save"
        ) from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _adapt_channels(kernel: Tensor, channels: int) -> Tensor:
    """Sum an RGB kernel over its channels for grayscale images, so that gray gives the same output in both."""
    if kernel.shape[1] == RGB and channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    return kernel


def _check_names(required: Mapping[str, Tensor], state: Mapping[str, Any], weights: str) -> None:
    for name, value in required.items():
        shape = list(state[name].shape) if name in state else None
        if shape != list(value.shape):
            problem = "is missing" if shape is None else f"has the shape {shape}, not {list(value.shape)}"
            raise SettingsError(f"{SETTING} = {weights!r}: weights of another network: {name} {problem}")
