"""The files of another run are read as data, within bounds; logs are shown without secrets."""

from pathlib import Path

import pytest

from visiongate.errors import DataError
from visiongate.review import untrusted_artifacts
from visiongate.review.log_masking import mask_secrets
from visiongate.review.untrusted_artifacts import UNTRUSTED_PARTS, open_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run/reports").mkdir(parents=True)
    (tmp_path / "run/reports/gate.json").write_text("{}")
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "run"


def test_a_file_is_read_by_its_path_in_the_repository(folder: Path) -> None:
    assert open_folder(folder)(Path("reports/gate.json")) == b"{}"


def test_symbolic_links_are_not_followed(folder: Path) -> None:
    (folder / "link.json").symlink_to(folder.parent / "secret")
    (folder / "linked").symlink_to(folder.parent, target_is_directory=True)
    read = open_folder(folder)
    for path in ("link.json", "linked/secret", "reports", "absent.json"):
        with pytest.raises(DataError, match=path):
            read(Path(path))


def test_a_large_file_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted_artifacts, "MAX_BYTES", 1)
    with pytest.raises(DataError, match="larger"):
        open_folder(folder)(Path("reports/gate.json"))


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        open_folder(tmp_path / "absent")


def test_neither_parquet_nor_data_are_read() -> None:
    assert {"predictions", "images", "transform"} == UNTRUSTED_PARTS


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("key is hunter2-hunter2.", "key is ***."),
        ("https://me:word@example.org", "https://***@example.org"),
        ("ghp_0123456789abcdef0123 AKIA0123456789ABCDEF", "*** ***"),
        ("an ordinary line", "an ordinary line"),
    ],
)
def test_secrets_are_masked(text: str, masked: str) -> None:
    environment = {"API_KEY": "hunter2-hunter2", "SHORT_TOKEN": "line", "HOME": "ordinary"}
    assert mask_secrets(text, environment) == masked
