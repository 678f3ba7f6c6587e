"""The clone that a run works in: the project's commit, the run's settings as a commit, and the DVC cache of the project.

Runs do not see each other's work trees, and nothing of the project changes but its cache, its MLflow store and a branch of a
promoted model. The clone of a failed run stays, to be read.
"""

import configparser
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import yaml

from visiongate_dags.errors import RunError
from visiongate_dags.processes import Ended, explain, find_reason, run
from visiongate_dags.project import Project

SQLITE = "sqlite:///"
RECIPE = "airflow"
COMPOSE = Path(__file__).with_name("compose_settings.py")
IDENTITY = ("-c", "user.name=Airflow", "-c", "user.email=airflow@localhost")
# What `visiongate repro` writes too, and `visiongate report` reads.
LOG = Path("logs/repro.log")
STATUS = Path("logs/repro.json")
# Exists in the clone of a run that succeeded.
SUCCEEDED = Path("logs/airflow.succeeded")
# Commits of settings, so that a registered version can be traced after its clone is gone. Git would prefer refs/airflow/NAME to
# the branch airflow/NAME.
REFERENCES = "refs/airflow-settings"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clone:
    """A clone of the project.

    Attributes:
        project: The project.
        folder: The root of the clone.
    """

    project: Project
    folder: Path

    @property
    def name(self) -> str:
        """The name of the run's folder, which is also that of its branch."""
        return self.folder.name

    def check(self) -> None:
        """Check that the clone exists.

        Raises:
            RunError: It was removed.
        """
        if not (self.folder / "dvc.yaml").is_file():
            raise RunError(
                f"{self.folder}: the clone of this run is gone; clear the task check_environment too, or start a new run"
            )

    def git(self, *arguments: str) -> str:
        """Call git in the clone and return its output.

        Raises:
            RunError: Git failed.
        """
        return Project(self.folder, self.project.python).git(*arguments)

    def visiongate(self, *arguments: str) -> Ended:
        """Call ``visiongate``, with the code of the clone; its output goes to the log of the task."""
        command = [str(self.project.python), "-m", "visiongate", *arguments]
        return run(command, self.folder, self.environment(PYTHONPATH="src"))

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the variables for the programs: a relative SQLite store of MLflow is that of the project."""
        own = self.project.environment(**variables)
        address = own.get("MLFLOW_TRACKING_URI") or _tracking_address(self.folder)
        if address.startswith(SQLITE):
            address = f"{SQLITE}{self.project.folder / address.removeprefix(SQLITE)}"
        return {**own, "MLFLOW_TRACKING_URI": address} if address else own


def run_name(run_id: str) -> str:
    """Return a run's id as the name of a folder and of a branch."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", run_id).strip("-")
    return name if name == run_id else f"{name}-{hashlib.sha256(run_id.encode()).hexdigest()[:6]}"


def make_clone(clone: Clone, data: str | None, overrides: Sequence[str]) -> str:
    """Make the clone, unless an earlier attempt has made it, and commit the settings; return the commit that it runs.

    Args:
        clone: The clone to make.
        data: A folder, archive, address or data set of ``conf/dataset``; None for the project's own.
        overrides: Overrides of settings.

    Raises:
        RunError: Git failed, or a setting is invalid.
        TemporaryError: A process was killed.
    """
    if not clone.folder.exists():
        draft = Clone(clone.project, clone.folder.with_name(f".{clone.name}.new"))
        shutil.rmtree(draft.folder, ignore_errors=True)
        try:
            _fill(draft, data, overrides)
            draft.folder.rename(clone.folder)
        finally:
            shutil.rmtree(draft.folder, ignore_errors=True)
    return clone.git("rev-parse", "HEAD")


def run_stages(clone: Clone, stages: Sequence[str], forced: Collection[str] = ()) -> None:
    """Run stages one after the other, each alone, and keep the log for the report.

    A stage whose inputs have not changed is restored from the cache or from the remote.

    Args:
        clone: The clone.
        stages: The stages, each after those that it depends on.
        forced: Stages to run although DVC sees no change.

    Raises:
        RunError: A stage failed.
        TemporaryError: It was killed, or lost its network.
    """
    clone.check()
    # DVC takes seconds to start, so stages that follow each other share one call.
    for again, group in groupby(stages, key=lambda stage: stage in forced):
        names = list(group)
        force = ("--force",) if again else ()
        command = [str(clone.project.python), "-m", "dvc", "repro", "--pull", *force, "--single-item", *names]
        ended = run(command, clone.folder, clone.environment())
        _keep(clone.folder, ended)
        if ended.status:
            raise explain(ended, f"stage {_failed_stage(ended) or ', '.join(names)}")


def apply_gate(clone: Clone) -> None:
    """Print the gate's verdict.

    Raises:
        RunError: The gate failed, or cannot be judged.
        TemporaryError: The process was killed.
    """
    clone.check()
    ended = clone.visiongate("gate")
    if ended.status == 1:
        raise RunError(
            find_reason([line for line in ended.lines if line.startswith("The gate failed")] or ended.lines)
        )
    if ended.status:
        raise explain(ended, "the gate")


