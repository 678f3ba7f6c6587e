"""Checkpoints: a training that was interrupted goes on from its last epoch, and ends as if it had not been.

One safetensors file, replaced whole after each epoch, holds all that the next epoch depends on. Random numbers need no place in
it, for each epoch draws its own from the seed.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from visiongate.records.files import atomic_path

Tree = dict[str, Any]  # of tensors and plain values, by name
UNREADABLE = (SafetensorError, OSError, KeyError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Origin:
    """All that a training's course depends on. A checkpoint of another origin is not continued."""

    settings: Mapping[str, Any]  # by dotted name
    data: str  # sha256
    code: str  # sha256
    start: str  # sha256 of the first weights
    environment: str  # packages, device and precision

    def differences(self, other: "Origin") -> list[str]:
        """Say in words what differs."""
        names = sorted({*self.settings, *other.settings})
        changed = [
            f"{name} was {self.settings.get(name)!r} and is {other.settings.get(name)!r}"
            for name in names
            if self.settings.get(name) != other.settings.get(name)
        ]
        if self.data != other.data:
            changed.append("the data changed")
        if self.code != other.code:
            changed.append("the code changed")
        if self.start != other.start and not changed:
            changed.append("the weights to start from changed")
        if self.environment != other.environment:
            changed.append(f"it was made with {self.environment}, and this is {other.environment}")
        return changed


class Checkpoint:
    """The checkpoint of one training.

    Args:
        path: Its file.
        origin: Of the training that is to be continued.
    """

    def __init__(self, path: Path, origin: Origin) -> None:
        self._path = path
        self._origin = origin
        # Of the run that the training is told to; whoever goes on with the one goes on with the other.
        self.run_id = self._read_run_id()

    def save(self, state: Tree) -> None:
        """Replace the file by this state, and see it on the disk, so that a power cut leaves the one or the other."""
        tensors: dict[str, Tensor] = {}
        values = _take_tensors(state, "", tensors)
        metadata = {
            "origin": json.dumps(asdict(self._origin)),
            "run_id": self.run_id,
            "state": json.dumps(values),
        }
        with atomic_path(self._path) as temporary:
            temporary.write_bytes(
                save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
            )
            _flush(temporary)
        _flush(self._path.parent)

    def load(self) -> tuple[Tree | None, str | None]:
        """Return the state that was saved, if there is one of this origin; and why one that is there is not continued."""
        self._remove_leftovers()
        if not self._path.exists():
            return None, None
        try:
            with safe_open(self._path, "pt") as file:
                metadata = file.metadata()
                changed = _origin_of(metadata).differences(self._origin)
                if changed:
                    return None, "; ".join(changed)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            return _put_tensors(json.loads(metadata["state"]), tensors), None
        except UNREADABLE as error:
            return None, f"it cannot be read: {error}"

    def remove(self) -> None:
        """Remove the file: the training is done."""
        self._path.unlink(missing_ok=True)

    def _read_run_id(self) -> str:
        """Return the run of the checkpoint that `load` brings, or nothing where there is none."""
        try:
            with safe_open(self._path, "pt") as file:
                metadata = file.metadata()
            return str(metadata["run_id"]) if _origin_of(metadata) == self._origin else ""
        except UNREADABLE:
            return ""

    def _remove_leftovers(self) -> None:
        """Remove what a process left that was killed while it wrote."""
        for path in self._path.parent.glob(f".{self._path.name}.*"):
            path.unlink(missing_ok=True)  # another process may be doing the same


def _origin_of(metadata: Mapping[str, str]) -> Origin:
    return Origin(**json.loads(metadata["origin"]))


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take_tensors(node: Any, name: str, tensors: dict[str, Tensor]) -> Tree:  # noqa: ANN401 - a tree
    """Move the tensors of a tree into ``tensors``, by their path; return what remains, which is JSON."""
    if isinstance(node, Tensor):
        tensors[name] = node
        return {"tensor": name}
    if isinstance(node, Mapping):
        return {
            "items": [[key, _take_tensors(value, f"{name}/{key}", tensors)] for key, value in node.items()]
        }
    if isinstance(node, list | tuple):
        return {
            "list": [_take_tensors(value, f"{name}/{place}", tensors) for place, value in enumerate(node)]
        }
    return {"value": node}


def _put_tensors(node: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401 - a tree
    """Undo `_take_tensors`."""
    (kind, content), *_ = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {key: _put_tensors(value, tensors) for key, value in content}
    if kind == "list":
        return [_put_tensors(value, tensors) for value in content]
    return content


def weights_sha256(network: nn.Module) -> str:
    """Hash a network's weights: at the start they tell which pretrained ones it was given."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def optimizer_state(optimizer: Optimizer) -> Tree:
    """Return what an optimizer remembers of past steps; its settings come from the recipe."""
    return dict(optimizer.state_dict()["state"])


def restore_optimizer(optimizer: Optimizer, state: Tree) -> None:
    """Give an optimizer back what it remembered."""
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
