"""The documented reruns match those of DVC."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from clones import call, changed_stages
from doc_commands import PAGES, files_to_write
from visiongate.settings.composition import compose_params

ROOT = Path(__file__).parents[2]
PAGE = PAGES["reruns.md"]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
ROWS = re.findall(r"^\| `([^`]+)` \| ([a-z, ]*?) ?\| ([a-z, ]*?) ?\|$", PAGE, flags=re.MULTILINE)


def names(cell: str) -> list[str]:
    return [name for name in cell.split(", ") if name]


def entry(out: str | dict[str, object]) -> str:
    return out if isinstance(out, str) else next(iter(out))


def followers(stages: set[str]) -> set[str]:
    """Return the stages that depend on some stages, directly or indirectly."""
    outs = {
        entry(out) for stage in stages for kind in ("outs", "metrics") for out in STAGES[stage].get(kind, [])
    }
    found = {name for name, stage in STAGES.items() if outs & set(stage["deps"])}
    return found if found <= stages else found | followers(stages | found)


@pytest.fixture(scope="module")
def clone(committed_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with the committed run."""
    return shutil.copytree(committed_run, tmp_path_factory.mktemp("reruns") / "clone", symlinks=True)


@contextmanager
def changed(clone: Path, change: str) -> Iterator[None]:
    """Apply an override, or append a line to a file, within the block."""
    path = clone / ("params.yaml" if "=" in change else change)
    before = path.read_bytes()
    path.write_bytes(
        compose_params(clone / "conf", [change]).encode() if "=" in change else before + b"\n# changed\n"
    )
    try:
        yield
    finally:
        path.write_bytes(before)


def test_all_rows_of_the_tables_are_parsed() -> None:
    listed = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(ROWS) == len(listed) >= 25
    assert {row[0].partition(".")[0] for row in ROWS if "=" in row[0]} == set(
        yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    )


def test_a_fresh_clone_is_up_to_date(clone: Path) -> None:
    assert changed_stages(clone) == set()


@pytest.mark.no_cover
@pytest.mark.parametrize(("change", "directly", "then"), ROWS, ids=[row[0] for row in ROWS])
def test_documented_reruns_match_dvc(clone: Path, change: str, directly: str, then: str) -> None:
    with changed(clone, change):
        direct = changed_stages(clone)
    assert names(directly) == [stage for stage in STAGES if stage in direct]
    assert names(then) == [stage for stage in STAGES if stage in followers(direct) - direct]


@pytest.mark.slow
def test_a_documented_gate_is_applied_without_training(clone: Path) -> None:
    gate = "conf/gate/strict.yaml"
    (clone / gate).write_text(files_to_write()[gate], encoding="utf-8")
    with changed(clone, "gate=strict"):
        output = call(clone, "dvc", "repro").stdout
        verdict = call(
            clone, sys.executable, "-m", "visiongate", "gate", "--json", PYTHONPATH="src", check=False
        )
    (clone / gate).unlink()
    call(clone, "git", "checkout", ".")
    call(clone, "dvc", "checkout", "--quiet")
    assert re.findall(r"Running stage '(\w+)'", output) == ["evaluate", "register"]
    own = set(yaml.safe_load(files_to_write()[gate])["rules"])
    assert own <= {rule["name"] for rule in json.loads(verdict.stdout)["rules"]}
