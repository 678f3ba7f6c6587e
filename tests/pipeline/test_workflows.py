"""The workflows: what they may, what they are pinned to, and that each step is a target that a person can call as well."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github/workflows"
WORKFLOWS = {path.name: path for path in sorted(FOLDER.glob("*.yml"))}
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
FETCHING = {"changed", "push", "register", "report", "retrain", "try"}  # targets that ask the DVC remote
ALLOWED = {  # job by job, what its token may write; reading the code is all that the others may
    ("pipeline.yml", "pull-request"): {"checks", "id-token", "pull-requests"},
    ("pipeline.yml", "main"): {"id-token"},
    ("comment.yml", "comment"): {"checks", "pull-requests"},
    ("experiment.yml", "experiment"): {"id-token"},
    ("retrain.yml", "retrain"): {"contents", "id-token", "pull-requests"},
}


def read(name: str) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    return content


JOBS = [(name, job) for name in WORKFLOWS for job in read(name)["jobs"]]
STEPS = [(name, step) for name, job in JOBS for step in read(name)["jobs"][job]["steps"]]
COMMANDS = [(name, step["run"]) for name, step in STEPS if "run" in step]


def triggers(name: str) -> dict[str, Any]:
    found = read(name)[True]  # YAML reads `on` as true
    return found if isinstance(found, dict) else dict.fromkeys(found)


def test_the_workflows_are_there() -> None:
    assert set(WORKFLOWS) == {"check.yml", "comment.yml", "experiment.yml", "pipeline.yml", "retrain.yml"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit_with_their_version_beside(name: str) -> None:
    used = [
        line.strip().removeprefix("- ")
        for line in WORKFLOWS[name].read_text().splitlines()
        if "uses:" in line
    ]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_token_may_write_what_its_job_needs_and_no_more(name: str, job: str) -> None:
    assert read(name)["permissions"] == {}
    granted = read(name)["jobs"][job]["permissions"]
    assert {key for key, value in granted.items() if value == "write"} == ALLOWED.get((name, job), set())


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_superseded_run_is_cancelled(name: str) -> None:
    concurrency = read(name)["concurrency"]
    assert concurrency["group"]
    assert concurrency["cancel-in-progress"]


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_ends(name: str, job: str) -> None:
    assert read(name)["jobs"][job]["timeout-minutes"] <= 350


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_a_step_is_a_make_target(name: str, command: str) -> None:
    words = command.split()
    assert words[0] == "make", (
        f"{name}: {command}: what a step does belongs to a target, so that a person can do it too"
    )
    targets = [word for word in words[1:] if "=" not in word]
    makefile = (ROOT / "Makefile").read_text()
    assert targets
    assert all(re.search(rf"^{target}:.*## ", makefile, flags=re.MULTILINE) for target in targets)


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_no_text_of_an_event_becomes_a_command(name: str, command: str) -> None:
    assert "${{" not in command, name


def test_no_workflow_gives_secrets_to_the_code_of_a_fork() -> None:
    assert not [name for name in WORKFLOWS if "pull_request_target" in triggers(name)]
    comment = WORKFLOWS["comment.yml"].read_text()
    assert "secrets." not in comment
    refs = [step.get("with", {}).get("ref") for _, step in STEPS if "checkout" in step.get("uses", "")]
    assert "${{ github.event.workflow_run.head_sha }}" not in refs
    assert "cache:" not in comment  # what a fork's run stored


@pytest.mark.parametrize(("name", "step"), [pair for pair in STEPS if "checkout" in pair[1].get("uses", "")])
def test_the_token_is_not_left_in_the_clone(name: str, step: dict[str, Any]) -> None:
    assert step["with"]["persist-credentials"] is False, name


def test_secrets_reach_only_the_steps_that_need_them() -> None:
    for name in WORKFLOWS:
        outside = {**read(name), "jobs": None}
        assert "secrets." not in str(outside)
        for job in read(name)["jobs"].values():
            assert "secrets." not in str({**job, "steps": None})


@pytest.mark.parametrize(
    ("name", "step"), [pair for pair in STEPS if FETCHING & set(pair[1].get("run", "").split())]
)
def test_what_fetches_from_the_remote_has_its_credentials(name: str, step: dict[str, Any]) -> None:
    known = {key for key in step["env"] if key.startswith("AWS_")}
    assert known == (set() if name == "comment.yml" else {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})


def test_the_pipeline_runs_on_pull_requests_and_main() -> None:
    assert triggers("pipeline.yml") == {
        "pull_request": {"branches": ["main"]},
        "push": {"branches": ["main"]},
    }
    assert triggers("comment.yml")["workflow_run"]["workflows"] == [read("pipeline.yml")["name"]]


def test_the_pythons_are_those_of_the_project() -> None:
    pythons = read("check.yml")["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13"]
    assert 'requires-python = ">=3.11,<3.14"' in (ROOT / "pyproject.toml").read_text()


def test_the_gate_is_asked_after_the_comment() -> None:
    for name, job in (("pipeline.yml", "pull-request"), ("comment.yml", "comment")):
        names = [step.get("name") for step in read(name)["jobs"][job]["steps"]]
        assert names[-1] == "Gate"
        assert names.index("Report") < names.index("Comment") < names.index("Gate")


# The checkers themselves: that a hole would be found


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    binaries = Path(sys.executable).parent
    command = [
        str(binaries / "zizmor"),
        "--quiet",
        "--offline",
        "--no-progress",
        "--color=never",
        str(folder),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("sound", "hole", "told"),
    [
        ("run: make gate\n", "run: echo ${{ github.event.pull_request.title }}\n", "template-injection"),
        ("@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7", "unpinned-uses"),
        ("  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
    ],
)
def test_a_hole_is_found(sound: str, hole: str, told: str, tmp_path: Path) -> None:
    text = WORKFLOWS["pipeline.yml"].read_text()
    assert sound in text
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "pipeline.yml").write_text(text.replace(sound, hole))
    done = lint(folder)
    assert done.returncode != 0
    assert told in done.stdout


def test_the_workflows_have_none() -> None:
    done = lint(FOLDER)
    assert done.returncode == 0, done.stdout
