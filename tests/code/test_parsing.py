"""`records.parsing`: untrusted content."""

import pytest
from pydantic import TypeAdapter

from visiongate.errors import DataError
from visiongate.records.parsing import check_type, flatten, is_finite, parse_csv, parse_json, parse_yaml


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_invalid_json_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="JSON"):
        parse_json(content)


@pytest.mark.parametrize(
    "content",
    [b"a: &x 1\nb: *x", b"!!python/object:os.system {}", b"[" * 100 + b"]" * 100, b"{", b"a: 2026-99-99"],
)
def test_yaml_with_aliases_tags_depth_or_errors_is_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        parse_yaml(content)


def test_a_csv_must_have_its_columns_and_whole_rows() -> None:
    assert list(parse_csv(b"a,b\n1,2\n", "a", "b")) == [{"a": "1", "b": "2"}]
    with pytest.raises(DataError, match="column c is missing"):
        list(parse_csv(b"a,b\n1,2\n", "c"))
    with pytest.raises(DataError, match="line 2"):
        list(parse_csv(b"a,b\n1\n", "a"))


def test_a_tree_is_flattened_within_bounds() -> None:
    assert flatten({"a": {"b": [1, 2], "c": [{"d": 1}]}, "e": {}}) == {"a.b": (1, 2), "a.c.0.d": 1, "e": "{}"}
    with pytest.raises(DataError, match="mapping"):
        flatten([1])
    with pytest.raises(DataError, match="bits"):
        flatten({"a": 1 << 5_000})
    with pytest.raises(DataError, match="values"):
        flatten({str(number): number for number in range(20_001)})


def test_a_wrong_type_is_located() -> None:
    with pytest.raises(DataError, match=r"a\.0"):
        check_type(TypeAdapter(dict[str, list[int]]), {"a": ["x"]})


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (0.5, True), (True, False), (float("nan"), False), (10**400, False), ("1", False)],
)
def test_a_finite_number_is_recognized(value: object, expected: bool) -> None:  # noqa: FBT001
    assert is_finite(value) is expected
