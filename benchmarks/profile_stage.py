"""``python benchmarks/profile_stage.py STAGE``: run a stage as ``src/run.py`` does, and measure its seconds by kind.

The result is ``.dvc/tmp/STAGE.json``. Import is the time within the outermost ``import`` statement. Write is the time within
`records.files`, through which all outputs go; `transformation` decodes into its arrays, so its decoding is included. Work
is the rest.
"""

import builtins
import contextlib
import functools
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WRITERS = ("write_text", "write_json", "write_csv")


class Clock:
    """Adds up seconds by kind; an import within a write counts as import."""

    def __init__(self) -> None:
        """Start with work."""
        self.seconds = {"import": 0.0, "work": 0.0, "write": 0.0}
        self._kinds = ["work"]
        self._since = time.perf_counter()

    @contextlib.contextmanager
    def span(self, kind: str) -> Iterator[None]:
        """Count the time of the block as one kind; within an import everything is import."""
        self.switch()
        self._kinds.append("import" if self._kinds[-1] == "import" else kind)
        try:
            yield
        finally:
            self.switch()
            self._kinds.pop()

    def switch(self) -> None:
        """Add the time since the last switch to the current kind."""
        now = time.perf_counter()
        self.seconds[self._kinds[-1]] += now - self._since
        self._since = now

    def timed(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its time counts as one kind."""

        @functools.wraps(function)
        def wrapper(*arguments: object, **options: object) -> object:
            with self.span(kind):
                return function(*arguments, **options)

        return wrapper


def main(stage: str) -> int:
    """Run the stage and write its seconds."""
    clock = Clock()
    builtins.__import__ = clock.timed("import", builtins.__import__)
    importlib.import_module = clock.timed("import", importlib.import_module)
    sys.path.insert(0, str(Path.cwd() / "src"))
    wrap_writers(clock)
    status: int = importlib.import_module("run").main([stage])
    clock.switch()
    Path(f".dvc/tmp/{stage}.json").write_text(json.dumps(clock.seconds))
    return status


def wrap_writers(clock: Clock) -> None:
    """Time the writers before a stage imports them by name."""
    files = importlib.import_module("visiongate.records.files")
    for name in WRITERS:
        setattr(files, name, clock.timed("write", getattr(files, name)))
    original = files.atomic_path

    @contextlib.contextmanager
    def atomic_path(path: Path) -> Iterator[Path]:
        with clock.span("write"), original(path) as temporary:
            yield temporary

    files.atomic_path = atomic_path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
