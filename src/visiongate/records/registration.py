"""``reports/registration.json``: the decision about a model, and what the model was made from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from visiongate.records.files import write_json
from visiongate.records.json_record import parse_record, read_record

REGISTRATION_FILE = "registration.json"
Action = Literal["rejected", "registered", "promoted"]


@dataclass(frozen=True, slots=True)
class RecordedLineage:
    """What a model was made from.

    Attributes:
        git_commit: ``unknown`` outside a repository.
        git_dirty: Whether tracked files differed from the commit; None if unknown.
        data_md5: By folder; None if ``dvc.lock`` does not have the folder.
        model_md5: Of ``models/model.onnx``.
        params_sha256: None without parameters.
        differences: Where ``dvc.lock`` contradicts itself or the model's file.
    """

    git_commit: str
    git_dirty: bool | None
    data_md5: Mapping[str, str | None]
    model_md5: str
    params_sha256: str | None
    differences: list[str]


@dataclass(frozen=True, slots=True)
class Registration:
    """The content of ``registration.json``.

    Attributes:
        decision: What was done with the model.
        reason: A sentence with the numbers.
        name: Of the registered model.
        version: Its number.
        aliases: That point to the version.
        model_sha256: Of the model's file.
        gate_passed: Whether the gate passed.
        previous_champion: The version that this one replaced.
        comparison: With the champion; None if there was no comparison.
        lineage: What the model was made from.
    """

    decision: Action
    reason: str
    name: str
    version: str
    aliases: list[str]
    model_sha256: str
    gate_passed: bool
    previous_champion: str | None
    comparison: Mapping[str, Any] | None
    lineage: RecordedLineage


def write_registration(path: Path, registration: Registration) -> None:
    """Write ``registration.json``."""
    write_json(path, asdict(registration))


def read_registration(path: Path) -> Registration:
    """Read ``registration.json``.

    Raises:
        DataError: The file is missing or invalid.
    """
    return read_record(path, Registration)


def parse_registration(content: bytes, source: str = REGISTRATION_FILE) -> Registration:
    """Parse the content of a ``registration.json``, such as that of another revision.

    Raises:
        DataError: The content is invalid.
    """
    return parse_record(content, Registration, source)
