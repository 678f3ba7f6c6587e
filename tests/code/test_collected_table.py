"""``data/collected.csv``: what is read, refused and written."""

from dataclasses import replace
from pathlib import Path

import pytest

from visiongate.errors import DataError
from visiongate.records.collected import COLUMNS, CollectedImage, change_collected, parse_collected
from visiongate.records.collected_paths import is_collected

HEADER = ",".join(COLUMNS)
ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64
ROW = CollectedImage(
    ONE,
    "cat",
    "jpg",
    "dog",
    0.75,
    "pets",
    "3",
    asked=True,
    given_by="phone",
    time="2026-11-28T09:00:00Z",
    dataset="pets",
)
LINE = f"{ONE},cat,jpg,dog,0.7500,pets,3,yes,phone,2026-11-28T09:00:00Z,pets,"


def parse(*lines: str) -> dict[str, CollectedImage]:
    return parse_collected("\n".join([HEADER, *lines]).encode())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "data/collected.csv"
    assert change_collected(file) == {}
    assert file.read_text() == f"{HEADER}\n"
    other = CollectedImage(TWO, 'a, "b"', "png", group="patient 1")
    change_collected(file, [ROW, other])
    assert file.read_text().splitlines()[1] == LINE
    assert parse_collected(file.read_bytes()) == {ONE: ROW, TWO: other}


def test_rows_are_replaced_in_place_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "collected.csv"
    change_collected(file, [ROW, replace(ROW, sha256=TWO), replace(ROW, sha256=THREE)])
    changed = change_collected(file, [replace(ROW, label="dog")], [TWO, "4" * 64])
    assert [(sha256, row.label) for sha256, row in changed.items()] == [(ONE, "dog"), (THREE, "cat")]
    before = file.stat().st_ino
    change_collected(file, [replace(ROW, label="dog")])
    assert file.stat().st_ino == before


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (LINE.replace(ONE, "12"), "line 3: sha256 '12' is not 64 hexadecimal digits"),
        (LINE.replace(",cat,", ",,"), "line 3: it has no label; write a class, or delete the line"),
        (LINE.replace("jpg", "../x"), "line 3: extension '../x' is not one of a file"),
        (LINE.replace("0.7500", "2"), "line 3: confidence '2' is not a number from 0 to 1"),
        (LINE.replace("0.7500", "x"), "line 3: confidence 'x' is not a number from 0 to 1"),
        (LINE.replace("yes", "no"), "line 3: asked 'no' is neither 'yes' nor empty"),
        (LINE.replace("cat", "dog"), "lines 2 and 3 give the same image different labels, 'cat' and 'dog'"),
        (f"{ONE},cat", "line 3 has not 12 cells"),
    ],
)
def test_invalid_lines_are_refused(line: str, problem: str) -> None:
    with pytest.raises(DataError) as error:
        parse(LINE, line)
    assert str(error.value).startswith(f"collected.csv: {problem}")


def test_equal_lines_of_two_branches_are_one_image() -> None:
    assert parse(LINE, LINE.replace("phone", "")) == {ONE: ROW}


def test_a_path_with_the_hash_of_the_content_is_that_of_a_collected_image() -> None:
    assert is_collected(ROW.path, ONE)
    assert not is_collected(ROW.path, TWO)
    assert not is_collected(f"collected/{ONE}.jpg", ONE)
