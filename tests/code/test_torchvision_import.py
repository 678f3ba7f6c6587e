import subprocess
import sys
from pathlib import Path

import pytest
import torch

from visiongate.models import torchvision_import

SOURCE = Path(__file__).parents[2] / "src"


def test_torchvision_imports_with_the_installed_torch() -> None:
    code = (
        "from visiongate.models.torchvision_import import import_torchvision as load; "
        "v = load(); assert load() is v; from torchvision.transforms import v2; print(v.models.resnet18.__name__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=SOURCE, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "resnet18\n"), result.stderr


def test_another_import_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> None:
        raise RuntimeError("torchvision was built for another CUDA")

    monkeypatch.setattr(torchvision_import.importlib, "import_module", fail)
    with pytest.raises(ImportError, match="another CUDA"):
        torchvision_import.import_torchvision.__wrapped__()


def test_the_schemas_are_valid() -> None:
    for schema in torchvision_import._SCHEMAS:  # noqa: SLF001
        assert str(torch._C.parse_schema(f"test::{schema}")).startswith("test::")  # noqa: SLF001
