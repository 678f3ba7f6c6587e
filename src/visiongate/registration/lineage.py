"""What a model was made from: the hashes of data, model and parameters in ``dvc.lock``.

``dvc.lock`` may differ from the work tree. Therefore the hashes are checked: each stage must have read what the stage before
it wrote, and the recorded model must be the file in the work tree. Differences are recorded.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiongate.adapters.git import UNKNOWN
from visiongate.records.dvc_lock import LockedStage, read_lock
from visiongate.records.files import md5_of


@dataclass(frozen=True, slots=True)
class Lineage:
    """The data, parameters and file of a model, and where ``dvc.lock`` contradicts them.

    Attributes:
        data_md5: By path; None if nothing is recorded.
        model_md5: Of the file in the work tree.
        params: Of all stages, merged.
        params_sha256: None without parameters.
        differences: Empty if ``dvc.lock`` agrees.
    """

    data_md5: Mapping[str, str | None]
    model_md5: str
    params: Mapping[str, Any]
    params_sha256: str | None
    differences: tuple[str, ...]

    def tags(self) -> dict[str, str]:
        """Return MLflow tags."""
        data = {
            f"visiongate.{path.replace('/', '_')}_md5": md5 or UNKNOWN for path, md5 in self.data_md5.items()
        }
        return {
            **data,
            "visiongate.model_md5": self.model_md5,
            "visiongate.params_sha256": self.params_sha256 or UNKNOWN,
            "visiongate.dvc_lock": "; ".join(self.differences) or "agrees",
        }


def read_lineage(
    lock: Path, stages: Sequence[str], data: Sequence[Path], model: Path, root: Path = Path()
) -> Lineage:
    """Read what a model was made from, and check it against the model's file.

    Args:
        lock: ``dvc.lock``; it need not exist.
        stages: The stages that the model comes from, in order.
        data: Folders that the stages write.
        model: The model's file.
        root: The folder that the other paths are relative to.
    """
    locked = read_lock(root / lock).stages
    chain = {name: locked[name] for name in stages if name in locked}
    written = {path: md5 for stage in chain.values() for path, md5 in stage.outs.items()}
    params = {
        key: value
        for stage in chain.values()
        for values in stage.params.values()
        for key, value in values.items()
    }
    model_md5 = md5_of(root / model)
    differences = [f"{name}: not in {lock}" for name in stages if name not in chain]
    differences += _broken_links(chain, written)
    if (recorded := written.get(model.as_posix())) != model_md5:
        differences.append(f"{model}: {lock} has md5 {recorded or 'unknown'}, the file has {model_md5}")
    return Lineage(
        data_md5={path.as_posix(): written.get(path.as_posix()) for path in data},
        model_md5=model_md5,
        params=params,
        params_sha256=_sha256_of_json(params) if params else None,
        differences=tuple(differences) if locked else (f"{lock}: nothing recorded",),
    )


def _broken_links(chain: Mapping[str, LockedStage], written: Mapping[str, str | None]) -> Iterator[str]:
    """List the files that a stage wrote after another had read them, because it ran alone."""
    for name, stage in chain.items():
        for path, md5 in stage.deps.items():
            if written.get(path, md5) != md5:
                yield f"{path}: {name} read md5 {md5}, but the current md5 is {written[path]}"


def _sha256_of_json(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
