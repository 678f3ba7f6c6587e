"""``dvc.yaml``, ``params.yaml`` and the code agree.

DVC reruns a stage when a file of its ``deps`` or a setting of its ``params`` changes. A missing entry silently
reruns nothing, and a surplus entry reruns too much. So both lists are compared with the imports and settings of the code.
"""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import run

ROOT = Path(__file__).parents[2]
PACKAGE = "visiongate"
SOURCE = Path("src", PACKAGE)
# The values of settings and paths are params, deps and outs. The other modules change no output.
EXEMPT = tuple(
    file.relative_to(ROOT)
    for module in (
        "adapters",
        "engine",
        "settings",
        "cores.py",
        "errors.py",
        "logs.py",
        "paths.py",
        "text_tables.py",
        "user_cache.py",
    )
    for file in (
        [ROOT / SOURCE / module] if module.endswith(".py") else (ROOT / SOURCE / module).rglob("*.py")
    )
)
# Sections that change no output.
NO_STAGE = {"debug", "engine", "monitoring", "serving", "tracking"}
NOT_MADE = {
    "params.yaml",
    "dvc.lock",
    "data/collected",
    "data/downloads",
    "logs/lr_range.png",
    "logs/tensorboard",
    "models/checkpoint.safetensors",
    "reports/collect",
    "reports/experiments",
    "reports/labeling",
    "reports/report.md",
}


def read_stages(root: Path) -> dict[str, dict[str, Any]]:
    stages: dict[str, dict[str, Any]] = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))[
        "stages"
    ]
    return stages


STAGES = read_stages(ROOT)


# Imports of the code


def parse(path: Path) -> ast.Module:
    return parse_text(path.read_text(encoding="utf-8"))


@cache
def parse_text(text: str) -> ast.Module:
    """Parse a text once, also if it is in several folders."""
    return ast.parse(text)


def module_file(root: Path, name: str) -> Path | None:
    """Find a module of the package, relative to the root."""
    path = Path("src", *name.split("."))
    return next(
        (file for file in (path.with_suffix(".py"), path / "__init__.py") if (root / file).exists()), None
    )


def walk_executed(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a syntax tree, without the branches for type checkers."""
    yield node
    for child in ast.iter_child_nodes(node):
        if (
            isinstance(node, ast.If)
            and child in node.body
            and ast.unparse(node.test).endswith("TYPE_CHECKING")
        ):
            continue
        yield from walk_executed(child)


@cache
def imported_names(tree: ast.Module) -> set[str]:
    """Return the modules of the package that a module imports, and the names that it imports from them."""
    names: set[str] = set()
    for node in walk_executed(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import is not followed here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == PACKAGE}


@cache
def imports_by_name(tree: ast.Module) -> bool:
    """Return whether a module imports others by a computed name."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return any(ast.unparse(call).endswith(("import_module", "__import__")) for call in calls)


def imported_files(root: Path, file: Path) -> set[Path]:
    """Find the files that importing one executes next, packages on the way included."""
    tree = parse(root / file)
    files: set[Path] = set()
    for name in imported_names(tree):
        parts = name.split(".")
        found = [module_file(root, ".".join(parts[: depth + 1])) for depth in range(len(parts))]
        files |= {path for path in found if path is not None}
        if found[-1] is not None and found[-1].name == "__init__.py" and imports_by_name(tree):
            files |= {path.relative_to(root) for path in (root / found[-1].parent).rglob("*.py")}
    return files


@cache
def string_constants(tree: ast.Module) -> set[str]:
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def named_templates(root: Path, file: Path) -> set[Path]:
    """Find the templates that a module or a template names, and those that they extend or include."""
    text = (root / file).read_text(encoding="utf-8")
    if file.suffix == ".py":
        names = string_constants(parse(root / file))
    else:
        names = set(re.findall(r"{%-?\s*(?:extends|include|import|from)\s+[\"']([^\"']+)", text))
    named = {SOURCE / name for name in names if re.fullmatch(r"[a-z_]+/[a-z_]+\.(html|md)", name)}
    files = {file for file in named if (root / file).exists()}
    return files.union(*(named_templates(root, template) for template in files))


def closure(root: Path, start: Path, stop: Iterable[Path]) -> set[Path]:
    """Follow imports and templates from a file; those to stop at are neither followed nor returned."""
    waiting, seen = [start], set(stop)
    reached: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        reached.add(file)
        waiting += imported_files(root, file)
    return reached.union(*(named_templates(root, file) for file in reached))


def has_code(root: Path, file: Path) -> bool:
    """Return whether a file is more than a docstring."""
    return file.suffix != ".py" or any(not isinstance(node, ast.Expr) for node in parse(root / file).body)


def open_dep(root: Path, dep: str) -> set[Path]:
    """List the source files of a dep: those in a folder, or the file itself."""
    files = {file.relative_to(root) for file in (root / dep).rglob("*.*") if file.suffix != ".pyc"}
    return files or {Path(dep)}


def listed_sources(root: Path, name: str) -> dict[str, set[Path]]:
    """List the source files of each dep of a stage."""
    deps = read_stages(root)[name].get("deps", [])
    return {dep: open_dep(root, dep) for dep in deps if dep.startswith("src/")}


def stage_module(name: str) -> Path:
    return SOURCE / run.STAGES[name] / "stage.py"


def missing_deps(root: Path, name: str) -> set[str]:
    """Find the sources that a stage executes and does not list."""
    needed = closure(root, stage_module(name), EXEMPT)
    listed = set().union(*listed_sources(root, name).values())
    return {file.as_posix() for file in needed - listed if has_code(root, file)}


def surplus_deps(root: Path, name: str) -> set[str]:
    """Find the deps of a stage that it does not execute."""
    executed = closure(root, stage_module(name), EXEMPT)
    return {dep for dep, files in listed_sources(root, name).items() if not files & executed}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_lists_all_the_sources_that_it_executes(name: str) -> None:
    assert missing_deps(ROOT, name) == set()


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_lists_no_source_that_it_does_not_execute(name: str) -> None:
    assert surplus_deps(ROOT, name) == set()


# Settings


def leaf_names(node: object, name: str = "") -> Iterator[str]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaf_names(value, f"{name}.{key}".removeprefix("."))
    else:
        yield name


def read_leaves(root: Path) -> list[str]:
    return list(leaf_names(yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))))


