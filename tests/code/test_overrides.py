"""Options that a message prints work as printed."""

import shlex
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from visiongate.settings.composition import compose_values
from visiongate.validation.overrides import exact_pattern, override

CONF = Path(__file__).parents[2] / "conf"
PATHS = [
    *("a/b c.jpg", 'a/"q".jpg', "a/it's.jpg", "a/[1].jpg", "a/ü,1.jpg", "a/${x}.jpg", "a\\xff.jpg", "null"),
    *("a=b:c{d}.jpg", "a/ends\\", 'a\\"b', "*", "a\nb.jpg", "1"),
]


def composed(option: str) -> dict[str, object]:
    flag, text = shlex.split(option)
    assert flag == "-S"
    values: dict[str, object] = compose_values(CONF, [text])
    return values


def test_any_path_can_be_excluded() -> None:
    dataset = composed(override("dataset.exclude", ["old*", *map(exact_pattern, PATHS)]))["dataset"]
    assert isinstance(dataset, dict)
    first, *patterns = dataset["exclude"]
    assert first == "old*"
    assert all(fnmatchcase(path, pattern) for path, pattern in zip(PATHS, patterns, strict=True))
    assert not any(fnmatchcase("a/other.jpg", pattern) for pattern in patterns)


@pytest.mark.parametrize("value", [["1", "null", "on", "I;16"], ['a "b"']])
def test_texts_stay_texts(value: list[str]) -> None:
    dataset = composed(override("dataset.classes", value))["dataset"]
    assert isinstance(dataset, dict)
    assert dataset["classes"] == value
