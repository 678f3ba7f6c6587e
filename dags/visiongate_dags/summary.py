"""The summary of a run, as text: for the log, Slack and e-mail."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss", "images")
SUCCESS = "success"
# States of tasks that did what they were to do.
FINE = (SUCCESS, "skipped")


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What is said about a run.

    Attributes:
        dag: The DAG's id.
        run: The run's id.
        states: The state of each task before the summary, in the order of the DAG.
        folder: The run's clone, if there is one.
        evaluation: The metrics and the verdict, if there is one.
        registration: The decision about the model, if there is one.
        report: The path of the report, if there is one.
    """

    dag: str
    run: str
    states: Mapping[str, str]
    folder: str | None = None
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    registration: Mapping[str, Any] = field(default_factory=dict)
    report: str | None = None

    @property
    def state(self) -> str:
        """``success``, or ``failed`` if a task failed."""
        return SUCCESS if all(state in FINE for state in self.states.values()) else "failed"

    @property
    def title(self) -> str:
        """The first line: what became of the run."""
        failed = [task for task, state in self.states.items() if state == "failed"]
        return f"{self.dag}: " + (
            self._outcome() if self.state == SUCCESS else f"failed at {failed[0] if failed else '?'}"
        )

    def format(self) -> str:
        """Return the text."""
        made = self.registration
        lines = [self.title, f"Run: {self.run}"]
        if metrics := self.evaluation.get("metrics"):
            lines.append(
                "Test: " + ", ".join(f"{name} {metrics[name]:.6g}" for name in METRICS if name in metrics)
            )
        if self.evaluation:
            failed = self.evaluation["gate_failed"]
            lines.append("Gate: failed: " + "; ".join(failed) if failed else "Gate: passed")
        if made:
            lines.append(
                f"Model: {made['name']} version {made['version']}, {made['decision']}: {made['reason']}"
            )
            lines.extend(f"{label}: {made[key]}" for key, label in LABELS.items() if made.get(key))
        if self.report:
            lines.append(f"Report: {self.report}")
        if self.folder:
            lines.append(f"Outputs: {self.folder}")
        lines.append("Tasks: " + ", ".join(f"{task} {state}" for task, state in self.states.items()))
        return "\n".join(lines)

    def _outcome(self) -> str:
        made = self.registration
        return f"{made['name']} version {made['version']} {made['decision']}" if made else "finished"


LABELS = {"mlflow_run": "MLflow run", "branch": "Branch", "pull_request": "Pull request"}
