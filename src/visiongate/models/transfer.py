"""Networks of torchvision under a head of ours: a backbone with random weights, ImageNet's, or those of a local file."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # the error alone: torch raises it for a file that would run code
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from visiongate.errors import SettingsError

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

SETTING = "model.options.weights"
NONE, IMAGENET = "none", "imagenet"
RGB = 3  # channels of what torchvision's weights were trained on
UNREADABLE = (
    SafetensorError,
    UnpicklingError,
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    EOFError,
    AttributeError,
)
OWN = "backbone."  # how names begin in a file that this project wrote


class Transfer(nn.Module):
    """Float images, N×C×H×W, normalized, to logits, N×K.

    Args:
        backbone: Images to features.
        head: Features to logits.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.pretrained: str | None = None  # where the backbone's weights come from

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def train(self, mode: bool = True) -> "Transfer":  # noqa: FBT001, FBT002 - torch's signature
        """Set the mode; a frozen backbone keeps the statistics of its batch norms too."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.backbone.parameters()):
            self.backbone.eval()
        return self

    def load_backbone(self, weights: str, published: "WeightsEnum", first: str) -> None:
        """Give the backbone the weights that the option ``weights`` names.

        Args:
            weights: ``none``, ``imagenet`` or a file: safetensors, or what ``torch.save`` wrote of a state dict.
            published: torchvision's, for ``imagenet``.
            first: The name of the first kernel, whose channels must be those of our images.

        Raises:
            SettingsError: They cannot be fetched or read, or are of another network.
        """
        if weights == NONE:
            return
        if weights == IMAGENET:
            found, self.pretrained = _fetch(published), published.url
        else:
            found, self.pretrained = _read(Path(weights)), f"sha256:{_digest(Path(weights))}"
        if any(name.startswith(OWN) for name in found):
            found = {name.removeprefix(OWN): value for name, value in found.items() if name.startswith(OWN)}
        wanted = self.backbone.state_dict()
        if first in found:
            found[first] = _fit_channels(found[first], wanted[first].shape[1])
        _check_names(wanted, found, weights)
        self.backbone.load_state_dict({name: found[name] for name in wanted})


def _fetch(published: "WeightsEnum") -> dict[str, Tensor]:
    try:
        return dict(published.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or error
        raise SettingsError(
            f"{SETTING} = {IMAGENET!r}: {published.url} cannot be fetched: {reason}; bring that file here by other means and "
            f"give its path, or choose {NONE}"
        ) from None


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Tensors alone: a pickle that would run code is refused.
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {
            name: value
            for name, value in state.items()
            if isinstance(name, str) and isinstance(value, Tensor)
        }
    except FileNotFoundError:
        raise SettingsError(
            f"{SETTING} = {str(path)!r}: no such file; or choose {IMAGENET} or {NONE}"
        ) from None
    except UNREADABLE:
        raise SettingsError(
            f"{SETTING} = {str(path)!r}: no file of weights: it takes a state dict, as safetensors or by "
            "torch.save(network.state_dict(), PATH)"
        ) from None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fit_channels(kernel: Tensor, channels: int) -> Tensor:
    """Let a kernel for colors see gray images as it saw gray ones before: equal channels, so the sum of its parts."""
    if kernel.shape[1] == RGB and channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    return kernel


def _check_names(wanted: Mapping[str, Tensor], found: Mapping[str, Any], weights: str) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise SettingsError(
            f"{SETTING} = {weights!r}: these are another network's: {missing[0]} is missing, as are {len(missing) - 1} more"
        )
    for name, value in wanted.items():
        if found[name].shape != value.shape:
            raise SettingsError(
                f"{SETTING} = {weights!r}: these are another network's: {name} is {list(found[name].shape)} and must be "
                f"{list(value.shape)}"
            )
