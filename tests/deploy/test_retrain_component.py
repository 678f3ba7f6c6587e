"""The script of the component `retrain` runs the check on a real log, and sends an event to GitHub if a model is due."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from github_imitation import READER, SLUG, WRITER, GitHub, serve_github
from logged_rollouts import Log, Shown

ROOT = Path(__file__).parents[2]
COMPONENT = ROOT / "deploy/kubernetes/components/retrain"
ENOUGH = 5
Start = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    with serve_github(tmp_path) as server:
        yield server


@pytest.fixture
def start(tmp_path: Path, github: GitHub) -> Start:
    """Run the script as in the pod: without a repository, with the files of the ConfigMap, and a log with some new labels."""
    shutil.copy(COMPONENT / "start_workflow.py", tmp_path)
    (tmp_path / "repository").write_text(SLUG)
    (tmp_path / "api").write_text(f"{github.address}/api/v3\n")
    (tmp_path / "visiongate").write_text(f'#!/bin/sh\nexec {sys.executable} -m visiongate "$@"\n')
    (tmp_path / "visiongate").chmod(0o755)

    def run(labels: int, token: str = WRITER) -> subprocess.CompletedProcess[str]:
        log = Log(tmp_path)
        log.show([Shown(kept=True) for _ in range(labels)])
        (tmp_path / "token").write_text(f"{token}\n")
        environment = {
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SSL_CERT_FILE": str(github.certificate),
            "VISIONGATE_SERVING__LOG__ADDRESS": log.address,
            "VISIONGATE_MONITORING__RETRAIN__NEW_LABELS": str(ENOUGH),
        }
        command = [sys.executable, "start_workflow.py", "token", "retrain-check"]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_the_workflow_is_started_when_a_model_is_due(start: Start, github: GitHub) -> None:
    done = start(labels=ENOUGH)

    assert done.returncode == 0, done.stdout + done.stderr
    assert github.events == [{"event_type": "retrain", "client_payload": {"reasons": ["new labels"]}}]
    assert "started the workflow retrain: new labels" in done.stdout


def test_nothing_is_sent_when_no_model_is_due(start: Start, github: GitHub) -> None:
    done = start(labels=1)

    assert done.returncode == 2
    assert "cannot say" in done.stdout
    assert github.requests == []


def test_a_token_that_may_not_write_is_named_and_not_shown(start: Start, github: GitHub) -> None:
    done = start(labels=ENOUGH, token=READER)

    assert done.returncode == 3
    assert github.events == []
    assert "HTTP Error 403" in done.stderr
    assert "Secret visiongate-retrain needs the right to write the contents" in done.stderr
    assert READER not in done.stdout + done.stderr


def test_the_workflow_has_the_event() -> None:
    workflow = yaml.load((ROOT / ".github/workflows/retrain.yml").read_text(), yaml.BaseLoader)  # noqa: S506

    assert workflow["on"]["repository_dispatch"] == {"types": ["retrain"]}
