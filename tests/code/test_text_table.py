"""Tables for a terminal."""

from visiongate.reporting.text_table import format_table


def test_columns_are_as_wide_as_their_widest_cell_and_no_line_ends_in_spaces() -> None:
    table = format_table(["a", "long header", "c"], [["wide cell", "1", ""], ["x", "2", "y"]])

    assert table.splitlines() == [
        "a          long header  c",
        "wide cell  1",
        "x          2            y",
    ]
