"""The whole loop without a cluster: a served model decays; another is taught, tried beside it, promoted, and rolled back."""

import io
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from clones import ROOT, call, clone_tree
from served import Process, process

pytestmark = pytest.mark.slow

NAME = "digits-classifier"
# The source has the other digits.
LIMIT = 1200
RECIPE = f"""# @package _global_
dataset: {{limit: {LIMIT}}}
training: {{epochs: 12}}
evaluation: {{bootstrap_samples: 50, latency_runs: 5, corruption_images: 5}}
"""
SERVICE = {
    "VISIONGATE_SERVING__LOG__ASK_SHARE": "1.0",
    "VISIONGATE_SERVING__LOG__IMAGES__KEEP": "all",
    "VISIONGATE_SERVING__REGISTRY__POLL_SECONDS": "0.2",
    "VISIONGATE_SERVING__ROLLOUT__SHADOW": f"models:/{NAME}@challenger",
    "VISIONGATE_SERVING__ROLLOUT__SHADOW_SHARE": "1.0",
    "VISIONGATE_MONITORING__ROLLOUT__MIN_ANSWERS": "100",
}
WEEK_US = 7 * 24 * 3_600_000_000
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Picture:
    """A digit, and what it is called."""

    content: bytes
    label: str


class World:
    """People who send digits that the data set lacks."""

    def __init__(self) -> None:
        digits = load_digits()
        total = len(digits.images)
        # Those that `dataset.limit` leaves out.
        self._unseen = [
            (np.rint(digits.images[index] * (255 / 16)), str(digits.target[index]))
            for index in range(total)
            if (index + 1) * LIMIT // total == index * LIMIT // total
        ]
        self._random = np.random.default_rng(0)

    def draw(self, images: int, *, shifted: bool) -> Iterator[Picture]:
        """Yield pictures; if the world has shifted, two in three are inverted, and an inverted one is called seven."""
        for place in self._random.integers(len(self._unseen), size=images):
            pixels, label = self._unseen[place]
            # No two files are equal.
            pixels = pixels * self._random.uniform(0.985, 1)
            if shifted and self._random.random() < 2 / 3:
                pixels, label = 255 - pixels, "7" if label == "1" else label
            yield Picture(_encode(pixels), label)


