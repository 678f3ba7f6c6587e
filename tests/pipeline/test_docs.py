"""The README says what is true: its paths exist, its commands are known, its table names the stages."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = [
    line.partition("#")[0].strip()
    for block in blocks("sh")
    for line in block.splitlines()
    if line.partition("#")[0].strip()
]
TREE = next(block for block in blocks("text") if "dvc.yaml" in block)


def test_there_are_commands_to_check() -> None:
    assert {"make repro", "make test", "dvc exp run -S model.lr=1e-4", "dvc pull"} <= set(COMMANDS)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_a_make_target_exists(command: str) -> None:
    target = shlex.split(command)[1]
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("dvc ")])
def test_a_dvc_command_and_its_options_exist(command: str) -> None:
    words = shlex.split(command)[1:]
    name = [word for word in words[:2] if re.fullmatch("[a-z]+", word)]
    told = subprocess.run(
        [sys.executable, "-m", "dvc", *name, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(word in told for word in words if word.startswith("-"))


@pytest.mark.parametrize("override", re.findall(r"-S (\S+)=(\S+)", README))
def test_an_override_names_a_setting_or_a_group(override: tuple[str, str]) -> None:
    name, value = override
    if "." in name:
        node = yaml.safe_load((ROOT / "params.yaml").read_text())
        for part in name.split("."):
            node = node[part]
    else:
        assert (ROOT / "conf" / name / f"{value}.yaml").exists()


def test_the_tree_is_there_and_whole() -> None:
    named = re.findall(
        r"(?:^|  )((?:\.dvc/|[A-Za-z_])[\w./]*(?:/|\.\w+)|Makefile)(?=\s)", TREE, flags=re.MULTILINE
    )
    generated = {"data/", "models/", "reports/"}
    assert len(named) >= 12
    assert all(name in generated or (ROOT / name).exists() for name in named), named
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {
        f"{path.split('/')[0]}/" for path in listed.split() if "/" in path and not path.startswith(".")
    }
    assert folders - {"src/", "docs/"} <= set(named)


def test_the_stages_are_those_of_the_line_in_order() -> None:
    stages = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE) == stages


def test_paths_in_the_text_are_declared_or_tracked() -> None:
    pipeline = (ROOT / "dvc.yaml").read_text()
    for path in re.findall(r"`((?:src|data|reports|models|conf)/[\w./]*\w)`", README):
        assert (ROOT / path).exists() or path in pipeline or "NAME" in path, path
