"""The loader of the settings: valid settings, and one line for each invalid one."""

import copy
import math
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from visiongate.errors import SettingsError
from visiongate.settings.loading import load_settings, parse_settings, replace_settings
from visiongate.settings.reference import PAGE, SCHEMA, render_reference, render_schema

ROOT = Path(__file__).parents[2]
TREE = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
DELETE = object()
REGENERATE = "run `python -m visiongate.settings.reference`"
RULE = {"metric": "accuracy", "comparison": ">=", "threshold": 0.5}


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
    """Return the message for an invalid tree."""
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


# A setting, an invalid value, and the key that the message names.
INVALID = {
    "text for a number": ("model.lr", "abc", "model.lr = 'abc'"),
    "a negative rate": ("model.lr", -1, "model.lr = -1"),
    "a boolean for a number": ("model.lr", True, "model.lr = True"),
    "infinity": ("model.lr", math.inf, "model.lr = inf"),
    "not a number": ("model.lr", math.nan, "model.lr = nan"),
    "no epochs": ("training.epochs", 0, "training.epochs = 0"),
    "half an epoch": ("training.epochs", 2.5, "training.epochs = 2.5"),
    "an upper bound": ("model.momentum", 1, "model.momentum = 1"),
    "a lower bound": ("transformation.size", 3, "transformation.size = 3"),
    "an unknown choice": ("transformation.mode", "CMYK", "transformation.mode = 'CMYK'"),
    "zero for null": ("training.patience", 0, "training.patience = 0"),
    "a name with a space": ("dataset.name", "my digits", "dataset.name = 'my digits'"),
    "a number for a section": ("gate", 3, "gate = 3"),
    "a number for rules": ("gate.rules", 3, "gate.rules = 3"),
    "a number for a rule": ("gate.rules.new", 3, "gate.rules.new = 3"),
    "an unknown comparison": (
        "gate.rules.new",
        RULE | {"comparison": "="},
        "gate.rules.new.comparison = '='",
    ),
    "an unknown metric": ("gate.rules.new", RULE | {"metric": "f2"}, "gate.rules.new.metric = 'f2'"),
    "an unknown monitor": ("training.monitor", "accuracy", "training.monitor = 'accuracy'"),
    "no rules": ("gate.rules", {}, "gate.rules"),
    "a rule under a number": ("gate.rules", {1: RULE}, "gate.rules.1 = 1"),
    "no formats": ("validation.formats.allowed", [], "validation.formats.allowed = []"),
    "a number among texts": ("validation.formats.allowed", ["PNG", 3], "validation.formats.allowed.1 = 3"),
    "an option that is null": ("model.options", {"width": None}, "model.options.width = None"),
    "an unknown key": ("gate.rule", 1, "gate.rule = 1"),
    "an unknown key of a rule": ("gate.rules.new", RULE | {"name": "x"}, "gate.rules.new.name = 'x'"),
    "an unknown section": ("lr", 0.1, "lr = 0.1"),
    "a missing key": ("model.lr", DELETE, "model.lr"),
    "a missing section": ("gate", DELETE, "gate"),
    "a required value": ("model.lr", "???", "model.lr"),
    "a required entry": ("validation.formats.allowed", ["PNG", "???"], "validation.formats.allowed.1"),
    "bounds in the wrong order": (
        "validation.size",
        {"severity": "warning", "min_side": 9, "max_side": 8},
        "validation.size",
    ),
    "shares above one": (
        "transformation.split",
        {"method": "auto", "train": 0.5, "val": 0.5, "test": 0.5, "seed": 0},
        "transformation.split",
    ),
    "a log range from zero": ("optimize.space.new", a_range(kind="log", low=0), "optimize.space.new"),
    "a range in the wrong order": ("optimize.space.new", a_range(low=0.3), "optimize.space.new"),
    "a start outside the range": ("optimize.space.new", a_range(start=[0.1, 0.3]), "optimize.space.new"),
    "a start that is no number": ("optimize.space.new", a_range(start=["0.1"]), "optimize.space.new"),
    "choices with bounds": ("optimize.space.new", a_range(kind="choice", choices=[1]), "optimize.space.new"),
    "a search over an absent setting": (
        "optimize.space.new",
        a_range(setting="model.rate"),
        "optimize.space.new.setting",
    ),
    "a search over a section": ("optimize.space.new", a_range(setting="model"), "optimize.space.new.setting"),
    "a shift larger than the image": (
        "training.augmentation.shift",
        5000,
        "training.augmentation.shift = 5000",
    ),
    "a hole larger than the image": (
        "training.augmentation.cutout",
        5000,
        "training.augmentation.cutout = 5000",
    ),
    "a larger first size": ("training.progressive.size", 100, "training.progressive.size = 100"),
    "unfreezing with a rate of 0": (
        "model",
        {**TREE["model"], "backbone_lr": 0.0, "unfreeze_after": 3},
        "model",
    ),
    "steps without milestones": ("model", {**TREE["model"], "schedule": "step", "milestones": []}, "model"),
    "an extreme learning rate": ("model", {**TREE["model"], "lr": 1e300}, "model"),
    "a model without a kind": ("model", {"name": "small_cnn"}, "model"),
    "a baseline with a learning rate": (
        "model",
        {"kind": "baseline", "name": "random_forest", "options": {}, "lr": 0.1},
        "model.lr = 0.1",
    ),
    "a password": ("optimize.storage", "mysql://me:secret@host/db", "optimize"),
}


