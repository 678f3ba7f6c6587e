"""The settings' loader: what it takes, and the one line that it gives for each thing it does not."""

import copy
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from visiongate.errors import SettingsError
from visiongate.settings.schema import Metric, Rule, load_settings, parse_settings

ROOT = Path(__file__).parents[2]
TREE = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
DELETE = object()
RULE = {"metric": "accuracy", "comparison": ">=", "threshold": 0.5}
VALUES = "true or false or a whole number or a number or text or a list, each a whole number"
RULE_KEYS = ", ".join(Rule.model_fields)
SECTIONS = ", ".join(TREE)


def changed(name: str, value: object) -> dict[str, Any]:
    """The committed settings with one replaced, or deleted, by dotted name."""
    tree: dict[str, Any] = copy.deepcopy(TREE)
    *sections, key = name.split(".")
    section = reduce(getitem, sections, tree)
    if value is DELETE:
        del section[key]
    else:
        section[key] = value
    return tree


def refusal(tree: object) -> str:
    """What the parser says against a tree."""
    with pytest.raises(SettingsError) as error:
        parse_settings(tree, "params.yaml")
    return str(error.value)


def leaves(node: object, name: str = "") -> Iterator[str]:
    """The dotted names of all the values."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{name}.{key}".removeprefix("."))
    else:
        yield name


def a_range(**changes: object) -> dict[str, object]:
    return {"setting": "model.lr", "kind": "float", "low": 0.1, "high": 0.2} | changes


BAD = {
    "a word for a number": ("model.lr", "abc", "model.lr = 'abc': must be a number greater than 0"),
    "a negative": ("model.lr", -1, "model.lr = -1: must be a number greater than 0"),
    "a flag for a number": ("model.lr", True, "model.lr = True: must be a number greater than 0"),
    "infinity": ("model.lr", math.inf, "model.lr = inf: must be a number greater than 0, and finite"),
    "not a number": ("model.lr", math.nan, "model.lr = nan: must be a number greater than 0, and finite"),
    "no epochs": ("training.epochs", 0, "training.epochs = 0: must be a whole number at least 1"),
    "half an epoch": ("training.epochs", 2.5, "training.epochs = 2.5: must be a whole number at least 1"),
    "a bound": ("model.momentum", 1, "model.momentum = 1: must be a number at least 0 and less than 1"),
    "two bounds": (
        "transformation.size",
        3,
        "transformation.size = 3: must be a whole number at least 4 and at most 1024",
    ),
    "no choice": ("transformation.mode", "CMYK", "transformation.mode = 'CMYK': must be one of L, RGB"),
    "a zero for null": (
        "training.patience",
        0,
        "training.patience = 0: must be a whole number at least 1 or null",
    ),
    "a name with a space": (
        "dataset.name",
        "my digits",
        "dataset.name = 'my digits': must be text matching ^[A-Za-z0-9][A-Za-z0-9_.-]*$",
    ),
    "a number for a section": ("gate", 3, "gate = 3: must be a mapping with rules, clean_tree"),
    "a number for rules": (
        "gate.rules",
        3,
        f"gate.rules = 3: must be a mapping, each value a mapping with {RULE_KEYS}; not empty",
    ),
    "a number for a rule": (
        "gate.rules.new",
        3,
        f"gate.rules.new = 3: must be a mapping with {RULE_KEYS}",
    ),
    "a wrong comparison": (
        "gate.rules.new",
        RULE | {"comparison": "="},
        "gate.rules.new.comparison = '=': must be one of >=, >, <=, < or null",
    ),
    "a metric that nobody measures": (
        "gate.rules.new",
        RULE | {"metric": "f2"},
        f"gate.rules.new.metric = 'f2': must be one of {', '.join(get_args(Metric))} or one of recall, precision, f1",
    ),
    "no rules": (
        "gate.rules",
        {},
        f"gate.rules = {{}}: must be a mapping, each value a mapping with {RULE_KEYS}; not empty",
    ),
    "a rule under a number": ("gate.rules", {1: RULE}, "gate.rules.1: a key must be text, not 1"),
    "no formats": (
        "validation.formats.allowed",
        [],
        "validation.formats.allowed = []: must be a list, each text; not empty",
    ),
    "a number among texts": (
        "validation.formats.allowed",
        ["PNG", 3],
        "validation.formats.allowed.1 = 3: must be text",
    ),
    "an option of a wrong kind": (
        "model.options",
        {"width": None},
        f"model.options.width = None: must be {VALUES}",
    ),
    "an option that is a list of words": (
        "model.options",
        {"widths": [1, "a"]},
        f"model.options.widths = [1, 'a']: must be {VALUES}",
    ),
    "a choice of a wrong kind": (
        "optimize.space.new",
        {"setting": "model.lr", "kind": "choice", "choices": [{}]},
        "optimize.space.new.choices.0 = {}: must be true or false or a whole number or a number or text or null",
    ),
    "an unknown key": ("gate.rule", 1, "gate.rule = 1: unknown key; gate has rules, clean_tree"),
    "an unknown key deep down": (
        "gate.rules.new",
        RULE | {"name": "x"},
        f"gate.rules.new.name = 'x': unknown key; gate.rules.new has {RULE_KEYS}",
    ),
    "an unknown section": ("lr", 0.1, f"lr = 0.1: unknown key; the file has {SECTIONS}"),
    "a missing key": ("model.lr", DELETE, "model.lr: missing; must be a number greater than 0"),
    "a missing section": ("gate", DELETE, "gate: missing; must be a mapping with rules, clean_tree"),
    "a value left open": (
        "model.lr",
        "???",
        "model.lr = '???': a value must be given: a number greater than 0",
    ),
    "a section left open": (
        "gate",
        "???",
        "gate = '???': a value must be given: a mapping with rules, clean_tree",
    ),
    "an option left open": (
        "model.options",
        {"width": "???"},
        f"model.options.width = '???': a value must be given: {VALUES}",
    ),
    "an entry left open": (
        "validation.formats.allowed",
        ["PNG", "???"],
        "validation.formats.allowed.1 = '???': a value must be given: text",
    ),
    "an unknown key left open": (
        "gate.rule",
        "???",
        "gate.rule = '???': unknown key; gate has rules, clean_tree",
    ),
    "bounds the wrong way round": (
        "validation.size",
        {"severity": "warning", "min_side": 9, "max_side": 8},
        "validation.size: min_side 9 is greater than max_side 8",
    ),
    "shares beyond one": (
        "transformation.split",
        {"train": 0.5, "val": 0.5, "test": 0.5, "seed": 0},
        "transformation.split: train + val + test is 1.5, and must be 1",
    ),
    "a log scale from zero": (
        "optimize.space.new",
        a_range(kind="log", low=0),
        "optimize.space.new: kind log takes `low` > 0, got 0",
    ),
    "a range the wrong way round": (
        "optimize.space.new",
        a_range(low=0.3),
        "optimize.space.new: kind float takes `low` < `high` and no `choices`",
    ),
    "a choice with bounds": (
        "optimize.space.new",
        a_range(kind="choice", choices=[1, 2]),
        "optimize.space.new: kind choice takes `choices` alone",
    ),
    "a search over nothing": (
        "optimize.space.new",
        a_range(setting="model.rate"),
        "optimize.space.new.setting = 'model.rate': there is no such setting",
    ),
    "a search over a section": (
        "optimize.space.new",
        a_range(setting="model"),
        "optimize.space.new.setting = 'model': there is no such setting",
    ),
    "a shift beyond the image": (
        "training.augmentation.shift",
        5000,
        f"training.augmentation.shift = 5000: must be less than half of transformation.size = {TREE['transformation']['size']}",
    ),
    "a hole beyond the image": (
        "training.augmentation.cutout",
        5000,
        f"training.augmentation.cutout = 5000: must be less than transformation.size = {TREE['transformation']['size']}",
    ),
    "smaller images that are larger": (
        "training.progressive.size",
        100,
        f"training.progressive.size = 100: must be less than transformation.size = {TREE['transformation']['size']}",
    ),
    "steps without milestones": (
        "model",
        {**TREE["model"], "schedule": "step", "milestones": []},
        "model: schedule step needs milestones that increase, not []",
    ),
    "a learning rate beyond all use": (
        "model",
        {**TREE["model"], "lr": 1e300},
        "model: lr 1e+300 is beyond all use; at most 1e+06",
    ),
    "a model of no kind": (
        "model",
        {"name": "small_cnn"},
        "model.kind: missing; must be one of network, baseline",
    ),
    "a baseline with a learning rate": (
        "model",
        {"kind": "baseline", "name": "random_forest", "options": {}, "lr": 0.1},
        "model.lr = 0.1: unknown key; model has kind, name, options",
    ),
}


@pytest.mark.parametrize(("name", "value", "line"), BAD.values(), ids=BAD)
def test_a_bad_setting_gives_one_line_with_key_value_and_what_is_allowed(
    name: str, value: object, line: str
) -> None:
    assert refusal(changed(name, value)) == f"params.yaml: {line}"


@pytest.mark.parametrize("name", list(leaves(TREE)))
def test_each_setting_refuses_what_is_of_no_kind(name: str) -> None:
    # A mapping is of no kind but for a section that may be null.
    value: object = ["no such"] if name == "registry.non_inferiority" else {"no": ["such"]}
    message = refusal(changed(name, value))
    assert message.startswith(f"params.yaml: {name} = {value}: must be ")
    assert "\n" not in message


@pytest.mark.parametrize("name", list(leaves(TREE)))
def test_each_setting_refuses_to_be_left_open(name: str) -> None:
    message = refusal(changed(name, "???"))
    assert message.startswith(f"params.yaml: {name} = '???': a value must be given: ")
    assert "\n" not in message


@pytest.mark.parametrize("tree", [None, 3, []])
def test_a_file_that_is_no_mapping_is_refused(tree: object) -> None:
    assert refusal(tree) == f"params.yaml: the file = {tree!r}: must be a mapping with {SECTIONS}"


def test_a_key_that_is_no_text_is_refused() -> None:
    assert refusal(TREE | {1: 2}) == "params.yaml: 1: a key must be text, not 1"


def test_each_mistake_has_a_line() -> None:
    tree = changed("model.lr", 0)
    tree["training"]["epochs"] = "many"
    assert refusal(tree).splitlines() == [
        "params.yaml: training.epochs = 'many': must be a whole number at least 1",
        "params.yaml: model.lr = 0: must be a number greater than 0",
    ]


@pytest.mark.parametrize(
    "dimension",
    [
        a_range(),
        a_range(kind="log"),
        {"setting": "model.options", "kind": "choice", "choices": [1, "a", 2.5]},
    ],
)
def test_a_complete_search_range_is_taken(dimension: dict[str, object]) -> None:
    settings = parse_settings(changed("optimize.space.new", dimension), "params.yaml")
    assert settings.optimize.space["new"].model_dump(exclude_none=True) == dimension


def test_the_committed_settings_load() -> None:
    assert load_settings(ROOT / "params.yaml").model_dump(exclude_unset=True) == TREE


def test_settings_cannot_be_changed() -> None:
    settings = parse_settings(TREE, "params.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        settings.model.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "1E-4", "0.0001", "1.e-4", "+1e-4"])
def test_a_number_may_be_written_in_any_way_that_hydra_and_dvc_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(changed("model.lr", "LR")).replace("LR", text), encoding="utf-8")
    assert load_settings(path).model.lr == 0.0001


def test_text_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(changed("dataset.name", "1e4-digits")), encoding="utf-8")
    assert load_settings(path).dataset.name == "1e4-digits"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"params\.yaml: no such file; `make params` composes it from conf/$"
    ):
        load_settings(tmp_path / "params.yaml")


@pytest.mark.parametrize("content", [b"model: [", b"model:\n\t- 1", b"model: \xff\xfe"])
def test_a_file_that_is_no_yaml_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"^[^\n]*params\.yaml: not valid YAML: [^\n]+$"):
        load_settings(tmp_path / "params.yaml")


def test_values_are_replaced_by_dotted_name() -> None:
    settings = parse_settings(TREE, "params.yaml")
    values = {"model.lr": 0.5, f"model.options.{next(iter(TREE['model']['options']))}": 7}
    replaced = settings.with_values(values, "trial 3")
    assert replaced.model.lr == 0.5
    assert next(iter(replaced.model.options.values())) == 7
    assert replaced.training == settings.training
    assert settings == parse_settings(TREE, "params.yaml")


@pytest.mark.parametrize(
    "name", ["model.rate", "model", "model.lr.x", "nothing.at.all", "model.options.absent"]
)
def test_replacing_what_does_not_exist_is_refused(name: str) -> None:
    settings = parse_settings(TREE, "params.yaml")
    with pytest.raises(SettingsError, match=f"^trial 3: {name}: there is no such setting$"):
        settings.with_values({name: 1}, "trial 3")


def test_replacing_by_what_is_not_allowed_is_refused() -> None:
    settings = parse_settings(TREE, "params.yaml")
    with pytest.raises(SettingsError, match=r"^trial 3: model\.lr = -1: must be a number greater than 0$"):
        settings.with_values({"model.lr": -1}, "trial 3")


def test_loading_imports_nothing_heavy() -> None:
    script = (
        "import sys; from pathlib import Path; from visiongate.settings.schema import load_settings; "
        "load_settings(Path(sys.argv[1])); print(*sorted(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script, str(ROOT / "params.yaml")],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    heavy = {
        "torch",
        "mlflow",
        "pandas",
        "numpy",
        "pyarrow",
        "PIL",
        "great_expectations",
        "sklearn",
        "hydra",
        "optuna",
    }
    assert "visiongate.settings.schema" in loaded
    assert heavy.isdisjoint(loaded)
