"""What `visiongate drift` says of a stream in which a client sends copies by the thousand."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from test_drift import MODEL, Stream, address, check, found, record, store_reference, write

from visiongate.monitoring.drift.advice import FEW_PICTURES
from visiongate.monitoring.entries import new_prediction_id

__all__ = ["address"]
HOUR_US = 3_600_000_000


def _send_in_turn(address: str, pictures: int, count: int) -> None:
    """Record files that a client sends again and again, over an hour."""
    start = time.time_ns() // 1000 - 4 * HOUR_US
    given = Stream().draw(pictures, 9).entries(start, Stream(), MODEL)
    write(
        address,
        [
            replace(
                given[number % pictures],
                prediction_id=new_prediction_id(),
                time_us=start + number * HOUR_US // count,
            )
            for number in range(count)
        ],
    )


def test_copies_take_no_place_of_the_images_that_are_compared(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VISIONGATE_MONITORING__DRIFT__MAX_IMAGES", "500")
    store_reference(address)
    _send_in_turn(address, 5, 9000)
    record(address, Stream(light=0.5), 300, 2)

    status, report = check(tmp_path)

    [model] = report["models"]
    assert status == 1
    assert {"flood", "brightness"} <= found(report)
    window = model["window"]
    assert (window["predictions"], window["compared"]) == (9300, pytest.approx(305, abs=8))
    assert window["copies"] == 9300 - window["compared"]
    printed = capsys.readouterr().out
    assert f"9,300 predictions, of which {window['copies']:,} are copies" in printed
    assert ", without copies of one picture" in printed
    assert "Of copies of one picture, one counts." in model["accuracy"]["limits"]


def test_of_many_different_files_an_even_selection_is_compared(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VISIONGATE_MONITORING__DRIFT__MAX_IMAGES", "200")
    store_reference(address)
    _send_in_turn(address, 5, 2000)
    record(address, Stream(), 900, 2)

    window = check(tmp_path)[1]["models"][0]["window"]

    assert window["predictions"] == 2900
    # One of five.
    assert window["compared"] == pytest.approx(181, abs=4)
    assert window["copies"] == pytest.approx(1995, abs=25)


def test_a_few_pictures_in_turn_are_a_flood(address: str, tmp_path: Path) -> None:
    store_reference(address)
    _send_in_turn(address, 45, 2000)
    record(address, Stream(), 300, 2)

    _, report = check(tmp_path)

    [model] = report["models"]
    assert found(report) == {"flood"}
    assert model["causes"] == [FEW_PICTURES]
    assert "2,000 of 2,300 images are 45 pictures" in model["findings"][0]["what"]
    assert model["accuracy"]["reliable"] is False
    assert report["harm"] == "none"