@pytest.mark.parametrize(("name", "value", "key"), INVALID.values(), ids=INVALID)
def test_an_invalid_setting_gives_one_line_with_its_key(name: str, value: object, key: str) -> None:
    message = refusal(changed(name, value))
    assert message.startswith(
        tuple(f"params.yaml: {key}{end}" for end in (": ", " is invalid: ", " must be "))
    )
    assert "\n" not in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("protocol", "method"),
    [("cross_validation", "hash"), ("cross_validation", "stratified"), ("holdout", "kfold")],
)
def test_a_protocol_and_a_method_that_exclude_each_other_are_both_named(protocol: str, method: str) -> None:
    tree = changed("evaluation.protocol", protocol)
    tree["transformation"]["split"]["method"] = method
    expected = (
        f"params.yaml: evaluation.protocol = {protocol}: transformation.split.method = {method} contradicts"
    )
    assert refusal(tree).startswith(expected)


def test_an_unknown_key_lists_the_known_ones() -> None:
    assert refusal(changed("gate.rule", 1)).endswith(": unknown key; did you mean rules?")
    assert refusal(changed("gate.limit", 1)).endswith("choose one of rules")
    assert "backbone_lr" in refusal(changed("model.rate", 1))
    assert "max_drop" in refusal(changed("gate.rules.new", RULE | {"name": "x"}))
    assert refusal(changed("lr", 1)).endswith(", ".join(TREE))


@pytest.mark.parametrize("name", list(leaves(TREE)))
def test_each_setting_has_a_type(name: str) -> None:
    # A mapping is invalid for every setting but a section that may be null.
    value: object = ["absent"] if name == "registry.non_inferiority" else {"no": ["such"]}
    message = refusal(changed(name, value))
    # An invalid kind is reported at the section that it selects.
    assert message.startswith(f"params.yaml: {name.removesuffix('.kind')}")
    assert "\n" not in message


@pytest.mark.parametrize("name", list(leaves(TREE)))
def test_each_setting_can_be_required(name: str) -> None:
    assert refusal(changed(name, "???")) == f"params.yaml: {name}: a value is required"


@pytest.mark.parametrize("tree", [None, 3, []])
def test_a_file_that_is_not_a_mapping_is_refused(tree: object) -> None:
    assert refusal(tree).startswith(f"params.yaml: the file = {tree!r} is invalid")


def test_a_key_that_is_not_text_is_refused() -> None:
    assert refusal(TREE | {1: 2}).startswith("params.yaml: 1 = 1 is invalid")


