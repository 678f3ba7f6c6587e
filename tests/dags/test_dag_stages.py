"""The stages of ``dvc.yaml`` and the tasks of the DAGs cover each other."""

from pathlib import Path

import pytest
import yaml

from visiongate_dags.stages import (
    IMAGE_TRAINING,
    ML_TRAINING,
    Pipeline,
    PipelineError,
    assign_needed_stages,
    assign_stages,
    read_pipeline,
)

DVC_YAML = Path(__file__).parents[2] / "dvc.yaml"


def extended(tmp_path: Path, **stages: dict[str, list[str]]) -> Pipeline:
    """Read the pipeline of this repository with more stages, the first ones of the file."""
    content = yaml.safe_load(DVC_YAML.read_text())
    path = tmp_path / "dvc.yaml"
    path.write_text(yaml.safe_dump({"stages": {**stages, **content["stages"]}}, sort_keys=False))
    return read_pipeline(path)


def test_each_stage_belongs_to_one_task_and_follows_those_that_it_depends_on() -> None:
    pipeline = read_pipeline(DVC_YAML)
    tasks = assign_stages(pipeline, IMAGE_TRAINING)
    stages = [stage for each in tasks.values() for stage in each]
    assert sorted(stages) == sorted(yaml.safe_load(DVC_YAML.read_text())["stages"])
    for index, stage in enumerate(stages):
        assert pipeline.needed[stage] <= set(stages[:index])
    assert all(IMAGE_TRAINING[task] in stages for task, stages in tasks.items())


def test_the_search_runs_in_the_training_task_and_the_weekly_run_leaves_it_out() -> None:
    pipeline = read_pipeline(DVC_YAML)
    assert set(assign_stages(pipeline, IMAGE_TRAINING)["train_model"]) == {
        "study",
        "train",
        "optimize",
        "recommend",
    }
    weekly = assign_needed_stages(pipeline, ML_TRAINING)
    assert weekly["train_model"] == ("train",)
    assert {stage for stages in weekly.values() for stage in stages} == {
        "register",
        *pipeline.needed["register"],
    }


@pytest.mark.parametrize(
    ("stage", "task"),
    [
        ({"deps": ["data/raw"], "outs": ["data/clean"]}, "train_model"),
        ({"deps": ["models/model.onnx"], "outs": ["models/small.onnx"]}, "evaluate_model"),
        ({"deps": ["reports/evaluation/per_class.csv"], "outs": ["reports/fairness"]}, "register_model"),
        ({"deps": ["reports/registration.json"], "outs": ["reports/release"]}, "register_model"),
        ({"deps": ["conf"], "outs": ["data/raw/more.csv"]}, "preprocess_data"),
    ],
)
def test_a_new_stage_falls_into_a_task_by_its_position(
    stage: dict[str, list[str]], task: str, tmp_path: Path
) -> None:
    tasks = assign_stages(extended(tmp_path, added=stage), IMAGE_TRAINING)
    assert [name for name, stages in tasks.items() if "added" in stages] == [task]


def test_a_stage_without_inputs_runs_as_late_as_what_needs_it(tmp_path: Path) -> None:
    pipeline = extended(
        tmp_path,
        policy={"outs": ["reports/policy.json"]},
        audit={"deps": ["reports/policy.json", "reports/evaluation"]},
    )
    assert set(assign_stages(pipeline, IMAGE_TRAINING)["register_model"]) == {"policy", "audit", "register"}


def test_a_renamed_stage_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"no stage 'fit', the last one of task train_model"):
        assign_stages(read_pipeline(DVC_YAML), {**IMAGE_TRAINING, "train_model": "fit"})
    with pytest.raises(PipelineError, match=r"dvc\.yaml: no such file"):
        read_pipeline(tmp_path / "dvc.yaml")
