import re
from pathlib import Path

import pytest

from visiongate.errors import SettingsError
from visiongate.experiments.grid import SweepIdentity, plan_sweep, read_list
from visiongate.settings.grammar import expand_sweeps

CONF = Path(__file__).parents[2] / "conf"
IDENTITY = SweepIdentity("try", "commit", "evaluate", "")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["a=1e-3,1e-2", "b=x,y"],
            [["a=0.001", "b=x"], ["a=0.001", "b=y"], ["a=0.01", "b=x"], ["a=0.01", "b=y"]],
        ),
        (["a=range(0,3)"], [["a=0"], ["a=1"], ["a=2"]]),
        (["a=choice(x,y)"], [["a=x"], ["a=y"]]),
        (["a=[1,2],[3]"], [["a=[1,2]"], ["a=[3]"]]),
        (["a={b:1,c:2}"], [["a={b:1,c:2}"]]),
        (["a='x, y'"], [["a='x, y'"]]),
        ([], [[]]),
    ],
)
def test_sweep_expands_to_every_combination(overrides: list[str], expected: list[list[str]]) -> None:
    assert expand_sweeps(overrides, 10) == expected


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("a=interval(0,1)", "name the values"),
        ("a=glob(*)", "name the values"),
        ("a=1,", "not an override"),
        ("a", "not an override"),
        ("--help", "not an override"),
        ("a=$(touch x)", "not an override"),
        ("a=range(0,1000000000)", "more than 10 combinations"),
    ],
)
def test_invalid_sweep_raises(override: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as raised:
        expand_sweeps([override], 10)
    assert str(raised.value).startswith(override)
    assert "\n" not in str(raised.value)


def test_list_has_overrides_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("# a comment\n\nmodel.lr=0.1,0.2 'b={c: 1}' # more\n\tmodel=simple_cnn\n")
    assert read_list(path) == [["model.lr=0.1,0.2", "b={c: 1}"], ["model=simple_cnn"]]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "No such file or directory"),
        (b"# none\n", "no overrides"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b'a=1\nb="2\n', '2: b="2: no closing quotation'),
    ],
    ids=["missing", "empty", "binary", "quotation"],
)
def test_invalid_list_raises(tmp_path: Path, content: bytes | None, named: str) -> None:
    path = tmp_path / "my list"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"^{re.escape(str(path))}:.*{named}"):
        read_list(path)


def test_name_depends_on_parameters_commit_stage_and_changes() -> None:
    (small, simple) = plan_sweep([["model=small_cnn,simple_cnn", "model.lr=0.01"]], CONF, IDENTITY, 10)
    assert (small.label, simple.label) == ("model=small_cnn model.lr=0.01", "model=simple_cnn model.lr=0.01")
    assert re.fullmatch(r"try-[0-9a-f]{8}", small.name)
    # conf/ chooses small_cnn.
    (again,) = plan_sweep([["model.lr=1e-2"]], CONF, IDENTITY, 10)
    assert again.name == small.name
    others = [
        SweepIdentity("try", "another", "evaluate", ""),
        SweepIdentity("try", "commit", "train", ""),
        SweepIdentity("try", "commit", "evaluate", "+ a line"),
    ]
    names = {plan_sweep([["model.lr=0.01"]], CONF, other, 10)[0].name for other in others}
    assert len(names - {small.name}) == 3


def test_combinations_with_equal_parameters_are_one() -> None:
    plan = plan_sweep([["model.lr=0.1,1e-1"], ["model.lr=0.10"]], CONF, IDENTITY, 10)
    assert [combination.label for combination in plan] == ["model.lr=0.1"]


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.lr=0.1,abc", r"^model.lr=abc: "),
        ("model.rate=0.1", r"^model.rate=0.1: "),
        ("model=no_such", r"^model=no_such: "),
        ("training.seed=range(0,11)", "10"),
    ],
)
def test_invalid_combination_raises(override: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        plan_sweep([[override]], CONF, IDENTITY, 10)


def test_lines_together_are_limited() -> None:
    with pytest.raises(SettingsError, match="11 combinations"):
        plan_sweep([["training.seed=range(0,6)"], ["training.seed=range(0,5)"]], CONF, IDENTITY, 10)
