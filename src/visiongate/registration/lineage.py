"""What a model was made from: the git commit, and the hashes that DVC recorded of data, model and parameters.

``dvc.lock`` says what DVC last saw, not what is there. So the chain is checked: each file that one stage
wrote and another read must be the same one, and the recorded model must be the file at hand. What does not
hold is told, not hidden.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visiongate.adapters.commit import UNKNOWN


@dataclass(frozen=True, slots=True)
class Lineage:
    """What ``dvc.lock`` says of how a model came about, and where that does not hold."""

    data_md5: Mapping[str, str | None]  # by path; None where nothing is recorded
    model_md5: str  # of the file at hand
    params: Mapping[str, Any]  # of all the stages asked for, merged
    params_sha256: str | None
    differences: tuple[str, ...]  # empty when the record holds

    def tags(self) -> dict[str, str]:
        """Return MLflow tags."""
        data = {
            f"visiongate.{path.replace('/', '_')}_md5": md5 or UNKNOWN for path, md5 in self.data_md5.items()
        }
        return {
            **data,
            "visiongate.model_md5": self.model_md5,
            "visiongate.params_sha256": self.params_sha256 or UNKNOWN,
            "visiongate.records.dvc_lock": "; ".join(self.differences) or "agrees",
        }


def read_lineage(lock: Path, stages: Sequence[str], data: Sequence[Path], model: Path) -> Lineage:
    """Read out of ``dvc.lock`` what a model was made from, and check it.

    Args:
        lock: ``dvc.lock``; it need not exist.
        stages: The stages, in order, whose parameters and files count.
        data: Folders that one of the stages writes.
        model: The model's file.
    """
    locked = _locked_stages(lock)
    chain = {name: locked[name] for name in stages if name in locked}
    written = {out["path"]: out.get("md5") for stage in chain.values() for out in stage.get("outs", [])}
    model_md5 = _md5_of(model)
    params = {
        key: value
        for stage in chain.values()
        for section in stage.get("params", {}).values()
        for key, value in section.items()
    }
    differences = [f"{name}: not in {lock}" for name in stages if name not in chain]
    differences += _broken_links(chain, written)
    if (recorded := written.get(model.as_posix())) != model_md5:
        differences.append(f"{model}: {lock} has md5 {recorded or 'none'}, the file {model_md5}")
    return Lineage(
        data_md5={path.as_posix(): written.get(path.as_posix()) for path in data},
        model_md5=model_md5,
        params=params,
        params_sha256=_sha256_of_json(params) if params else None,
        differences=tuple(differences) if locked else (f"{lock}: nothing recorded",),
    )


def _locked_stages(lock: Path) -> dict[str, Any]:
    if not lock.exists():
        return {}
    content = yaml.safe_load(lock.read_text(encoding="utf-8"))
    return dict((content or {}).get("stages", {}))


def _broken_links(chain: Mapping[str, Any], written: Mapping[str, str | None]) -> Iterator[str]:
    """Name what a stage last read that is not what another last wrote: one of them ran by itself since."""
    for name, stage in chain.items():
        for dep in stage.get("deps", []):
            path, md5 = dep["path"], dep.get("md5")
            if written.get(path, md5) != md5:
                yield f"{path}: {name} read md5 {md5}, and it is now {written[path]}"


def _md5_of(path: Path) -> str:
    """Hash a file as DVC does."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _sha256_of_json(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
