"""Fixtures that all tests share."""

import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from clones import ROOT, call, clone_tree
from visiongate.cores import usable_cores

# There are as many test processes as cores; see src/run.py for the first variable.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest_plugins = ("shared_github",)
# A shell makes background processes ignore Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
OUTPUTS = ("data/raw", "data/prepared", "data/transformed", "models/model.onnx", "reports/validation")
# The files whose slow tests take longest, in this order. They start first, because a long file that starts last runs alone.
LONGEST = (
    "test_airflow_dags.py",
    "test_images.py",
    "test_pipeline.py",
    "test_sweep_queue.py",
    "test_docs_run.py",
    "test_rebuild.py",
)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run one more slow test than there are cores, because they often wait for the processes that they start."""
    return usable_cores() + 1 if config.option.markexpr == "slow" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files. Each worker of `make test-slow` gets whole files, so that it makes no fixture again."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Trace nothing in a test marked `no_cover`: pytest-cov pauses its own tracer, but processes of xdist have a second one."""
    tracer = sys.gettrace()
    if item.get_closest_marker("no_cover"):
        sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


@pytest.fixture(autouse=True)
def _unconfigured_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``caplog`` get the messages, and undo `logs.configure` after a test, whose standard error is closed then."""
    logger = logging.getLogger("visiongate")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])


@pytest.fixture(scope="session", autouse=True)
def _feature_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep features and backbones in a folder of all test processes instead of the user's cache."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["VISIONGATE_CACHE"] = str(base / "cache")


@pytest.fixture(scope="session")
def committed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone with the outputs of the committed run, made once for all test processes; copy it to change it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / "committed", base / "committed.done"
    with FileLock(base / "committed.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            clone_tree(folder)
            call(folder, "dvc", "pull", "--quiet", "--remote", "store")
            done.touch()
    return folder


@pytest.fixture(scope="session")
def pipeline_outputs(request: pytest.FixtureRequest) -> Path:
    """Return a folder with the outputs of the pipeline: the root, or the committed run."""
    if all((ROOT / name).exists() for name in OUTPUTS):
        return ROOT
    folder: Path = request.getfixturevalue("committed_run")
    return folder
