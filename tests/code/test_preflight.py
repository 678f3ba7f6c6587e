"""The check before a run: what would fail is found before DVC removes outputs."""

import shutil
from pathlib import Path

import pytest
import yaml

from command_line import run_cli
from drawn_images import write_images
from visiongate.commands import repro
from visiongate.commands.preflight import MODEL_SECTIONS, check_run
from visiongate.errors import DataError, SettingsError
from visiongate.settings.composition import CONF, compose_params
from visiongate.settings.loading import load_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that has run."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for name in ("params.yaml", "dvc.lock"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("visiongate.commands.repro._run", lambda *commands: pytest.fail(str(commands)))
    return tmp_path


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "model.options.weights=/none.safetensors",
            "model.options.weights = '/none.safetensors': no such file",
        ),
        ("model.options.weights=yes", "model.options.weights = 'yes': no such file"),
        ("training.device=mps", "training.device = 'mps' is not available"),
    ],
)
def test_a_model_that_cannot_start_is_refused(override: str, words: str) -> None:
    params = compose_params(CONF, ["model=resnet18", override])
    with pytest.raises(SettingsError, match=words):
        check_run(params, reads_images=True)


@pytest.mark.usefixtures("workspace")
def test_a_size_that_does_not_suit_the_network_is_refused() -> None:
    params = compose_params(
        CONF, ["model=simple_cnn", "transformation.size=4", "training.augmentation.shift=0"]
    )
    with pytest.raises(SettingsError, match=r"transformation\.size = 4"):
        check_run(params, reads_images=True)


@pytest.mark.usefixtures("workspace")
def test_pretrained_weights_of_color_images_suit_gray_ones() -> None:
    check_run(compose_params(CONF, ["model=efficientnet_lite0", "transformation.mode=L"]), reads_images=False)


def test_the_images_must_be_readable(workspace: Path) -> None:
    params = compose_params(CONF, [f"dataset.path={workspace / 'none'}"])
    with pytest.raises(DataError, match=r"none': no such folder or archive; choose"):
        check_run(params, reads_images=True)
    check_run(params, reads_images=False)


def test_the_model_of_the_last_run_needs_no_check(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = (workspace / "params.yaml").read_text(encoding="utf-8")
    sections = yaml.safe_load(params)
    stages = {
        stage: {"params": {"params.yaml": {name: sections[name] for name in names}}}
        for stage, names in MODEL_SECTIONS.items()
    }
    (workspace / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    monkeypatch.setattr(
        "visiongate.commands.preflight._check_model", lambda _settings: pytest.fail("checked")
    )
    check_run(params, reads_images=True)
    with pytest.raises(pytest.fail.Exception):
        check_run(compose_params(CONF, ["model.lr=0.5"]), reads_images=True)


@pytest.mark.parametrize(
    "command",
    [
        ("repro", "--data", "none"),
        ("try", "--data", "none"),
        ("try", "model=resnet18", "model.options.weights=none.pt"),
        ("try",),
    ],
    ids=" ".join,
)
def test_a_refused_run_changes_nothing(workspace: Path, command: tuple[str, ...]) -> None:
    before = (workspace / "params.yaml").read_bytes()
    assert run_cli(*command) == 2
    assert (workspace / "params.yaml").read_bytes() == before


@pytest.mark.usefixtures("workspace")
def test_any_path_reaches_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, commands = tmp_path / "it's (2026), é", list[list[str]]()
    write_images(folder, {"cat": 1, "dog": 1})
    monkeypatch.setattr("visiongate.commands.repro._run", lambda *each: commands.extend(each) or 0)
    assert run_cli("try", "training.epochs=1", "experiment=null", "--data", str(folder)) == 0
    path = f"'{folder}'".replace("it's", "it\\'s")
    expected = ["dataset=folder", f"dataset.path={path}", "training.epochs=1"]
    assert [commands[0][index] for index in (4, 6, 8)] == expected
    assert run_cli("repro", "--data", str(folder)) == 0
    settings = load_settings()
    assert settings.dataset.path == str(folder)
    # Two images have the recipe for few.
    assert settings.model.kind == "probe"


def test_outputs_that_cannot_be_fetched_are_named_before_registering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("visiongate.commands.repro._run", lambda *each: commands.extend(each) or 1)
    Path("models").mkdir()
    Path("models/model.onnx").touch()
    with pytest.raises(
        DataError, match=r"^data/transformed, models/model\.json, .*: missing, and `dvc pull` cannot"
    ):
        repro.register()
    assert commands[0][:2] == ["pull", "data/transformed"]
    assert "models/model.onnx" not in commands[0]