def write_report(clone: Clone, base: str) -> Path:
    """Write the report of the run, compared with a commit, and return its path.

    Raises:
        RunError: The report cannot be written.
        TemporaryError: The process was killed.
    """
    clone.check()
    ended = clone.visiongate("report", f"--base={base}")
    if ended.status:
        raise explain(ended, "the report")
    return clone.folder / "reports/report.md"


def keep_settings(clone: Clone) -> None:
    """Keep the commit of the settings in the project, because a registered version names it.

    Raises:
        RunError: Git failed.
    """
    clone.git("push", "--quiet", "--force", str(clone.project.folder), f"HEAD:{REFERENCES}/{clone.name}")


def commit_results(clone: Clone) -> str:
    """Commit the results as branch ``airflow/RUN`` of the project and return its name.

    Raises:
        RunError: Git failed.
    """
    branch = f"airflow/{clone.name}"
    clone.git("add", "--update")
    if clone.git("status", "--porcelain", "--untracked-files=no"):
        clone.git(
            *IDENTITY,
            "commit",
            "--quiet",
            "--no-verify",
            "--message",
            f"Take the model of Airflow's run {clone.name}",
        )
    clone.git("push", "--quiet", "--force", str(clone.project.folder), f"HEAD:refs/heads/{branch}")
    return branch


def record_success(clone: Clone) -> None:
    """Write that every stage of the run succeeded."""
    (clone.folder / SUCCEEDED).touch()


def time_of(folder: Path) -> float:
    """Return when a clone was made: a run writes this file once."""
    settings = folder / ".dvc/config.local"
    return settings.stat().st_mtime if settings.exists() else 0.0


def remove_old_clones(folder: Path, keep: int, made: Callable[[Path], float] = time_of) -> list[str]:
    """Remove the clones of the oldest runs of a DAG and return their names.

    The clone of the latest run that did not succeed is kept, to be read.

    Args:
        folder: Of the DAG's clones.
        keep: Number of the latest clones to keep, at least 1.
        made: Returns the time of a clone.

    Raises:
        RunError: The number is too small.
    """
    if keep < 1:
        raise RunError(f"keep_runs = {keep} is invalid: must be at least 1")
    runs = sorted(
        (path for path in folder.iterdir() if not path.name.startswith(".")), key=made, reverse=True
    )
    failed = next((path for path in runs[1:] if not (path / SUCCEEDED).exists()), None)
    removed = [path for path in runs[keep:] if path != failed]
    for path in removed:
        shutil.rmtree(path)
    return [path.name for path in removed]


def _fill(draft: Clone, data: str | None, overrides: Sequence[str]) -> None:
    project = draft.project
    draft.folder.parent.mkdir(parents=True, exist_ok=True)
    project.git("clone", "--quiet", "--shared", "--no-checkout", "--", str(project.folder), str(draft.folder))
    draft.git("checkout", "--quiet", "--detach", project.commit())
    _share_cache(draft)
    _fetch_tracked_data(draft)
    if data is not None:
        _require(draft.visiongate("use", "--yes", "--", data), "data")
    if overrides:
        command = [str(project.python), str(COMPOSE), RECIPE, *overrides]
        _require(run(command, draft.folder, draft.environment(PYTHONPATH="src")), "overrides")
    if data is not None or overrides:
        draft.git("add", "--all")
        message = "\n".join(
            [f"Settings of Airflow's run {draft.name.strip('.').removesuffix('.new')}", "", *overrides]
        )
        draft.git(*IDENTITY, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", message)


def _share_cache(draft: Clone) -> None:
    """Write DVC's settings of this machine, with the project's cache."""
    local = draft.project.folder / ".dvc/config.local"
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(local, encoding="utf-8")
    if not settings.has_section("cache"):
        settings.add_section("cache")
    settings["cache"]["dir"] = str(draft.project.cache())
    with (draft.folder / ".dvc/config.local").open("w", encoding="utf-8") as file:
        settings.write(file)


def _fetch_tracked_data(draft: Clone) -> None:
    """Pull the images that DVC tracks outside of the pipeline."""
    files = draft.git("ls-files", "*.dvc").splitlines()
    if files:
        command = [str(draft.project.python), "-m", "dvc", "pull", "--", *files]
        _require(run(command, draft.folder, draft.environment()), "dvc pull")


def _require(ended: Ended, what: str) -> None:
    if ended.status:
        raise explain(ended, what)


def _failed_stage(ended: Ended) -> str | None:
    named = re.search(r"failed to reproduce '(\w+)'", "\n".join(ended.lines))
    return named.group(1) if named else None


def _keep(folder: Path, ended: Ended) -> None:
    """Keep the output and the status of a stage, as `visiongate repro` does."""
    (folder / LOG).parent.mkdir(exist_ok=True)
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.writelines(f"{line}\n" for line in ended.lines)
    _write_json(folder / STATUS, {"status": ended.status})


def _tracking_address(folder: Path) -> str:
    """Return the address of MLflow in the clone's settings; an empty text if there is none."""
    params = folder / "params.yaml"
    settings = yaml.safe_load(params.read_text(encoding="utf-8")) if params.exists() else {}
    return str((settings.get("tracking") or {}).get("uri") or "")


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
