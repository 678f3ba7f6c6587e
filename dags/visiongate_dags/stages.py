"""Which stages of ``dvc.yaml`` belong to which task of a DAG. Needs no Airflow.

A task is named by its last stage. It also runs the stages that this one depends on and that no earlier task runs, so a new
stage of ``dvc.yaml`` falls into a task by its position.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

# Each task, in the order of the DAG, by its last stage.
IMAGE_TRAINING: Mapping[str, str] = {
    "preprocess_data": "transformation",
    "train_model": "train",
    "evaluate_model": "evaluate",
    "register_model": "register",
}
ML_TRAINING: Mapping[str, str] = {
    "prepare_data": "transformation",
    "train_model": "train",
    "evaluate_model": "evaluate",
    "register_model": "register",
}
OUTPUTS = ("outs", "metrics", "plots")


class PipelineError(Exception):
    """``dvc.yaml`` is missing, or lacks the last stage of a task."""


@dataclass(frozen=True)
class Pipeline:
    """The stages of a ``dvc.yaml``.

    Attributes:
        direct: The stages that each stage depends on directly, in the order of the file.
    """

    direct: Mapping[str, tuple[str, ...]]

    @cached_property
    def order(self) -> list[str]:
        """The stages, each after those that it depends on."""
        return list(TopologicalSorter(self.direct).static_order())

    @cached_property
    def needed(self) -> dict[str, frozenset[str]]:
        """All stages that each stage depends on, directly or not."""
        found: dict[str, frozenset[str]] = {}
        for stage in self.order:
            found[stage] = frozenset(self.direct[stage]).union(*(found[each] for each in self.direct[stage]))
        return found


def read_pipeline(path: Path) -> Pipeline:
    """Read the stages of a ``dvc.yaml`` and how they depend on each other.

    Raises:
        PipelineError: There is no such file.
    """
    try:
        stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; name the folder of the project") from None
    outputs = {name: set(_output_paths(stage)) for name, stage in stages.items()}
    return Pipeline(
        {
            name: tuple(
                other
                for other, paths in outputs.items()
                if other != name
                and any(_overlap(path, dep) for path in paths for dep in stage.get("deps", ()))
            )
            for name, stage in stages.items()
        }
    )


def assign_stages(pipeline: Pipeline, tasks: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return all stages by task, each after those that it depends on.

    A stage that the model does not need, such as the search, runs as late as the first stage that needs it. If none does, it
    belongs to the task after the last one that it depends on.

    Args:
        pipeline: The stages.
        tasks: Each task, in the order of the DAG, by its last stage.

    Raises:
        PipelineError: There is no such stage.
    """
    position = dict(_needed_positions(pipeline, tasks))
    for stage in reversed(pipeline.order):
        if stage not in position:
            users = [position[each] for each in pipeline.order if stage in pipeline.direct[each]]
            position[stage] = min(users, default=_after_needs(stage, pipeline, position, len(tasks) - 1))
    return _grouped(pipeline, tasks, position)


def assign_needed_stages(pipeline: Pipeline, tasks: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return by task the stages that the last stages depend on; the others, such as the search, are left out.

    Raises:
        PipelineError: There is no such stage.
    """
    return _grouped(pipeline, tasks, _needed_positions(pipeline, tasks))


def _needed_positions(pipeline: Pipeline, tasks: Mapping[str, str]) -> dict[str, int]:
    """Return the position of the first task whose last stage is, or depends on, each stage."""
    position: dict[str, int] = {}
    for index, (task, last) in enumerate(tasks.items()):
        if last not in pipeline.direct:
            raise PipelineError(
                f"dvc.yaml: no stage {last!r}, the last one of task {task}; correct dags/visiongate_dags/stages.py"
            )
        for stage in (last, *pipeline.needed[last]):
            position.setdefault(stage, index)
    return position


def _after_needs(stage: str, pipeline: Pipeline, position: Mapping[str, int], last: int) -> int:
    before = [position[each] for each in pipeline.needed[stage] if each in position]
    return min(max(before, default=-1) + 1, last)


def _grouped(
    pipeline: Pipeline, tasks: Mapping[str, str], position: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    return {
        task: tuple(stage for stage in pipeline.order if position.get(stage) == index)
        for index, task in enumerate(tasks)
    }


def _output_paths(stage: Mapping[str, Any]) -> Iterable[str]:
    for kind in OUTPUTS:
        for entry in stage.get(kind, ()):
            yield from entry if isinstance(entry, Mapping) else (entry,)


def _overlap(one: str, other: str) -> bool:
    """Return whether one path is the other, or lies in it."""
    first, second = PurePosixPath(one), PurePosixPath(other)
    return first.is_relative_to(second) or second.is_relative_to(first)
