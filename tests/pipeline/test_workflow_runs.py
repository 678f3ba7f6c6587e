"""The workflows' own steps, run from the YAML in clones: what is commented, what fails, and what is kept."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clones import call, clone_tree
from cml_clients import best_client
from github_imitation import BOT, READER, SLUG, WRITER, GitHub, serve_github
from workflow_runner import Runner, Step, machine

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github/workflows"
GATE = Path("conf/gate/default.yaml")
HOSTILE = "$(touch pwned)`touch pwned`;touch pwned"
FORK = "mallory/flowers"


@dataclass
class Team:
    """A repository on GitHub, and clones of it for runners."""

    folder: Path
    github: GitHub
    client: Path

    def branch(self, name: str, gate: tuple[str, str] | None = None) -> Path:
        """Clone main; the gate's text may be changed in a commit of its own."""
        clone = self.folder / name
        call(self.folder, "git", "clone", "-q", str(self.folder / "main"), str(clone))
        self.prepare(clone)
        if gate is not None:
            self.change_gate(clone, *gate)
        return clone

    def change_gate(self, clone: Path, old: str, new: str) -> None:
        text = (clone / GATE).read_text()
        assert old in text
        (clone / GATE).write_text(text.replace(old, new))
        call(clone, "make", "params")
        call(clone, "git", "commit", "-qam", "Ask for something else")

    def prepare(self, clone: Path) -> None:
        """Give a clone its environment, which is older than nothing that make looks at."""
        call(clone, "git", "config", "user.name", "test")
        call(clone, "git", "config", "user.email", "test@example.org")
        (clone / ".git/info/exclude").write_text(".venv\n")
        (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
        os.utime(clone / "requirements.lock", (0, 0))

    def runner(self, clone: Path, event_name: str, event: dict[str, Any], token: str = WRITER) -> Runner:
        """A runner as GitHub starts it for an event."""
        temporary = self.folder / f"{clone.name}-{event_name}"
        temporary.mkdir(exist_ok=True)
        path = os.pathsep.join([str(self.client), "/usr/local/bin", "/usr/bin", "/bin"])
        repository = {"default_branch": "main"}
        github = {
            "event": {"repository": repository, **event},
            "event_name": event_name,
            "repository": SLUG,
            "ref": "refs/heads/main",
            "sha": head(clone),
            "token": token,
        }
        environment = {**machine(path, self.folder / "home"), **self.github.environment(token)}
        del environment["GITHUB_TOKEN"]  # a step has it only where the workflow gives it
        contexts = {"github": github, "vars": {}, "secrets": {}, "inputs": {}}
        return Runner(clone, contexts, environment, self.folder / f"{clone.name}-artifacts", temporary)


def head(clone: Path) -> str:
    return call(clone, "git", "rev-parse", "HEAD").stdout.strip()


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    client = best_client(folder / "bin")
    (folder / "main").mkdir()
    (folder / "home").mkdir()
    main = clone_tree(folder / "main")
    call(main, "git", "branch", "-M", "main")
    with serve_github(folder) as github:
        made = Team(folder, github, client)
        made.prepare(main)
        yield made


def pull_request(
    team: Team, clone: Path, number: int, repository: str = SLUG, branch: str = "b"
) -> dict[str, Any]:
    """The event of a pull request, which is opened with it."""
    owner = repository.partition("/")[0]
    team.github.pulls[:] = [pull for pull in team.github.pulls if pull["number"] != number]
    team.github.open_pull(number, head(clone), f"{owner}:{branch}")
    end = {"sha": head(clone), "ref": branch, "repo": {"full_name": repository}}
    base = {"sha": head(team.folder / "main"), "ref": "main"}
    content = {"number": number, "head": end, "base": base, "user": {"login": owner}, "title": HOSTILE}
    return {"pull_request": content}


def outcomes(steps: list[Step]) -> dict[str, str]:
    return {step.name: step.outcome for step in steps}


def said(steps: list[Step]) -> str:
    return "\n".join(f"--- {step.name}: {step.outcome}\n{step.output}" for step in steps)


def written(github: GitHub, number: int) -> list[str]:
    return [each["body"] for each in github.comments.get(number, []) if each["user"]["login"] == BOT]


def test_a_pull_request_that_breaks_the_gate_and_then_mends_it(team: Team) -> None:
    clone = team.branch("stricter", ("threshold: 0.5", "threshold: 0.9"))
    runner = team.runner(clone, "pull_request", pull_request(team, clone, 5))
    steps = runner.run(WORKFLOWS / "pipeline.yml", "pull-request")
    found = outcomes(steps)
    assert (found["Run what the pull request changes"], found["Report"], found["Comment"]) == (
        "success",
    ) * 3, said(steps)
    assert found["Gate"] == "failure"
    (body,) = written(team.github, 5)
    assert body.startswith("❌ **Gate failed**")
    assert "worst_class" in body.splitlines()[0]
    assert runner.summary.startswith(body.partition("\n")[0])
    assert (runner.artifacts / "run/reports/metrics.json").exists()
    # It is mended by a second commit: the same comment says so.
    call(clone, "git", "checkout", "-q", ".")
    team.change_gate(clone, "threshold: 0.9", "threshold: 0.5")
    again = team.runner(clone, "pull_request", pull_request(team, clone, 5))
    steps = again.run(WORKFLOWS / "pipeline.yml", "pull-request")
    assert outcomes(steps)["Gate"] == "success", said(steps)
    (body,) = written(team.github, 5)
    assert body.startswith("✅ **Gate passed**")


def test_a_stage_that_breaks_is_told(team: Team) -> None:
    clone = team.branch("broken")
    evaluate = clone / "src/visiongate/evaluation/stage.py"
    evaluate.write_text(f'{evaluate.read_text()}\nraise RuntimeError("@everyone <b>broken</b>")\n')
    call(clone, "git", "commit", "-qam", "Break a stage")
    runner = team.runner(clone, "pull_request", pull_request(team, clone, 6))
    steps = runner.run(WORKFLOWS / "pipeline.yml", "pull-request")
    found = outcomes(steps)
    assert found["Run what the pull request changes"] == "failure"
    assert (found["Report"], found["Comment"], found["Gate"]) == ("success", "success", "skipped"), said(
        steps
    )
    (body,) = written(team.github, 6)
    assert body.startswith("❌ **The line did not run through**: stage `evaluate`")
    assert "RuntimeError" in body


def test_a_fork_is_reported_by_code_of_main(team: Team) -> None:
    """Its run may not write; what it leaves is hostile in every file; main's code judges it."""
    clone = team.branch("fork")
    event = pull_request(team, clone, 9, FORK, HOSTILE)
    runner = team.runner(clone, "pull_request", event, READER)
    steps = runner.run(WORKFLOWS / "pipeline.yml", "pull-request")
    found = outcomes(steps)
    assert (found["Report"], found["Comment"], found["Gate"]) == ("success", "skipped", "skipped"), said(
        steps
    )
    assert not written(team.github, 9)
    poison(runner.artifacts / "run")

    trusted = team.branch("trusted")
    run = {
        "id": 1,
        "event": "pull_request",
        "conclusion": "success",
        "head_sha": head(clone),
        "head_branch": HOSTILE,
        "head_repository": {"full_name": FORK, "owner": {"login": "mallory"}},
        "actor": {"login": "mallory"},
    }
    second = team.runner(trusted, "workflow_run", {"workflow_run": run})
    second.artifacts = runner.artifacts
    steps = second.run(WORKFLOWS / "comment.yml", "comment")
    found = outcomes(steps)
    assert (found["Report"], found["Comment"], found["Gate"]) == ("success", "success", "failure"), said(
        steps
    )
    (body,) = written(team.github, 9)
    assert body.startswith("❌ **Gate failed**")
    for text in ("<script", "@everyone", "](http", "<img"):
        assert text not in outside_code(body.partition("![](https://cml.dev/watermark.png")[0]), body
    assert "PWNED" not in body  # the report that the fork wrote itself
    assert team.github.checks[-1]["conclusion"] == "failure"
    assert not list(team.folder.rglob("pwned"))


def outside_code(text: str) -> str:
    """Return what is no code span or block, where Markdown means nothing."""
    blocks = text.split("```")
    return "".join("".join(block.split("`")[::2]) for block in blocks[::2])


def poison(folder: Path) -> None:
    """Write into a run's files what a hostile fork would."""
    hostile = "<script>alert(1)</script> @everyone [x](http://example.org) <img src=x>\n# PASSED | ` ``` $(touch pwned)"
    (folder / "reports/report.md").write_text("✅ PWNED")
    gate = json.loads((folder / "reports/gate.json").read_text())
    for rule in gate["rules"]:
        rule["note"] = hostile
        if rule["name"] == "calibration":
            rule["value"] = 0.9  # and says that this passes
    gate["rules"].append({**gate["rules"][0], "name": hostile})
    (folder / "reports/gate.json").write_text(json.dumps(gate))
    metrics = json.loads((folder / "reports/metrics.json").read_text())
    metrics |= {"ece": 0.9, hostile: hostile, "accuracy": "NaN", "f1_macro": 10**400}
    (folder / "reports/metrics.json").write_text(json.dumps(metrics))
    per_class = folder / "reports/evaluation/per_class.csv"
    per_class.write_text(per_class.read_text().replace("\n3,", '\n"@everyone <script> ](http://x)",'))
    params = folder / "params.yaml"
    params.write_text(f"{params.read_text()}\nhostile: {json.dumps(hostile)}\n")


def test_a_superseded_fork_is_left_alone(team: Team) -> None:
    trusted = team.branch("later")
    run = {"event": "pull_request", "conclusion": "cancelled", "head_repository": {"full_name": FORK}}
    assert (
        team.runner(trusted, "workflow_run", {"workflow_run": run}).run(WORKFLOWS / "comment.yml", "comment")
        == []
    )


def test_main_is_run_shared_registered_and_kept(team: Team) -> None:
    clone = team.branch("merged")
    call(clone, "git", "commit", "-q", "--allow-empty", "-m", "A merge")
    runner = team.runner(clone, "push", {"before": head(team.folder / "main")})
    steps = runner.run(WORKFLOWS / "pipeline.yml", "main")
    assert set(outcomes(steps).values()) <= {"success", "skipped"}, said(steps)
    kept = runner.artifacts / "model"
    expected = (
        "models/model.onnx",
        "reports/model_card.md",
        "reports/metrics.json",
        "reports/validation/result.json",
    )
    assert [name for name in expected if not (kept / name).exists()] == []
    assert "champion" in json.loads((kept / "reports/registration.json").read_text())["aliases"]


def test_an_experiment_by_hand_is_reported_in_the_summary(team: Team) -> None:
    clone = team.branch("tried")
    runner = team.runner(clone, "workflow_dispatch", {})
    runner.contexts["inputs"] = {
        "overrides": "gate.rules.worst_class.threshold=0.4 evaluation.bootstrap_samples=200"
    }
    steps = runner.run(WORKFLOWS / "experiment.yml", "experiment")
    assert set(outcomes(steps).values()) <= {"success", "skipped"}, said(steps)
    assert "bootstrap_samples" in runner.summary
    assert (runner.artifacts / "experiment/models/model.onnx").exists()


def test_hostile_overrides_are_values_and_no_commands(team: Team) -> None:
    clone = team.branch("hostile")
    runner = team.runner(clone, "workflow_dispatch", {})
    runner.contexts["inputs"] = {"overrides": f"{HOSTILE} --queue ${{IFS}}"}
    steps = runner.run(WORKFLOWS / "experiment.yml", "experiment")
    assert outcomes(steps)["Run the experiment"] == "failure"
    assert not list(team.folder.rglob("pwned"))


def test_a_weekly_run_on_the_same_data_proposes_nothing(team: Team) -> None:
    clone = team.branch("weekly")
    before = len(team.github.pulls)
    steps = team.runner(clone, "schedule", {}).run(WORKFLOWS / "retrain.yml", "retrain")
    assert set(outcomes(steps).values()) <= {"success", "skipped"}, said(steps)
    assert "nothing to propose" in steps[-1].output
    assert len(team.github.pulls) == before