def covers(key: str, name: str) -> bool:
    return name == key or name.startswith(f"{key}.")


def unknown_params(root: Path) -> set[str]:
    """Find the params of stages that ``params.yaml`` lacks."""
    keys = {key for stage in read_stages(root).values() for key in stage.get("params", [])}
    return {key for key in keys if not any(covers(key, leaf) for leaf in read_leaves(root))}


def settings_without_rerun(root: Path) -> set[str]:
    """Find the settings whose change reruns nothing."""
    keys = {key for stage in read_stages(root).values() for key in stage.get("params", [])} | NO_STAGE
    return {leaf for leaf in read_leaves(root) if not any(covers(key, leaf) for key in keys)}


def declared_settings(root: Path) -> Iterator[tuple[str, str]]:
    """Yield class and field of all the sections in the settings module."""
    sections = {"Section"}
    for node in parse(root / "src/visiongate/settings/schema.py").body:
        if isinstance(node, ast.ClassDef) and sections & {ast.unparse(base) for base in node.bases}:
            sections.add(node.name)
            fields = (item.target for item in node.body if isinstance(item, ast.AnnAssign))
            yield from ((node.name, field.id) for field in fields if isinstance(field, ast.Name))


def unread_settings(root: Path) -> set[str]:
    """Find the fields that no code outside the settings module reads."""
    files = [file for file in (root / "src").rglob("*.py") if file.relative_to(root) not in EXEMPT]
    nodes = (node for file in files for node in ast.walk(parse(file)) if isinstance(node, ast.Attribute))
    read = {node.attr for node in nodes}
    return {f"{section}.{field}" for section, field in declared_settings(root) if field not in read}


def test_the_params_of_stages_exist() -> None:
    assert unknown_params(ROOT) == set()


def test_a_change_of_any_setting_reruns_a_stage() -> None:
    assert settings_without_rerun(ROOT) == set()


def test_each_setting_is_read_somewhere() -> None:
    assert unread_settings(ROOT) == set()


# Outputs of the stages


def entry_path(entry: str | dict[str, Any]) -> Path:
    return Path(entry if isinstance(entry, str) else next(iter(entry)))


def undeclared_paths(root: Path) -> set[str]:
    """Find the paths that the code names and no stage declares."""
    kinds = ("deps", "outs", "metrics", "plots")
    stages = read_stages(root).values()
    declared = {entry_path(entry) for stage in stages for kind in kinds for entry in stage.get(kind, [])}
    calls = [node for node in ast.walk(parse(root / SOURCE / "paths.py")) if isinstance(node, ast.Call)]
    named = {Path(ast.literal_eval(call.args[0])) for call in calls if ast.unparse(call.func) == "Path"}
    return {path.as_posix() for path in named if not declared & {path, *path.parents}} - NOT_MADE


def test_each_path_in_the_code_is_declared() -> None:
    assert undeclared_paths(ROOT) == set()


