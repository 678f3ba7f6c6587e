"""promtool, which comes with Prometheus."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

INSTALL = "install it with `apt-get install prometheus`"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason=f"promtool is missing; {INSTALL}"
)


def find_rule_errors(path: Path) -> str:
    """Return what promtool says against a file of rules; nothing if it accepts them."""
    checked = subprocess.run(
        ["promtool", "check", "rules", path], capture_output=True, text=True, check=False
    )
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr


def find_query_errors(queries: Iterable[str], folder: Path) -> str:
    """Return what promtool says against queries, as rules; nothing if they parse."""
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    path = folder / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    return find_rule_errors(path)


def run_rule_tests(path: Path) -> str:
    """Return what promtool's tests of rules say; nothing if they pass."""
    tested = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    return "" if tested.returncode == 0 else tested.stdout + tested.stderr
