"""The workflow `comment`, run from its YAML in a clone: main's code reports and judges the run of a fork."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clones import call, clone_tree
from cml_clients import best_client
from github_imitation import BOT, SLUG, WRITER, GitHub, serve_github
from workflow_runner import Runner, Step, machine

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github/workflows"
HOSTILE = "$(touch pwned)`touch pwned`;touch pwned"
FORK = "mallory/flowers"
pytestmark = pytest.mark.slow


@dataclass
class Team:
    """A repository on GitHub, and clones of it for runners."""

    folder: Path
    github: GitHub
    client: Path

    def branch(self, name: str) -> Path:
        """Return a clone of main."""
        clone = self.folder / name
        call(self.folder, "git", "clone", "-q", str(self.folder / "main"), str(clone))
        self.prepare(clone)
        return clone

    def prepare(self, clone: Path) -> None:
        """Link the environment, and make it newer than the files that `make setup` compares it with."""
        call(clone, "git", "config", "user.name", "test")
        call(clone, "git", "config", "user.email", "test@example.org")
        (clone / ".git/info/exclude").write_text(".venv\n")
        (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
        for name in ("requirements.lock", "pyproject.toml"):
            os.utime(clone / name, (0, 0))

    def runner(self, clone: Path, event: dict[str, Any]) -> Runner:
        """Return a runner as GitHub starts it for an event of another run."""
        temporary = self.folder / f"{clone.name}-temporary"
        temporary.mkdir(exist_ok=True)
        path = os.pathsep.join(
            [str(self.folder / "tools"), str(self.client), "/usr/local/bin", "/usr/bin", "/bin"]
        )
        github = {
            "event": {"repository": {"default_branch": "main"}, **event},
            "event_name": "workflow_run",
            "repository": SLUG,
            "ref": "refs/heads/main",
            "sha": head(clone),
            "token": WRITER,
        }
        environment = {**machine(path, self.folder / "home"), **self.github.environment(WRITER)}
        # A step has the token only if the workflow passes it. The code is the clone's, not that of the shared environment.
        environment |= {"GITHUB_TOKEN": "", "PYTHONPATH": str(clone / "src")}
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
    # CML's client is on the path already.
    (folder / "tools").mkdir()
    (folder / "tools/npm").write_text("#!/bin/sh\n")
    (folder / "tools/npm").chmod(0o755)
    main = clone_tree(folder / "main")
    call(main, "git", "branch", "-M", "main")
    with serve_github(folder) as github:
        made = Team(folder, github, client)
        made.prepare(main)
        yield made


def outcomes(steps: list[Step]) -> dict[str, str]:
    return {step.name: step.outcome for step in steps}


def logs(steps: list[Step]) -> str:
    return "\n".join(f"--- {step.name}: {step.outcome}\n{step.output}" for step in steps)


def written(github: GitHub, number: int) -> list[str]:
    return [each["body"] for each in github.comments.get(number, []) if each["user"]["login"] == BOT]


def test_a_fork_is_reported_by_code_of_main(team: Team) -> None:
    clone = team.branch("fork")
    team.github.open_pull(9, head(clone), f"mallory:{HOSTILE}")
    files = keep_run(clone, team.folder / "artifacts/run")
    poison(files)

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
    second = team.runner(trusted, {"workflow_run": run})
    second.artifacts = files.parent
    steps = second.run(WORKFLOWS / "comment.yml", "comment")
    found = outcomes(steps)
    assert (found["Report"], found["Comment"], found["Gate"]) == ("success", "success", "failure"), logs(
        steps
    )
    (body,) = written(team.github, 9)
    assert body.startswith("❌ ")
    for text in ("<script", "@everyone", "](http", "<img"):
        assert text not in outside_code(body.partition("![](https://cml.dev/watermark.png")[0]), body
    # The report that the fork wrote is not posted.
    assert "PWNED" not in body
    assert team.github.checks[-1]["conclusion"] == "failure"
    assert not list(team.folder.rglob("pwned"))


def keep_run(clone: Path, folder: Path) -> Path:
    """Copy what the workflow `pipeline` keeps of a run: the committed one, from the store."""
    call(clone, "dvc", "pull", "--quiet", "reports/evaluation", "reports/training")
    for name in ("dvc.lock", "params.yaml"):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(clone / name, folder / name)
    shutil.copytree(clone / "reports", folder / "reports")
    return folder


def outside_code(text: str) -> str:
    """Return the text outside of code spans and blocks, in which Markdown means nothing."""
    blocks = text.split("```")
    return "".join("".join(block.split("`")[::2]) for block in blocks[::2])


def poison(folder: Path) -> None:
    """Write hostile text into the files of a run."""
    hostile = "<script>alert(1)</script> @everyone [x](http://example.org) <img src=x>\n# PASSED | ` ``` $(touch pwned)"
    (folder / "reports/report.md").write_text("✅ PWNED")
    gate = json.loads((folder / "reports/gate.json").read_text())
    for rule in gate["rules"]:
        rule["note"] = hostile
        if rule["name"] == "calibration":
            rule["value"] = 0.9
    gate["rules"].append({**gate["rules"][0], "name": hostile})
    (folder / "reports/gate.json").write_text(json.dumps(gate))
    metrics = json.loads((folder / "reports/metrics.json").read_text())
    metrics |= {"ece": 0.9, hostile: hostile, "accuracy": "NaN", "f1_macro": 10**400}
    (folder / "reports/metrics.json").write_text(json.dumps(metrics))
    per_class = folder / "reports/evaluation/per_class.csv"
    per_class.write_text(per_class.read_text().replace("\n3,", '\n"@everyone <script> ](http://x)",'))
    params = folder / "params.yaml"
    params.write_text(f"{params.read_text()}\nhostile: {json.dumps(hostile)}\n")


@pytest.mark.parametrize("conclusion", ["cancelled", "action_required"])
def test_a_run_of_a_fork_that_did_not_run_is_ignored(team: Team, conclusion: str) -> None:
    trusted = team.branch(conclusion)
    run = {"event": "pull_request", "conclusion": conclusion, "head_repository": {"full_name": FORK}}
    assert team.runner(trusted, {"workflow_run": run}).run(WORKFLOWS / "comment.yml", "comment") == []