def test_each_invalid_setting_has_a_line() -> None:
    tree = changed("model.lr", 0)
    tree["training"]["epochs"] = "many"
    starts = [line.partition(" is invalid")[0] for line in refusal(tree).splitlines()]
    assert starts == ["params.yaml: training.epochs = 'many'", "params.yaml: model.lr = 0"]


@pytest.mark.parametrize(
    "dimension",
    [
        a_range(),
        a_range(kind="log"),
        a_range(start=[0.2, 0.15]),
        {"setting": "model.options", "kind": "choice", "choices": [1, "a", 2.5], "start": ["a"]},
    ],
)
def test_a_complete_search_range_is_accepted(dimension: dict[str, object]) -> None:
    settings = parse_settings(changed("optimize.space.new", dimension), "params.yaml")
    assert settings.optimize.space["new"].model_dump(exclude_unset=True) == dimension


def test_the_committed_settings_load() -> None:
    assert load_settings(ROOT / "params.yaml").model_dump(exclude_unset=True) == TREE


def test_settings_cannot_be_changed() -> None:
    settings = parse_settings(TREE, "params.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        settings.model.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(("name", "kind"), [(True, "a truth value"), (1, "a number"), (1e3, "a number")])
def test_class_names_without_quotes_are_refused_with_the_fix(name: object, kind: str) -> None:
    message = refusal(TREE | {"dataset": TREE["dataset"] | {"classes": ["a", name]}})
    assert f"YAML reads a name without quotes as {kind}; put class names in quotes" in message


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "1E-4", "0.0001", "1.e-4", "+1e-4"])
def test_numbers_are_those_that_hydra_and_dvc_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(changed("model.lr", "LR")).replace("LR", text), encoding="utf-8")
    assert load_settings(path).model.lr == 0.0001


def test_text_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(changed("dataset.name", "1e4-digits")), encoding="utf-8")
    assert load_settings(path).dataset.name == "1e4-digits"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"params\.yaml: no such file"):
        load_settings(tmp_path / "params.yaml")


@pytest.mark.parametrize("content", [b"model: [", b"model:\n\t- 1", b"model: \xff\xfe"])
def test_an_invalid_file_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"^[^\n]*params\.yaml: invalid YAML: [^\n]+$"):
        load_settings(tmp_path / "params.yaml")


def test_values_are_replaced_by_dotted_name() -> None:
    settings = parse_settings(TREE, "params.yaml")
    values = {"model.lr": 0.5, f"model.options.{next(iter(TREE['model']['options']))}": 7}
    replaced = replace_settings(settings, values, "trial 3")
    assert replaced.model.lr == 0.5
    assert next(iter(replaced.model.options.values())) == 7
    assert replaced.training == settings.training
    assert settings == parse_settings(TREE, "params.yaml")


@pytest.mark.parametrize(
    "name", ["model.rate", "model", "model.lr.x", "nothing.at.all", "model.options.absent"]
)
def test_replacing_an_absent_setting_is_refused(name: str) -> None:
    settings = parse_settings(TREE, "params.yaml")
    with pytest.raises(SettingsError, match=f"^trial 3: {name}: "):
        replace_settings(settings, {name: 1}, "trial 3")


def test_replacing_by_an_invalid_value_is_refused() -> None:
    settings = parse_settings(TREE, "params.yaml")
    with pytest.raises(SettingsError, match=r"^trial 3: model\.lr = -1 is invalid"):
        replace_settings(settings, {"model.lr": -1}, "trial 3")


def test_the_reference_and_the_schema_are_current() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == render_reference(ROOT / "conf"), REGENERATE
    assert (ROOT / SCHEMA).read_text(encoding="utf-8") == render_schema(), REGENERATE


@pytest.mark.parametrize("name", list(leaves(TREE)))
def test_each_setting_is_in_the_reference(name: str) -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    parts = name.split(".")
    candidates = {
        name,
        *(".".join([*parts[:index], "NAME", *parts[index + 1 :]]) for index in range(len(parts))),
    }
    candidates |= {".".join(parts[:index]) for index in range(2, len(parts))}
    assert any(f"| `{candidate}` |" in page for candidate in candidates)
