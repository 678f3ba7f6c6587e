"""The workflows: permissions, pins, secrets, and commands that exist."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from visiongate.cli import main

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github/workflows"
WORKFLOWS = {path.name: path for path in sorted(FOLDER.glob("*.yml"))}
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
COMMAND = re.compile(r"\.venv/bin/python -m visiongate ([a-z-]+)(?: ([a-z]+))?([^&|\n]*)")
USES_REMOTE = ("repro", "report", "retrain", "try", "remote", "register")
# What the token of each job may write. The other jobs may only read the code.
WRITES = {
    ("pipeline.yml", "pull-request"): {"checks", "id-token", "pull-requests"},
    ("pipeline.yml", "main"): {"id-token"},
    ("comment.yml", "comment"): {"checks", "pull-requests"},
    ("experiment.yml", "experiment"): {"id-token"},
    ("images.yml", "model"): {"id-token"},
    ("images.yml", "publish"): {"attestations", "id-token", "packages"},
    ("images.yml", "propose"): {"contents", "pull-requests"},
    ("model-validation.yml", "champion"): {"id-token", "issues"},
    ("retrain.yml", "retrain"): {"contents", "id-token", "pull-requests"},
    ("security.yml", "code"): {"security-events"},
    ("security.yml", "deployment"): {"security-events"},
}


def read(name: str) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    return content


JOBS = [(name, job) for name in WORKFLOWS for job in read(name)["jobs"]]
STEPS = [(name, step) for name, job in JOBS for step in read(name)["jobs"][job]["steps"]]
COMMANDS = [(name, step["run"]) for name, step in STEPS if "run" in step]


def triggers(name: str) -> dict[str, Any]:
    # YAML reads `on` as true.
    found = read(name)[True]
    return found if isinstance(found, dict) else dict.fromkeys(found)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit_with_their_version(name: str) -> None:
    lines = [line.strip().removeprefix("- ") for line in WORKFLOWS[name].read_text().splitlines()]
    used = [line for line in lines if line.startswith("uses:")]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_has_the_permissions_that_it_needs_and_a_time_limit(name: str, job: str) -> None:
    assert read(name)["permissions"] == {}
    body = read(name)["jobs"][job]
    granted = {key for key, value in body["permissions"].items() if value == "write"}
    assert granted == WRITES.get((name, job), set())
    assert body["timeout-minutes"] <= 350


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_superseded_run_is_cancelled(name: str) -> None:
    concurrency = read(name)["concurrency"]
    assert concurrency["group"]
    assert concurrency["cancel-in-progress"]


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_a_command_exists_with_its_options_and_contains_no_text_of_an_event(name: str, command: str) -> None:
    assert "${{" not in command, name
    for first, second, rest in COMMAND.findall(command):
        found: click.Command = main.commands[first]
        if isinstance(found, click.Group):
            found = found.commands[second]
        known = {option for param in found.params for option in param.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known


def test_no_workflow_gives_secrets_to_the_code_of_a_fork() -> None:
    assert not [name for name in WORKFLOWS if "pull_request_target" in triggers(name)]
    comment = WORKFLOWS["comment.yml"].read_text()
    assert "secrets." not in comment
    # A cache may contain what a run of a fork stored.
    assert "cache:" not in comment
    checkouts = [step["with"] for _, step in STEPS if "checkout" in step.get("uses", "")]
    assert "${{ github.event.workflow_run.head_sha }}" not in [each.get("ref") for each in checkouts]
    assert all(each["persist-credentials"] is False for each in checkouts)


def test_secrets_reach_only_the_steps_that_need_them() -> None:
    for name in WORKFLOWS:
        assert "secrets." not in str({**read(name), "jobs": None})
        for job in read(name)["jobs"].values():
            assert "secrets." not in str({**job, "steps": None})


REMOTE_STEPS = [(name, step) for name, step in STEPS if set(USES_REMOTE) & set(step.get("run", "").split())]


@pytest.mark.parametrize(("name", "step"), REMOTE_STEPS)
def test_a_step_that_uses_the_remote_has_its_credentials(name: str, step: dict[str, Any]) -> None:
    known = {key for key in step["env"] if key.startswith("AWS_")}
    assert known == (set() if name == "comment.yml" else {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})


def test_the_pipeline_runs_on_pull_requests_and_on_main() -> None:
    expected = {"pull_request": {"branches": ["main"]}, "push": {"branches": ["main"]}}
    assert triggers("pipeline.yml") == expected
    assert triggers("comment.yml")["workflow_run"]["workflows"] == [read("pipeline.yml")["name"]]


def test_the_gate_comes_after_the_comment() -> None:
    for name, job in (("pipeline.yml", "pull-request"), ("comment.yml", "comment")):
        names = [step.get("name") for step in read(name)["jobs"][job]["steps"]]
        assert names[-1] == "Gate"
        assert names.index("Report") < names.index("Comment") < names.index("Gate")


def test_a_retrain_asks_first_and_collects_before_it_trains() -> None:
    assert triggers("retrain.yml")["repository_dispatch"] == {"types": ["retrain"]}
    jobs = read("retrain.yml")["jobs"]
    assert jobs["retrain"]["needs"] == "check"
    assert jobs["retrain"]["if"] == "needs.check.outputs.due == 'true'"
    commands = " ".join(step.get("run", "") for step in jobs["retrain"]["steps"])
    order = [commands.index(f"visiongate {name}") for name in ("collect", "retrain", "report", "pr propose")]
    assert order == sorted(order)


ASK = next(step["run"] for step in read("retrain.yml")["jobs"]["check"]["steps"] if step.get("id") == "check")


@pytest.mark.parametrize(
    ("check", "variables", "expected"),
    [
        ("touch $RESULT; exit 0", {}, (0, "")),
        ("touch $RESULT; exit 1", {}, (0, "due=true\n")),
        ("touch $RESULT; exit 1", {"GITHUB_EVENT_NAME": "repository_dispatch"}, (0, "due=true\n")),
        # The log cannot say, or cannot be read.
        ("touch $RESULT; exit 2", {}, (0, "")),
        ("exit 2", {}, (1, "")),
        # Without a log, and by hand.
        ("exit 2", {"LOG": ""}, (0, "due=true\n")),
        ("touch $RESULT; exit 0", {"GITHUB_EVENT_NAME": "workflow_dispatch"}, (0, "due=true\n")),
    ],
)
def test_a_model_is_due_if_the_check_says_so(
    check: str, variables: dict[str, str], expected: tuple[int, str], tmp_path: Path
) -> None:
    python, output = tmp_path / ".venv/bin/python", tmp_path / "output"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{check}\n")
    python.chmod(0o755)
    known = {"LOG": "sqlite:///log", "GITHUB_EVENT_NAME": "schedule", "GITHUB_OUTPUT": str(output)}
    environment = {**os.environ, **known, "RESULT": str(tmp_path / "result.json"), **variables}
    done = subprocess.run(["bash", "-e", "-c", ASK], cwd=tmp_path, env=environment, check=False)

    assert (done.returncode, output.read_text() if output.exists() else "") == expected


def audit(folder: Path) -> subprocess.CompletedProcess[str]:
    zizmor = Path(sys.executable).parent / "zizmor"
    command = [str(zizmor), "--quiet", "--offline", "--no-progress", "--color=never", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("sound", "hole", "finding"),
    [
        ("run: make setup\n", "run: echo ${{ github.event.pull_request.title }}\n", "template-injection"),
        ("@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7", "unpinned-uses"),
        ("  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
    ],
)
def test_zizmor_detects_a_vulnerability(sound: str, hole: str, finding: str, tmp_path: Path) -> None:
    text = WORKFLOWS["pipeline.yml"].read_text()
    assert sound in text
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "pipeline.yml").write_text(text.replace(sound, hole))
    done = audit(folder)
    assert done.returncode != 0
    assert finding in done.stdout


def test_zizmor_finds_nothing_in_the_workflows_and_dependabot() -> None:
    done = audit(ROOT / ".github")
    assert done.returncode == 0, done.stdout
