"""Runs the steps of a workflow as GitHub's runner does: commands, conditions, environment.

Actions are imitated by name; a workflow that uses another action fails.
"""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TOKEN = re.compile(r"'(?:[^']|'')*'|==|!=|&&|\|\||[!()]|[A-Za-z_][\w.-]*|\d+")
WORDS = {"&&": " and ", "||": " or ", "!": " not ", "true": "True", "false": "False", "null": "None"}
STATUS = re.compile(r"\b(always|success|failure|cancelled)\s*\(")


@dataclass
class Step:
    """The outcome of a step: success, failure or skipped."""

    name: str
    outcome: str
    output: str = ""


class ActionFailedError(Exception):
    """An action ended with an error."""


@dataclass
class Runner:
    """A job that runs in a clone.

    Attributes:
        contexts: The values of expressions: github, vars, secrets, inputs, matrix, needs.
        environment: The variables of the machine.
        vulnerabilities: What Trivy finds in an image.
    """

    clone: Path
    contexts: dict[str, Any]
    environment: dict[str, str]
    artifacts: Path
    temporary: Path
    steps: list[Step] = field(default_factory=list)
    vulnerabilities: str = ""

    def run(self, workflow: Path, job: str) -> list[Step]:
        """Run the steps of a job and return their outcomes; none if the condition of the job is false."""
        content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
        body = content["jobs"][job]
        self.contexts = {**self.contexts, "runner": {"temp": str(self.temporary)}, "steps": {}, "env": {}}
        self._event().write_text(json.dumps(self.contexts["github"]["event"]), encoding="utf-8")
        if not self._holds(str(body.get("if", "true"))):
            return []
        shared = self._fill(content.get("env", {})) | self._fill(body.get("env", {}))
        for each in body["steps"]:
            self._run_step(each, shared)
        return self.steps

    @property
    def failed(self) -> bool:
        """Whether a step has failed."""
        return any(step.outcome == "failure" for step in self.steps)

    @property
    def summary(self) -> str:
        """The Markdown of the job's summary."""
        path = self.temporary / "summary.md"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def _event(self) -> Path:
        return self.temporary / "event.json"

    def _run_step(self, step: Mapping[str, Any], shared: Mapping[str, str]) -> None:
        self.contexts["env"] = shared
        name = step.get("name") or step.get("uses", "").partition("@")[0] or step["run"]
        done = Step(name, "skipped")
        if self._holds(str(step.get("if", "true"))):
            environment = {**shared, **self._fill(step.get("env", {}))}
            done = (
                self._run_action(name, step)
                if "uses" in step
                else self._run_command(name, step["run"], environment)
            )
        self.steps.append(done)
        if "id" in step:
            self.contexts["steps"][step["id"]] = {"outcome": done.outcome, "outputs": self._take_outputs()}

    def _take_outputs(self) -> dict[str, str]:
        """Return what the step wrote to GITHUB_OUTPUT."""
        path = self._outputs()
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def _outputs(self) -> Path:
        return self.temporary / "output"

    def _run_command(self, name: str, script: str, environment: Mapping[str, str]) -> Step:
        github = {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": self.contexts["github"]["event_name"],
            "GITHUB_EVENT_PATH": str(self._event()),
            "GITHUB_OUTPUT": str(self._outputs()),
            "GITHUB_SHA": self.contexts["github"].get("sha", ""),
            "GITHUB_REF": self.contexts["github"].get("ref", ""),
            "GITHUB_STEP_SUMMARY": str(self.temporary / "summary.md"),
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.clone,
            env={**self.environment, **github, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        return Step(name, "failure" if done.returncode else "success", done.stdout)

    def _run_action(self, name: str, step: Mapping[str, Any]) -> Step:
        try:
            ACTIONS[step["uses"].partition("@")[0]](self, self._fill(step.get("with", {})))
        except ActionFailedError as error:
            return Step(name, "failure", str(error))
        return Step(name, "success")

    def _fill(self, values: Mapping[str, Any]) -> dict[str, str]:
        return {key: self._substitute(str(value)) for key, value in values.items()}

    def _substitute(self, text: str) -> str:
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: _format(self._evaluate(found[1])), text)

    def _holds(self, condition: str) -> bool:
        condition = condition.removeprefix("${{").removesuffix("}}")
        if not STATUS.search(condition) and self.failed:
            return False
        return bool(self._evaluate(condition))

    def _evaluate(self, expression: str) -> object:
        words = [self._translate(word) for word in TOKEN.findall(expression)]
        functions = {
            "always": lambda: True,
            "success": lambda: not self.failed,
            "failure": lambda: self.failed,
            "cancelled": lambda: False,
            "hashFiles": lambda name: f"hash-of-{name}",
            "look_up": self._look_up,
        }
        return eval("".join(words), {"__builtins__": {}}, functions)  # noqa: S307 - our own workflows

    def _translate(self, word: str) -> str:
        if word in WORDS or word[0] in "'=!()" or word.isdigit():
            return WORDS.get(word, word)
        return (
            word
            if word in {"always", "success", "failure", "cancelled", "hashFiles"}
            else f"look_up({word!r})"
        )

    def _look_up(self, name: str) -> object:
        """Return the value of a dotted name in the contexts; an empty string if it is missing, as on GitHub."""
        value: Any = self.contexts
        for part in name.split("."):
            value = value.get(part, "") if isinstance(value, Mapping) else ""
        return value


def _format(value: object) -> str:
    return (
        {True: "true", False: "false", None: ""}.get(value, str(value))
        if not isinstance(value, str)
        else value
    )


def _download(runner: Runner, options: Mapping[str, str]) -> None:
    target = runner.clone / options.get("path", ".")
    shutil.copytree(runner.artifacts / options["name"], target, dirs_exist_ok=True)


def _upload(runner: Runner, options: Mapping[str, str]) -> None:
    target = runner.artifacts / options["name"]
    target.mkdir(parents=True, exist_ok=True)
    for path in (runner.clone / name for name in options["path"].split()):
        # The content of a folder is at the root of the artifact.
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        elif path.exists():
            shutil.copy(path, target)


def _scan(runner: Runner, options: Mapping[str, str]) -> None:
    if "output" in options:
        (runner.clone / options["output"]).write_text("{}", encoding="utf-8")
    elif runner.vulnerabilities and options.get("exit-code") == "1":
        raise ActionFailedError(runner.vulnerabilities)


def _nothing(_runner: Runner, _options: Mapping[str, str]) -> None:
    """Do nothing: the clone, its interpreter and its caches exist."""


ACTIONS: dict[str, Callable[[Runner, Mapping[str, str]], None]] = {
    "actions/attest": _nothing,
    "actions/attest-build-provenance": _nothing,
    "actions/cache": _nothing,
    "actions/checkout": _nothing,
    "actions/download-artifact": _download,
    "actions/setup-python": _nothing,
    "actions/upload-artifact": _upload,
    "aquasecurity/trivy-action": _scan,
    "docker/login-action": _nothing,
    "helm/kind-action": _nothing,
    "sigstore/cosign-installer": _nothing,
}


def machine(path: str, home: Path) -> dict[str, str]:
    """Return the environment of a fresh machine."""
    known = {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    return {**known, "TMPDIR": tempfile.gettempdir()}
