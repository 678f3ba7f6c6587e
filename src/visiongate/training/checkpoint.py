"""Save the state of a training after each epoch, and resume an interrupted training from it.

The checkpoint is one safetensors file. It does not contain random states, because each epoch derives its random numbers from
the seed. A resumed training ends with the same weights as an uninterrupted one.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from visiongate.records.files import atomic_path

# Nested dicts and lists of tensors and JSON values.
State = dict[str, Any]
TENSOR_KEY = "__tensor__"
UNREADABLE = (SafetensorError, OSError, KeyError, TypeError, ValueError)


class Checkpoint:
    """The checkpoint of one training.

    Args:
        path: The file.
        inputs: Everything that determines the training: settings, and hashes of data, code and initial weights, as JSON
            values by name. A checkpoint of other inputs is not resumed.
    """

    def __init__(self, path: Path, inputs: Mapping[str, Any]) -> None:
        self._path = path
        self._inputs = dict(inputs)
        metadata, _ = self._read_metadata()
        # The MLflow run of the training; a resumed training continues its run.
        self.run_id = metadata.get("run_id", "")

    def save(self, state: State) -> None:
        """Replace the file atomically."""
        tensors: dict[str, Tensor] = {}

        def extract(tensor: Tensor) -> dict[str, str]:
            name = str(len(tensors))
            tensors[name] = tensor.contiguous()
            return {TENSOR_KEY: name}

        values = json.dumps(state, default=extract)
        metadata = {"inputs": json.dumps(self._inputs), "run_id": self.run_id, "state": values}
        with atomic_path(self._path) as temporary:
            temporary.write_bytes(save(tensors, metadata))

    def load(self) -> tuple[State | None, str | None]:
        """Return the saved state, or None and the reason why a checkpoint is rejected."""
        metadata, reason = self._read_metadata()
        if not metadata:
            return None, reason
        try:
            with safe_open(self._path, "pt") as file:
                return json.loads(
                    metadata["state"],
                    object_hook=lambda node: (
                        file.get_tensor(node[TENSOR_KEY]) if TENSOR_KEY in node else node
                    ),
                ), None
        except UNREADABLE as error:
            return None, f"it is unreadable: {error}"

    def remove(self) -> None:
        """Delete the file after the training."""
        self._path.unlink(missing_ok=True)

    def _read_metadata(self) -> tuple[dict[str, str], str | None]:
        """Return the metadata of a checkpoint with the same inputs, or none and the reason."""
        if not self._path.exists():
            return {}, None
        try:
            with safe_open(self._path, "pt") as file:
                metadata: dict[str, str] = file.metadata()
            changes = _describe_changes(json.loads(metadata["inputs"]), self._inputs)
        except UNREADABLE as error:
            return {}, f"it is unreadable: {error}"
        return ({}, changes) if changes else (metadata, None)


def _describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = dict.fromkeys([*before, *now])
    return "; ".join(
        f"{name} changed from {before.get(name)!r} to {now.get(name)!r}"
        for name in names
        if before.get(name) != now.get(name)
    )


def weights_sha256(network: nn.Module) -> str:
    """Return the hash of a network's weights and buffers."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def optimizer_state(optimizer: Optimizer) -> State:
    """Return the state of an optimizer without its settings, which the recipe determines."""
    return {str(index): value for index, value in optimizer.state_dict()["state"].items()}


def restore_optimizer(optimizer: Optimizer, state: State) -> None:
    """Restore the state that `optimizer_state` returned."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    restored = {
        int(index): {name: _place_like(parameters[int(index)], value) for name, value in values.items()}
        for index, values in state.items()
    }
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": restored, "param_groups": groups})


def _place_like(parameter: Tensor, value: Any) -> Any:  # noqa: ANN401 - of any type
    """Return a value of the state in the memory layout of its parameter.

    A file has no layouts, and fused optimizers take for granted that both have the same.
    """
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
