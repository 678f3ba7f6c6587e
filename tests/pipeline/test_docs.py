"""The README and the docs say what is true: its paths exist, its commands are known, its table names the stages."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from visiongate.compose import compose_params

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    "conf/dataset/flowers.yaml",
    "conf/model/wide_cnn.yaml",
    "data/downloads",
    "models/checkpoint.safetensors",
    "reports/experiments/index.html",
    "src/visiongate/models/networks/wide_cnn.py",
}
README = (ROOT / "README.md").read_text(encoding="utf-8")


DOCS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
DOCS["README.md"] = README


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


COMMANDS = sorted(
    {
        line.partition(" #")[0].strip()
        for text in DOCS.values()
        for block in blocks(text, "sh")
        for line in block.splitlines()
        if line.partition("#")[0].strip()
    }
)
TREE = next(block for block in blocks(README, "text") if "dvc.yaml" in block)


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


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if "-S" in command and "wide_cnn" not in command]
)
def test_an_experiment_composes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    overrides = [value for option, value in itertools.pairwise(words) if option == "-S"]
    assert "dataset:" in compose_params(Path("conf"), overrides)


def test_a_network_is_added_as_the_docs_say(tmp_path: Path, line_outputs: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copytree(line_outputs / "data/transformed", tmp_path / "data/transformed")
    for language, place in {
        "python": "src/visiongate/models/networks/{}.py",
        "yaml": "conf/model/{}.yaml",
    }.items():
        (content,) = blocks(DOCS["networks.md"], language)
        path = place.format("wide_cnn")
        assert f"`{path}`" in DOCS["networks.md"]
        (tmp_path / path).write_text(content, encoding="utf-8")
    command = next(command for command in COMMANDS if "wide_cnn" in command)
    words = shlex.split(command)
    overrides = [value for option, value in itertools.pairwise(words) if option == "-S"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "DVC_ROOT": str(tmp_path)}
    for arguments in (["-m", "visiongate.compose", *overrides, "training.epochs=1"], ["src/run.py", "train"]):
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
    made = json.loads((tmp_path / "models/model.json").read_text())
    assert (made["network"], made["options"]) == ("wide_cnn", {"width": 64})
    assert (tmp_path / "models/model.onnx").exists()


@pytest.mark.parametrize("name", DOCS)
def test_a_page_links_to_what_is_there(name: str) -> None:
    folder = ROOT if name == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\(([^)#]+)", DOCS[name]):
        assert target.startswith("https://") or (folder / target).exists(), target


def test_every_page_is_linked_to_from_another() -> None:
    linked = set(re.findall(r"\]\((?:docs/)?([\w-]+\.md)", "".join(DOCS.values())))
    assert linked == set(DOCS) - {"README.md"}


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
    for path in re.findall(r"`((?:src|data|reports|models|conf)/[\w./]*\w)`", "".join(DOCS.values())):
        declared = any(path.startswith(out) for out in re.findall(r"- ([\w./]+)", pipeline))
        assert (ROOT / path).exists() or declared or path in EXAMPLES or "NAME" in path, path


def test_the_expectations_in_the_docs_are_those_of_the_settings() -> None:
    conf = yaml.safe_load((ROOT / "conf/validation/default.yaml").read_text(encoding="utf-8"))
    told = re.findall(r"^\| `(\w+)` \|.*\| (.*?) ?\| (\w+) \|$", DOCS["validation.md"], flags=re.MULTILINE)
    assert [(name, severity) for name, _, severity in told] == [
        (name, values["severity"]) for name, values in conf.items()
    ]
    for name, default, _ in told:
        values = [value for key, value in conf[name].items() if key != "severity"]
        numbers = [float(number.replace(",", "")) for number in re.findall(r"[\d.,]*\d", default)]
        if default.endswith("%"):
            numbers = [number / 100 for number in numbers]
        words = [re.findall("[A-Z]+", default)]
        assert values == (numbers or ([] if words == [[]] else words)), name
