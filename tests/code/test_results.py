"""The page of results: a table per data set, the most accurate model first."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/results.py"


@pytest.fixture(scope="module")
def results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_results", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_ranks_models_and_shows_failures(results: ModuleType) -> None:
    def result(model: str, accuracy: float) -> object:
        numbers = {"parameters": 1000, "train_images": 90, "test_images": 10, "train_seconds": 2.4}
        interval = {"accuracy": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
        return results.Result("mnist", model, None, 4, 28, hardware="fp32 on cpu", **numbers, **interval)

    failed = results.Result("mnist", "resnet18", None, 4, 28, failure="out of memory")
    page = results.render([result("small_cnn", 0.8), failed, result("speed_cnn", 0.9)])
    assert "## MNIST" in page
    assert "CIFAR" not in page.split("## MNIST")[1]
    assert page.index("`speed_cnn`") < page.index("`small_cnn`") < page.index("`resnet18`")
    assert "| 90.0% | 80.0% to 100.0% | 2 |" in page
    assert "out of memory" in page
