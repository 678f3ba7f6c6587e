"""``visiongate performance``: the table, the JSON and the page, from a log without a service."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from command_line import run_cli
from filled_log import fill_log
from visiongate.monitoring.calibration import BINS
from visiongate.monitoring.database import Database
from visiongate.monitoring.figures import HEIGHT, WIDTH, draw_confidences, draw_volume
from visiongate.monitoring.history import read_history
from visiongate.monitoring.report import make_report


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    found = f"sqlite:///{tmp_path_factory.mktemp('log')}/log.sqlite"
    fill_log(found)
    return found


@pytest.fixture
def log(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISIONGATE_SERVING__LOG__ADDRESS", address)


@pytest.mark.usefixtures("log")
def test_table_tells_sampled_from_volunteered(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("performance") == 0
    output = capsys.readouterr().out
    lines = output.splitlines()
    header = next(line for line in lines if line.startswith("version "))
    assert re.split(r" {2,}", header)[1:5] == ["predictions", "random sample", "replies", "volunteered"]
    rows = {re.split(r" {2,}", line)[0]: re.split(r" {2,}", line)[1:] for line in lines}
    assert rows["pets 4 (canary)"][0] == "80"
    assert rows["pets 3"][0] == "320"
    assert "pets 5 (shadow)" in rows
    assert rows["all answers"][0] == "400"
    assert rows["all answers"][2].endswith(" of 100")
    assert "2 API keys" in output
    assert "of those who were asked replied" in output
    assert "phone" not in output
    assert {"Cat", "Dog", "<b>Owl</b>"} <= rows.keys()


@pytest.mark.usefixtures("log")
def test_a_version_and_a_time_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("performance", "--version", "4", "--hours", "2", "--json", "found.json") == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert [each["version"] for each in found["models"]] == ["4"]
    assert 6 <= found["all"]["predictions"] <= 9
    assert found["log"] is None
    capsys.readouterr()
    assert run_cli("performance", "--model", "birds") == 0
    assert capsys.readouterr().out.startswith("No prediction was recorded from ")


@pytest.mark.usefixtures("log")
def test_page_loads_nothing_and_escapes_names(tmp_path: Path) -> None:
    assert run_cli("performance", "--html", "found.html", "--json", "found.json") == 0
    page = (tmp_path / "found.html").read_text()
    assert not re.search(r"<script|<link|https?://|src=|url\(|@import", page)
    assert "<b>Owl</b>" not in page
    assert "&lt;b&gt;Owl&lt;/b&gt;" in page
    assert "run <code>visiongate retrain-check</code>" in page
    assert "Rollout check of" in page
    found = json.loads((tmp_path / "found.json").read_text())
    accuracy = found["all"]["sampled"]["accuracy"]
    assert f"{accuracy['value']:.1%}<small>{accuracy['low']:.1%} to {accuracy['high']:.1%}" in page
    assert page.count("<details>") == 3


@pytest.mark.usefixtures("log")
def test_without_predictions_the_page_says_so(tmp_path: Path) -> None:
    assert run_cli("performance", "--model", "birds", "--html", "none.html") == 0
    assert "No prediction was recorded in this time." in (tmp_path / "none.html").read_text()


def test_a_missing_log_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISIONGATE_SERVING__LOG__ADDRESS", "sqlite:///none.sqlite")
    assert run_cli("performance") == 2
    assert "no such file; the service makes it" in capsys.readouterr().err
    monkeypatch.setenv("VISIONGATE_SERVING__LOG__ENABLED", "false")
    assert run_cli("performance") == 2
    assert "set it to true for the service" in capsys.readouterr().err


def test_bars_add_up(address: str) -> None:
    database = Database(address)
    history = read_history(database.engine, 0, None, None)
    database.close()
    until = datetime.now(UTC)
    report = make_report(datetime.fromtimestamp(0, UTC), until, history)
    volume = draw_volume(report)
    assert volume.parts == ("pets 3", "pets 4 (canary)")
    assert {bar.part for bar in volume.bars} == {1, 2}
    counts = [int(bar.text.rsplit(": ", 1)[1].removesuffix(" answers")) for bar in volume.bars]
    assert sum(counts) == 400
    assert volume.words.startswith("400 answers since ")
    most = max(hour.predictions for hour in report.by_hour)
    assert volume.axis[1] == f"at most {most} in an hour"
    for bar in volume.bars:
        assert 0 <= bar.x < bar.x + bar.width <= WIDTH
        assert -1e-9 <= bar.y < bar.y + bar.height <= HEIGHT + 1e-9

    bars = draw_confidences(report.all.confidences)
    assert len(report.all.confidences) == BINS
    assert max(bar.height for bar in bars) == HEIGHT
