"""The README and the docs are correct: paths and commands exist, links are valid, and tables match the settings."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from command_line import run_cli
from doc_commands import COMMANDS, PAGES, README, blocks, files_to_write, overrides_of
from visiongate.models.registry import build_baseline, build_network
from visiongate.settings.composition import compose_params
from visiongate.settings.loading import parse_settings
from visiongate.settings.model import Baseline

ROOT = Path(__file__).parents[2]
# Files that are not outputs of a stage.
CREATED = {
    "data/collected",
    "data/collected.dvc",
    "data/downloads",
    "models/checkpoint.safetensors",
    "reports/collect/doubtful.csv",
    "reports/collect/index.html",
    "reports/experiments/index.html",
    "reports/labeling/index.html",
    "reports/labeling/label_next.csv",
    "reports/runs.js",
    "reports/report.md",
}
CLI_COMMANDS = sorted(
    {
        part.strip()
        for command in COMMANDS
        for part in command.split("&&")
        # kubectl's have a namespace and objects of this name.
        if "visiongate " in part and not part.lstrip().startswith("kubectl ")
    }
)
# In the text, a command may lack its arguments.
MENTIONED = sorted(set(re.findall(r"`visiongate ([a-z-]+(?: [a-z]+)?)", "".join(PAGES.values()))))
TREE = next(block for block in blocks(README, "text") if "dvc.yaml" in block)
# Of the README.
MAX_LINES = 165


class Accepting:
    """A command's module, all of whose functions accept any options."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda **_options: 0


@pytest.fixture(scope="session")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Code and settings, with the files that the docs have the reader write."""
    folder = tmp_path_factory.mktemp("followed")
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path, content in files_to_write().items():
        (folder / path).write_text(content, encoding="utf-8")
    return folder


def test_commands_and_files_are_found_in_the_docs() -> None:
    assert {"make repro", "make test", "dvc exp run -S model.lr=1e-4", "dvc pull"} <= set(COMMANDS)
    assert {path.split("/")[1] for path in files_to_write()} == {"dataset", "gate", "model", "visiongate"}
    assert len(CLI_COMMANDS) > 15


def test_each_make_target_exists() -> None:
    text = "\n".join([*COMMANDS, *re.findall(r"`(make [^`]+)`", "".join(PAGES.values()))])
    called = set(re.findall(r"\bmake (?:-C ([\w/]+) )?([a-z-]+)\b", text))
    assert {"test", "repro"} <= {target for _, target in called}
    for folder, target in called:
        makefile = (ROOT / folder / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), f"make -C {folder or '.'} {target}"


@pytest.mark.parametrize("command", CLI_COMMANDS)
def test_each_command_line_is_accepted(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr("visiongate.cli.import_module", lambda name: called.append(name) or Accepting())
    words = shlex.split(command)
    assert run_cli(*words[words.index("visiongate") + 1 :]) == 0
    assert called or "--help" in words


@pytest.mark.parametrize("command", MENTIONED)
def test_each_command_in_the_text_exists(command: str) -> None:
    assert run_cli(*command.split(), "--help") == 0


@pytest.mark.no_cover
@pytest.mark.parametrize("command", [command for command in COMMANDS if overrides_of(command)])
def test_an_experiment_composes_to_a_valid_model(command: str, followed: Path) -> None:
    overrides = overrides_of(command)
    settings = parse_settings(yaml.safe_load(compose_params(followed / "conf", overrides)), "conf/")
    model = settings.model
    if model.name == "wide_cnn" or model.options.get("weights") == "imagenet":
        # This process does not have the network; the weights would be downloaded.
        return
    if isinstance(model, Baseline):
        build_baseline(model.name, model.options, 0)
    else:
        channels = {"L": 1, "RGB": 3}[settings.transformation.mode]
        build_network(model.name, model.options, channels, settings.transformation.size, 10)


@pytest.mark.parametrize("name", PAGES)
def test_code_in_a_page_parses(name: str) -> None:
    for block in blocks(PAGES[name], "python"):
        compile(block, name, "exec")
    for block in blocks(PAGES[name], "yaml"):
        assert isinstance(yaml.safe_load(block), dict)


@pytest.mark.slow
def test_the_documented_network_trains(followed: Path, tmp_path: Path, pipeline_outputs: Path) -> None:
    shutil.copytree(followed, tmp_path, dirs_exist_ok=True)
    shutil.copytree(pipeline_outputs / "data/transformed", tmp_path / "data/transformed")
    command = next(command for command in COMMANDS if "wide_cnn" in command)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "DVC_ROOT": str(tmp_path)}
    compose = ["-m", "visiongate", "params", *overrides_of(command), "training.epochs=1"]
    for arguments in (compose, ["src/run.py", "train"]):
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


def test_the_readme_is_short_and_shows_the_report_and_the_service() -> None:
    assert len(README.splitlines()) <= MAX_LINES
    pictures = re.findall(r"!\[[^\]]{20,}\]\(([^)]+)\)", README)
    assert pictures == ["docs/pictures/report.png", "docs/pictures/serving.png"]
    assert all((ROOT / picture).stat().st_size < 150_000 for picture in pictures)


@pytest.mark.parametrize("name", PAGES)
def test_links_between_pages_are_valid(name: str) -> None:
    folder = ROOT if name == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\(([^)#]+)", PAGES[name]):
        assert target.startswith("https://") or (folder / target).exists(), target


def test_every_page_is_linked_to_from_another() -> None:
    linked = set(re.findall(r"\]\((?:docs/)?([\w-]+\.md)", "".join(PAGES.values())))
    assert linked == set(PAGES) - {"README.md"}


def test_the_repository_layout_is_complete() -> None:
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


def test_the_readme_lists_the_stages_in_order() -> None:
    stages = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE) == stages


def test_paths_in_the_text_are_declared_or_tracked() -> None:
    pipeline = (ROOT / "dvc.yaml").read_text()
    written = {*CREATED, *files_to_write()}
    for path in re.findall(r"`((?:src|data|reports|models|conf)/[\w./]*\w)`", "".join(PAGES.values())):
        declared = any(
            path.startswith(out) for out in re.findall(r"(?:data|models|reports)/[\w./]+", pipeline)
        )
        assert (ROOT / path).exists() or declared or path in written or "NAME" in path, path


def test_the_expectations_in_the_docs_are_those_of_the_settings() -> None:
    conf = yaml.safe_load((ROOT / "conf/validation/default.yaml").read_text(encoding="utf-8"))
    documented = re.findall(
        r"^\| `(\w+)` \|.*\| (.*?) ?\| (\w+) \|$", PAGES["validation.md"], flags=re.MULTILINE
    )
    assert [(name, severity) for name, _, severity in documented] == [
        (name, values["severity"]) for name, values in conf.items()
    ]
    for name, default, _ in documented:
        values = [value for key, value in conf[name].items() if key != "severity"]
        if values and isinstance(values[0], list):
            assert default.split(", ") == values[0], name
            continue
        numbers = [float(number.replace(",", "")) for number in re.findall(r"[\d.,]*\d", default)]
        assert values == [number / 100 if default.endswith("%") else number for number in numbers], name
