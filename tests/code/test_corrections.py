"""``data/corrections.csv``: what is read, refused and written, and what preparation makes of it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from visiongate.errors import DataError
from visiongate.preparation.corrections import apply_corrections, count_pairs
from visiongate.preparation.quality import ImageRow
from visiongate.records.corrections import (
    Correction,
    add_correction,
    parse_corrections,
    read_corrections,
    remove_correction,
)
from visiongate.records.preparation import CorrectionCounts

HEADER = "sha256,label,exclude,who,when,why"
ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64


def correct(sha256: str, label: str | None, why: str = "seen") -> Correction:
    return Correction(sha256, label, "Ada", "2026-11-28", why)


def parse(*lines: str) -> dict[str, Correction]:
    return parse_corrections("\n".join([HEADER, *lines]).encode())


def test_a_label_an_exclusion_and_no_rows_are_read() -> None:
    assert parse() == {}
    assert parse(f"{ONE},cat,,Ada,2026-11-28,seen", f"{TWO},,yes,Ada,2026-11-28,seen") == {
        ONE: correct(ONE, "cat"),
        TWO: correct(TWO, None),
    }


def test_what_a_spreadsheet_writes_is_read() -> None:
    content = f"\ufeff{HEADER}\r\n{ONE},cat,,Ada,2026-11-28,seen\r\n".encode()
    assert parse_corrections(content) == {ONE: correct(ONE, "cat")}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("A" * 64 + ",cat,,,,", "line 3: sha256 'AAAA"),
        ("12,cat,,,,", "line 3: sha256 '12' is not 64 hexadecimal digits"),
        (f"{TWO},cat,yes,,,", "line 3: it has both label 'cat' and exclude"),
        (f"{TWO},,,,,", "line 3: it has neither a label nor exclude"),
        (f"{TWO},,no,,,", "line 3: exclude 'no' is neither 'yes' nor empty"),
        (f"{TWO},cat", "line 3 has not 6 cells"),
        (
            f"{ONE},dog,,Bob,,",
            "lines 2 and 3 correct the same image differently (Ada: label 'cat'; Bob: label 'dog')",
        ),
        (
            f"{ONE},,yes,,,",
            "lines 2 and 3 correct the same image differently (Ada: label 'cat'; nobody: exclude)",
        ),
    ],
)
def test_an_invalid_line_is_named(line: str, problem: str) -> None:
    with pytest.raises(DataError) as error:
        parse(f"{ONE},cat,,Ada,,", line)
    assert str(error.value).startswith(f"corrections.csv: {problem}")


def test_two_people_may_agree() -> None:
    assert list(parse(f"{ONE},cat,,Ada,,", f"{ONE},cat,,Bob,,").values()) == [
        Correction(ONE, "cat", "Ada", "", "")
    ]


def test_a_missing_column_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column why is missing"):
        parse_corrections(b"sha256,label,exclude,who,when\n")
    with pytest.raises(DataError, match="no such file; run `git checkout"):
        read_corrections(tmp_path / "corrections.csv")
    with pytest.raises(DataError, match="a folder; remove it, and run `git checkout"):
        add_correction(tmp_path, correct(ONE, "cat"))


def test_a_later_decision_replaces_the_earlier_one_and_can_be_undone(tmp_path: Path) -> None:
    file = tmp_path / "data/corrections.csv"
    add_correction(file, correct(ONE, "cat"))
    add_correction(file, correct(TWO, None, why="two\nlines, and a comma"))
    add_correction(file, correct(ONE, "dog"))
    assert file.read_text() == (
        f'{HEADER}\n{TWO},,yes,Ada,2026-11-28,"two lines, and a comma"\n{ONE},dog,,Ada,2026-11-28,seen\n'
    )
    assert remove_correction(file, ONE) == correct(ONE, "dog")
    assert remove_correction(file, ONE) is None
    assert list(read_corrections(file)) == [TWO]


def test_an_invalid_file_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "corrections.csv"
    file.write_text(f"{HEADER}\nbad,cat,,,,\n")
    with pytest.raises(DataError, match="line 2"):
        add_correction(file, correct(ONE, "cat"))
    assert file.read_text() == f"{HEADER}\nbad,cat,,,,\n"


def test_texts_that_are_not_unicode_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "corrections.csv"
    with pytest.raises(DataError, match=r"why '\\udcff' has characters that are not Unicode"):
        add_correction(file, correct(ONE, "cat", "\udcff"))
    assert not file.exists()
    with pytest.raises(DataError, match=r"corrections.csv: line 3 is not UTF-8; save the file as UTF-8"):
        parse_corrections(f"{HEADER}\n{ONE},cat,,Ada,,\n{TWO},cat,,Jürgen,,\n".encode("latin-1"))


def test_a_disk_that_refuses_is_explained(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(DataError, match=r"data/corrections.csv: cannot be written: .*; it is as before"):
        add_correction(tmp_path / "data/corrections.csv", correct(ONE, "cat"))


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    file, hashes = tmp_path / "corrections.csv", [f"{number:064d}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda sha256: add_correction(file, correct(sha256, "cat")), hashes))
    assert set(read_corrections(file)) == set(hashes)


def test_corrections_apply_to_every_copy() -> None:
    rows = [
        ImageRow("a", "cat", ONE),
        ImageRow("b", "dog", ONE),
        ImageRow("c", "dog", TWO),
        ImageRow("d", "dog", THREE),
    ]
    corrections = {
        found.sha256: found
        for found in (
            correct(ONE, "dog"),
            correct(TWO, None),
            correct(THREE, "dog"),
            correct("4" * 64, "cat"),
        )
    }
    applied = apply_corrections(rows, corrections, ["cat", "dog"])
    assert [row.label for row in applied.rows] == ["dog", "dog", "dog", "dog"]
    assert applied.excluded == {TWO: "seen"}
    assert [image.change for image in applied.images] == ["relabeled", "confirmed", "excluded", "confirmed"]
    assert applied.counts == CorrectionCounts(relabeled=1, excluded=1, confirmed=1, unmatched=1)
    assert list(count_pairs(applied.images)) == [("cat", "dog", 1)]


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"label 'cow' is not a class of the data; the classes are 'cat', 'dog'"
    ):
        apply_corrections([ImageRow("a", "cat", ONE)], {ONE: correct(ONE, "cow")}, ["cat", "dog"])


def test_an_absent_image_may_have_a_class_of_other_data() -> None:
    applied = apply_corrections([ImageRow("a", "cat", ONE)], {TWO: correct(TWO, "cow")}, ["cat", "dog"])
    assert applied.rows == [ImageRow("a", "cat", ONE)]
    assert applied.counts.unmatched == 1
