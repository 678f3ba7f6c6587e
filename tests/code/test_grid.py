import re
from pathlib import Path

import pytest
import yaml

from visiongate.errors import SettingsError
from visiongate.experiments.grid import Identity, plan_sweep, read_grid, read_list
from visiongate.settings.composition import compose_params, expand_sweeps

CONF = Path(__file__).parents[2] / "conf"
IDENTITY = Identity("try", "commit", "evaluate", "")


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
def test_a_sweep_is_every_combination(overrides: list[str], expected: list[list[str]]) -> None:
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
def test_what_is_no_sweep_is_told(override: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as told:
        expand_sweeps([override], 10)
    assert str(told.value).startswith(override)
    assert "\n" not in str(told.value)


def test_a_grid_is_split_as_a_shell_does() -> None:
    assert read_grid(" a=1,2  'b={c: 1}' # no") == [["a=1,2", "b={c: 1}"]]


@pytest.mark.parametrize("text", ["", "  ", "# only a comment"])
def test_an_empty_grid_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match="GRID is empty"):
        read_grid(text)


def test_a_quotation_without_an_end_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="GRID: a='1: no closing quotation"):
        read_grid("a='1")
    (tmp_path / "list").write_text('a=1\nb="2\n')
    with pytest.raises(SettingsError, match=r'list:2: b="2: no closing quotation'):
        read_list(tmp_path / "list")


def test_a_list_has_overrides_on_each_line(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(
        "# a comment\n\nmodel.lr=0.1,0.2 training.seed=1 # more\n\tmodel=simple_cnn\n"
    )
    assert read_list(tmp_path / "list") == [["model.lr=0.1,0.2", "training.seed=1"], ["model=simple_cnn"]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), (b"# none\n", "nothing to try"), (b"\xff\xfe", "not UTF-8 text")],
    ids=["missing", "empty", "binary"],
)
def test_a_list_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "my list"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"^LIST={re.escape(str(path))}: {reason}"):
        read_list(path)


def test_a_plan_composes_groups_and_names_each_by_what_it_comes_to() -> None:
    (small, simple) = plan_sweep([["model=small_cnn,simple_cnn", "model.lr=0.01"]], CONF, IDENTITY, 10)
    assert (small.label, simple.label) == ("model=small_cnn model.lr=0.01", "model=simple_cnn model.lr=0.01")
    assert re.fullmatch(r"try-[0-9a-f]{8}", small.name)
    (again,) = plan_sweep([["model.lr=1e-2"]], CONF, IDENTITY, 10)
    assert again.name == small.name  # small_cnn at this rate is what conf/ chooses
    others = [
        Identity("try", "another", "evaluate", ""),
        Identity("try", "commit", "train", ""),
        Identity("try", "commit", "evaluate", "+ a line"),
    ]
    names = {plan_sweep([["model.lr=0.01"]], CONF, other, 10)[0].name for other in others}
    assert len(names - {small.name}) == 3


def test_combinations_that_come_to_the_same_are_one() -> None:
    plan = plan_sweep([["model.lr=0.1,1e-1"], ["model.lr=0.10"]], CONF, IDENTITY, 10)
    assert [combination.label for combination in plan] == ["model.lr=0.1"]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("model.lr=0.1,abc", r"^model.lr=abc: .*model.lr = 'abc': must be a number greater than 0"),
        ("model.rate=0.1", r"^model.rate=0.1: .*rate"),
        ("model=no_such", r"^model=no_such: .*no_such"),
        ("training.seed=range(0,11)", "more than 10 combinations"),
    ],
)
def test_a_wrong_combination_is_told_before_anything_runs(override: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        plan_sweep([[override]], CONF, IDENTITY, 10)


def test_lines_together_may_be_too_many() -> None:
    with pytest.raises(SettingsError, match="11 combinations, more than 10"):
        plan_sweep([["training.seed=range(0,6)"], ["training.seed=range(0,5)"]], CONF, IDENTITY, 10)


def test_what_dvc_is_given_is_what_was_checked() -> None:
    (planned,) = plan_sweep([["model.lr=1e-3", "training=brief"]], CONF, IDENTITY, 10)
    tree = yaml.safe_load(compose_params(CONF, list(planned.overrides)))
    assert (tree["model"]["lr"], tree["training"]["epochs"]) == (0.001, 8)