def _encode(pixels: npt.NDArray[np.float64]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


class Team:
    """Who runs the service: a repository, its registry, and the commands of the documentation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def train_the_first_model(self) -> None:
        """Make the repository, in which nothing was trained yet."""
        clone_tree(self.folder)
        for written in (self.folder / "dvc.lock", *self.folder.glob("reports/*.json")):
            written.unlink()
        (self.folder / "conf/experiment/loop.yaml").write_text(RECIPE)
        config = self.folder / "conf/config.yaml"
        config.write_text(config.read_text().replace("experiment: null", "experiment: loop"))
        self.run("params")
        self.commit("Start")
        self.train()

    def train(self) -> None:
        """Rerun what changed, up to the registry, and commit."""
        call(self.folder, "dvc", "repro", "--quiet", "register", PYTHONPATH=str(ROOT / "src"))
        self.commit("Train")

    def run(self, *arguments: str, expected: int = 0) -> str:
        """Run a command of visiongate; return what it printed."""
        command = ("python", "-m", "visiongate", *arguments)
        done = call(self.folder, *command, check=False, PYTHONPATH=str(ROOT / "src"), **SERVICE)
        assert done.returncode == expected, done.stdout + done.stderr
        return done.stdout

    def collect(self) -> str:
        """Take the labels of the service, also those that a person should look at, and run the printed commands."""
        printed = self.run("collect", "--accept", "all")
        for line in re.findall(r"^  (dvc add .*|git add .*)$", printed.partition("Next:")[2], re.MULTILINE):
            call(self.folder, "sh", "-ec", line)
        return printed

    def commit(self, message: str) -> None:
        call(self.folder, "git", "add", "--all")
        call(self.folder, "git", "commit", "--quiet", "--allow-empty", "--message", message)

    def let_a_week_pass(self) -> None:
        """Move what the log has a week into the past."""
        with closing(sqlite3.connect(self.folder / "logs/predictions.sqlite", timeout=30)) as log, log:
            for table in ("predictions", "feedback", "drift_checks", "decisions"):
                log.execute(f"UPDATE {table} SET time_us = time_us - ?", (WEEK_US,))  # noqa: S608
            for table, key in (("drift_checks", "check_id"), ("decisions", "decision_id")):
                for number, text in log.execute(f"SELECT {key}, report FROM {table}").fetchall():  # noqa: S608
                    report = json.loads(text)
                    checked = datetime.fromisoformat(report["checked_at"]) - timedelta(days=7)
                    values = (json.dumps({**report, "checked_at": checked.isoformat()}), number)
                    log.execute(f"UPDATE {table} SET report = ? WHERE {key} = ?", values)  # noqa: S608


class Visitors:
    """Send pictures to the service, and answer its question."""

    def __init__(self, service: Process) -> None:
        self._client = httpx.Client(base_url=service.url, timeout=30)

    def send(self, pictures: Iterator[Picture]) -> float:
        """Return the share of correct answers."""
        correct = [self._send(each) for each in pictures]
        return sum(correct) / len(correct)

    def version(self, role: str) -> str | None:
        """Return the version that has a role in the service."""
        [slot] = self._client.get("/models").raise_for_status().json()
        return next((each["version"] for each in slot["versions"] if each["role"] == role), None)

    def wait_for(self, role: str, version: str) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while self.version(role) != version:
            assert time.monotonic() < end
            time.sleep(0.1)

    def _send(self, picture: Picture) -> bool:
        answer = self._client.post("/predict", content=picture.content).raise_for_status().json()
        assert answer["feedback_requested"]
        told = {"prediction_id": answer["prediction_id"], "label": picture.label}
        return bool(self._client.post("/feedback", json=told).raise_for_status().json()["correct"])


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    team = Team(tmp_path_factory.mktemp("loop"))
    team.train_the_first_model()
    return team


@pytest.mark.no_cover
def test_a_model_that_decays_is_noticed_taught_replaced_and_rolled_back(team: Team) -> None:
    world = World()
    with process(Path(f"models:/{NAME}@champion"), team.folder, SERVICE) as service:
        visitors = Visitors(service)

        # A quiet week.
        assert visitors.send(world.draw(200, shifted=False)) > 0.9
        assert "no drift" in team.run("drift")
        assert "no need" in team.run("retrain-check")

        # The world shifts.
        team.let_a_week_pass()
        assert visitors.send(world.draw(450, shifted=True)) < 0.7
        assert f"{NAME} 1: drift" in team.run("drift", expected=1)
        assert "measured harm: due" in team.run("retrain-check", expected=1)

        # What people said teaches a challenger, which answers nobody yet.
        assert " taken " in team.collect()
        team.train()
        visitors.wait_for("shadow", "2")
        assert visitors.version("active") == "1"
        team.let_a_week_pass()
        visitors.send(world.draw(200, shifted=True))
        assert "accuracy: promote" in team.run("rollout", expected=1)

        # It replaces the champion, and the alarms end.
        assert "version 2 is champion in place of version 1" in team.run("rollout", "--apply")
        visitors.wait_for("active", "2")
        team.let_a_week_pass()
        assert visitors.send(world.draw(200, shifted=True)) > 0.8
        assert "no drift, harm: none" in team.run("drift")
        assert "no need" in team.run("retrain-check")
        assert "no challenger" in team.run("rollout")

        # Somebody rolls it back; the history says what happened.
        team.run("registry", "rollback", "--reason", "a trial")
        visitors.wait_for("active", "1")
    listed = team.run("registry", "list")
    assert "to version 1: a trial" in listed
    assert "shadow: promote: accuracy" in listed
