"""The prediction log as a run of a DAG uses it: whether a new model is due, and the labels, by the commands of the project."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image
from sqlalchemy import update

from clones import clone_tree
from image_samples import encode
from logged_feedback import MODEL, Visitors
from visiongate.monitoring.database import Database
from visiongate.monitoring.tables import predictions
from visiongate_dags.clone import Clone
from visiongate_dags.errors import RunError
from visiongate_dags.feedback import ADDRESS, IMAGES, find_log, is_due
from visiongate_dags.project import Project
from visiongate_dags.steps import prepare


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ADDRESS, IMAGES):
        monkeypatch.delenv(name, raising=False)


def write_settings(folder: Path, address: str) -> Project:
    log = {"address": address, "images": {"folder": "logs/images"}}
    (folder / "params.yaml").write_text(yaml.safe_dump({"serving": {"log": log}}))
    return Project(folder, Path(sys.executable))


def test_a_file_that_does_not_exist_is_no_log(tmp_path: Path) -> None:
    project = write_settings(tmp_path, "sqlite:///logs/predictions.sqlite")
    assert find_log(project) is None
    assert find_log(Project(tmp_path / "empty", Path(sys.executable))) is None

    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/predictions.sqlite").touch()

    assert find_log(project) == {
        ADDRESS: f"sqlite:///{tmp_path}/logs/predictions.sqlite",
        IMAGES: str(tmp_path / "logs/images"),
    }


def test_the_environment_counts_before_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = write_settings(tmp_path, "sqlite:///logs/predictions.sqlite")
    monkeypatch.setenv(ADDRESS, "postgresql+psycopg://db.example/visiongate")
    monkeypatch.setenv(IMAGES, "s3://bucket/images")

    assert find_log(project) == {
        ADDRESS: "postgresql+psycopg://db.example/visiongate",
        IMAGES: "s3://bucket/images",
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(clone_tree(tmp_path_factory.mktemp("project")), Path(sys.executable))


@pytest.fixture
def log(project: Project) -> dict[str, str]:
    """The log of a service with three images that people have confirmed."""
    (project.folder / "logs").mkdir()
    address = f"sqlite:///{project.folder}/logs/predictions.sqlite"
    # That of the registry, which the check asks about.
    model = replace(MODEL, name="digits-classifier")
    visitors = Visitors(address, project.folder / "logs/images", model)
    for shade in (10, 100, 200):
        visitors.tell(encode(Image.new("L", (8, 8), shade), "PNG"), "3", "3")
    database = Database(address)
    with database.engine.begin() as connection:
        connection.execute(update(predictions).values(kept=True))
    database.close()
    found = find_log(project)
    assert found is not None
    return found


@pytest.mark.slow
def test_a_run_that_is_due_trains_on_the_labels(
    project: Project, log: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_due(project, log)
    monkeypatch.setenv("VISIONGATE_MONITORING__RETRAIN__NEW_LABELS", "3")
    assert is_due(project, log)

    clone = Clone(project, tmp_path / "runs/one")
    commit = prepare(clone, None, (), 1, log)

    assert commit != project.commit()
    assert (clone.folder / "data/collected.csv").read_text().count(",3,png,") == 3
    changed = set(clone.git("show", "--name-only", "--format=", commit).split())
    assert changed == {"data/collected.csv", "data/collected.dvc"}
    # Another attempt of the task.
    assert prepare(clone, None, (), 1, log) == commit
    assert project.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_a_log_that_cannot_be_read_is_named(project: Project, tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_text("no database")
    with pytest.raises(RunError, match=r"visiongate retrain-check failed: .*not a database"):
        is_due(project, {ADDRESS: f"sqlite:///{tmp_path}/log.sqlite"})
