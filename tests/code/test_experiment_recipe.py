import shutil
from pathlib import Path

import pytest
import yaml

from visiongate.experiments.listing import leaves
from visiongate.experiments.recipe import RecipeError, check_recipe, find_recipe
from visiongate.settings.composition import compose_params

ROOT = Path(__file__).parents[2]
MARGIN = {"margin": 0.01, "gain": "size", "by": 0.2}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))


def composed(conf: Path, *overrides: str) -> dict[str, object]:
    return dict(leaves(yaml.safe_load(compose_params(conf, list(overrides)))))


@pytest.mark.parametrize(
    ("overrides", "choices", "values"),
    [
        (["model.lr=0.02", "training.patience=3"], [], {"model.lr": 0.02, "training.patience": 3}),
        (["model=random_forest"], [("model", "random_forest")], {}),
        (
            ["registry.non_inferiority={margin: 0.01, gain: size, by: 0.2}"],
            [],
            {f"registry.non_inferiority.{key}": value for key, value in MARGIN.items()},
        ),
        pytest.param(
            ["dataset=mnist", "model=speed_cnn", "training/augmentation=none", "model.options.stem=18"],
            [("dataset", "mnist"), ("model", "speed_cnn"), ("training/augmentation", "none")],
            {"model.options.stem": 18},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["values", "a group", "a section instead of null", "groups and a value"],
)
def test_recipe_chooses_groups_and_sets_the_remaining_values(
    conf: Path, overrides: list[str], choices: list[tuple[str, str]], values: dict[str, object]
) -> None:
    wanted = composed(conf, *overrides)
    recipe = find_recipe(conf, wanted)
    assert (list(recipe.choices), dict(recipe.values)) == (choices, values)
    path = conf / "experiment/found.yaml"
    path.write_text(recipe.format("# why\n"))
    assert path.read_text().startswith("# @package _global_\n# why\n")
    check_recipe(conf, "found", wanted)
    assert composed(conf, "experiment=found") == wanted


def test_recipe_of_the_current_parameters_is_empty(conf: Path) -> None:
    recipe = find_recipe(conf, composed(conf))
    assert recipe.format("") == "# @package _global_\n{}\n"


def test_surplus_setting_raises(conf: Path) -> None:
    wanted = composed(conf)
    del wanted["model.options.dropout"]
    with pytest.raises(RecipeError, match=r"model\.options\.dropout"):
        find_recipe(conf, wanted)


def test_recipe_that_composes_to_other_parameters_raises(conf: Path) -> None:
    (conf / "experiment/other.yaml").write_text("# @package _global_\nmodel: {lr: 0.5}\n")
    with pytest.raises(RecipeError, match=r"experiment=other: .*model\.lr"):
        check_recipe(conf, "other", composed(conf))


def test_groups_that_do_not_compose_raise(conf: Path) -> None:
    wanted = composed(conf)
    (conf / "model/base/recipe.yaml").write_text("lr: {\n")
    with pytest.raises(RecipeError, match="visiongate params"):
        find_recipe(conf, wanted)