def test_the_stages_are_those_of_the_entry_script() -> None:
    assert tuple(STAGES) == tuple(run.STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_described_and_run_by_the_entry_script(name: str) -> None:
    assert STAGES[name]["cmd"] == f"python src/run.py {name}"
    assert STAGES[name]["desc"]


def test_git_tracks_only_the_outputs_without_cache() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "data", "models", "reports"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    entries = [
        entry for stage in STAGES.values() for kind in ("outs", "metrics") for entry in stage.get(kind, [])
    ]
    left = {str(path) for entry in entries if isinstance(entry, dict) for path in entry}
    written_by_people = {"data/collected.csv", "data/corrections.csv"}
    assert {name for name in listed if not name.endswith(".gitignore")} == left | written_by_people


# Tests of the checks


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the files that the checks read, which a test may break."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def append(file: Path, text: str) -> None:
    file.write_text(f"{file.read_text(encoding='utf-8')}\n{text}\n", encoding="utf-8")


def change_stage(root: Path, name: str, **changes: object) -> None:
    content = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    content["stages"][name] |= changes
    (root / "dvc.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "import visiongate.images.added",
        "import visiongate.images.added as other",
        "from visiongate.images import added",
        "from visiongate.images.added import something",
        "def late():\n    from visiongate.images.added import something",
        "import importlib\nfrom visiongate import images\nimportlib.import_module(f'{images.__name__}.{1}')",
    ],
)
@pytest.mark.parametrize("file", ["ingestion/stage.py", "ingestion/opening.py"])
def test_an_import_without_a_dep_is_detected(copy: Path, file: str, text: str) -> None:
    (copy / "src/visiongate/images/added.py").write_text(
        "from visiongate.images import beyond\n", encoding="utf-8"
    )
    (copy / "src/visiongate/images/beyond.py").write_text("something = 1\n", encoding="utf-8")
    before = missing_deps(copy, "ingestion")
    append(copy / "src/visiongate" / file, text)
    detected = missing_deps(copy, "ingestion") - before
    assert detected >= {"src/visiongate/images/added.py", "src/visiongate/images/beyond.py"}


def test_a_package_with_code_is_detected(copy: Path) -> None:
    before = missing_deps(copy, "ingestion")
    append(copy / "src/visiongate/images/__init__.py", "something = 1")
    assert missing_deps(copy, "ingestion") - before == {"src/visiongate/images/__init__.py"}


def test_imports_for_type_checking_are_ignored(copy: Path) -> None:
    before = missing_deps(copy, "ingestion")
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from visiongate.images import splits"
    append(copy / "src/visiongate/ingestion/stage.py", text)
    assert missing_deps(copy, "ingestion") == before


def test_a_template_without_a_dep_is_detected(copy: Path) -> None:
    (copy / SOURCE / "pages/added.html").write_text('{% extends "pages/base.html" %}', encoding="utf-8")
    before = missing_deps(copy, "ingestion")
    append(copy / "src/visiongate/ingestion/stage.py", 'PAGE = "pages/added.html"')
    assert missing_deps(copy, "ingestion") - before == {
        f"{SOURCE}/pages/added.html",
        f"{SOURCE}/pages/base.html",
    }


@pytest.mark.parametrize(
    "dep", ["src/visiongate/images/splits.py", "src/visiongate/evaluation", "src/visiongate/gone.py"]
)
def test_a_dep_without_an_import_is_detected(copy: Path, dep: str) -> None:
    deps = read_stages(copy)["ingestion"]["deps"]
    change_stage(copy, "ingestion", deps=[*deps, dep])
    assert surplus_deps(copy, "ingestion") == {dep}


def test_a_new_network_belongs_to_the_stages_that_train(copy: Path) -> None:
    (copy / "src/visiongate/models/networks/added.py").write_text("something = 1\n", encoding="utf-8")
    for name in ("train", "optimize"):
        assert missing_deps(copy, name) == set()
        assert any(
            "networks/added.py" in str(file)
            for files in listed_sources(copy, name).values()
            for file in files
        )


def test_an_unknown_param_is_detected(copy: Path) -> None:
    change_stage(copy, "ingestion", params=["dataset", "dataset.named", "data"])
    assert unknown_params(copy) == {"dataset.named", "data"}


def test_a_setting_that_reruns_nothing_is_detected(copy: Path) -> None:
    before = settings_without_rerun(copy)
    unlisted = {leaf for leaf in read_leaves(copy) if leaf.startswith("registry.")} - {"registry.name"}
    change_stage(copy, "register", params=["evaluation", "registry.name"])
    append(copy / "params.yaml", "added: {deep: {down: 1}, none: {}}")
    assert settings_without_rerun(copy) - before == {*unlisted, "added.deep.down", "added.none"}
    assert "registry.alpha" in unlisted


def test_an_unused_setting_is_detected(copy: Path) -> None:
    before = unread_settings(copy)
    append(copy / "src/visiongate/settings/schema.py", "class Added(Section):\n    unread_number: Count")
    assert unread_settings(copy) - before == {"Added.unread_number"}


def test_an_undeclared_path_is_detected(copy: Path) -> None:
    before = undeclared_paths(copy)
    append(
        copy / "src/visiongate/paths.py",
        'ADDED = Path("reports/added.json")\nWITHIN = Path("data/raw/x.json")',
    )
    assert undeclared_paths(copy) - before == {"reports/added.json"}
