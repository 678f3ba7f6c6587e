"""Options that a message prints work as printed."""

import shlex
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from visiongate.settings.composition import compose_values
from visiongate.validation.overrides import MAX_PATTERNS, exclude, override

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
    for start in range(0, len(PATHS), MAX_PATTERNS - 1):
        paths = PATHS[start : start + MAX_PATTERNS - 1]
        dataset = composed(exclude(paths, ["z.jpg", "z."], ["old*"]))["dataset"]
        assert isinstance(dataset, dict)
        first, *patterns = dataset["exclude"]
        assert first == "old*"
        assert [fnmatchcase(path, pattern) for path, pattern in zip(paths, patterns, strict=True)] == [
            True
        ] * len(paths)
        assert not any(fnmatchcase("a/other.jpg", pattern) for pattern in patterns)


def test_an_extension_stands_for_all_files_with_it() -> None:
    option = exclude(["a/1.heic", "b/2.heic", "b/page.jpg"], ["a/3.jpg"], [])
    assert option == """-S 'dataset.exclude=["*.heic","b/page.jpg"]'"""
    assert exclude([f"{number}.jpg" for number in range(MAX_PATTERNS + 1)], ["z.jpg"], []) == ""


@pytest.mark.parametrize("value", [["1", "null", "on", "I;16"], ['a "b"']])
def test_texts_stay_texts(value: list[str]) -> None:
    dataset = composed(override("dataset.classes", value))["dataset"]
    assert isinstance(dataset, dict)
    assert dataset["classes"] == value
