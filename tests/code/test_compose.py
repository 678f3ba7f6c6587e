"""Composition: every file of ``conf/`` is valid, and ``params.yaml`` is what they make."""

import shutil
from pathlib import Path

import pytest
import yaml

from command_line import run_cli
from visiongate.errors import SettingsError
from visiongate.settings.composition import HEADER, compose_params
from visiongate.settings.grammar import environment_overrides, parse_setting, unknown_variables
from visiongate.settings.loading import parse_settings
from visiongate.settings.overrides import quote_text
from visiongate.settings.schema import Settings

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
GROUP_FILES = sorted(CONF.glob("*/*.yaml"))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of ``conf/``, to work in."""
    shutil.copytree(CONF, tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_params_yaml_is_up_to_date_with_conf() -> None:
    committed = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert committed == compose_params(CONF), "run `make params`"


@pytest.mark.no_cover
@pytest.mark.parametrize("path", GROUP_FILES, ids=[f"{path.parent.name}={path.stem}" for path in GROUP_FILES])
def test_each_choice_of_each_group_composes_to_valid_settings(path: Path) -> None:
    text = compose_params(CONF, [f"{path.parent.name}={path.stem}"])
    assert Settings.model_validate(yaml.safe_load(text))


def test_each_section_has_a_group() -> None:
    assert {path.parent.name for path in GROUP_FILES} >= set(Settings.model_fields)


def test_params_yaml_starts_with_its_source() -> None:
    assert compose_params(CONF).startswith(HEADER)


def test_an_override_changes_its_value_and_no_other() -> None:
    plain = compose_params(CONF).splitlines()
    changed = compose_params(CONF, ["model.lr=1e-5"]).splitlines()
    assert [new for old, new in zip(plain, changed, strict=True) if new != old] == ["  lr: 1.0e-05"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epocs=3", "training.epocs: unknown setting; did you mean training.epochs?"),
        ("lr=0.1", "lr: unknown setting; did you mean model.lr?"),
        ("modle=resnet18", "modle: unknown setting; did you mean model?"),
        ("model.options.widht=8", "model.options.widht: unknown setting; did you mean model.options.width?"),
        ("model=none_such", "model=none_such: no such file in conf/model; choose one of "),
        ("training/augmentation=object", "training/augmentation=object: no such file in conf/training/augme"),
        ("model.lr=1,2", "model.lr=1,2: several values; `visiongate sweep` "),
        ("model.lr=(", "model.lr=(: not an override "),
        ("model.lr=???", "model.lr: a value is required"),
        ("model.lr=abc", "model.lr = 'abc' is invalid: "),
        ("+model.rate=1", "model.rate = 1 is invalid: unknown key; choose one of "),
        ("tracking.experiment=${dataset.title}", "conf/: Interpolation key 'dataset.title' not found"),
    ],
)
def test_an_invalid_composition_is_one_line(workspace: Path, override: str, words: str) -> None:
    with pytest.raises(SettingsError) as error:
        compose_params(workspace.joinpath("conf").relative_to(workspace), [override])
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


# What Hydra, OmegaConf and YAML would read as something else than this text.
TEXTS = (
    "My Pets (2026)",
    "a[1],b=c",
    "#1 & more!",
    'it\'s "quoted"',
    "größe 写真",
    "$b ${x}",
    "\\'\\${x}\\",
    "{a: b}",
    "a\nb",
    "2026",
    "1e4",
    "yes",
    "~",
    "",
)


FREE = (
    "dataset.path",
    "dataset.url",
    "dataset.license",
    "dataset.citation",
    "dataset.homepage",
    "evaluation.positive",
)


@pytest.mark.parametrize("start", range(0, len(TEXTS), len(FREE)))
def test_any_text_reaches_the_settings(start: int) -> None:
    texts = dict(zip(FREE, TEXTS[start:], strict=False))
    variables = {f"VISIONGATE_{name.upper().replace('.', '__')}": text for name, text in texts.items()}
    overrides = [f"{name}={quote_text(text)}" for name, text in texts.items()]
    for composed in (
        compose_params(CONF, [], None, environment_overrides(variables)),
        compose_params(CONF, overrides),
    ):
        sections = yaml.safe_load(composed)
        assert {name: sections[name.split(".")[0]][name.split(".")[1]] for name in texts} == texts


def test_a_variable_of_the_service_stays_out_of_the_parameters() -> None:
    variables = {"VISIONGATE_SERVING__LOG__ADDRESS": "postgresql+psycopg://me:secret@db/log"}
    assert environment_overrides(variables) == {}


def test_a_text_needs_no_quotes_of_hydra() -> None:
    composed = yaml.safe_load(compose_params(CONF, ["dataset.path=/My Pets (2026)", "dataset.url=null"]))
    assert (composed["dataset"]["path"], composed["dataset"]["url"]) == ("/My Pets (2026)", None)
    assert parse_setting("dataset.path=/a, b") == ("dataset.path", "/a, b")
    assert parse_setting("dataset.classes=[cat, dog]") == ("dataset.classes", ["cat", "dog"])


@pytest.mark.parametrize("override", ["model.lr=1,2", "~model", "+model.rate=1", "model.lr"])
def test_a_setting_has_one_value(override: str) -> None:
    with pytest.raises(SettingsError, match=r"not a"):
        parse_setting(override)


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        (("TRAINING__EPOCS", "3"), "training.epocs: unknown setting; did you mean training.epochs?"),
        (("MODEL__LR", "abc"), "model.lr = 'abc' is invalid: "),
        (("DATASET__CLASSES", "[a, b"), "dataset.classes = '[a, b' is invalid: "),
    ],
)
def test_an_invalid_variable_is_named(variable: tuple[str, str], words: str) -> None:
    name, value = f"VISIONGATE_{variable[0]}", variable[1]
    with pytest.raises(SettingsError) as error:
        compose_params(CONF, [], None, environment_overrides({name: value}))
    assert str(error.value).startswith(f"{name}: {words}")


def test_params_yaml_is_written_once(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("params") == 0
    path = workspace / "params.yaml"
    before = path.stat()
    assert run_cli("params") == 0
    assert (
        capsys.readouterr().out == "params.yaml composed from conf/\nparams.yaml is up to date with conf/\n"
    )
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.read_text(encoding="utf-8") == compose_params(CONF)


def test_overrides_reach_params_yaml(workspace: Path) -> None:
    assert run_cli("params", "training.epochs=3") == 0
    assert yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8"))["training"]["epochs"] == 3


def test_the_check_detects_drift_and_writes_nothing(workspace: Path) -> None:
    assert run_cli("params", "--check") == 1
    assert not (workspace / "params.yaml").exists()
    run_cli("params")
    assert run_cli("params", "--check") == 0
    edited = (workspace / "params.yaml").read_text(encoding="utf-8") + "# mine\n"
    (workspace / "params.yaml").write_text(edited, encoding="utf-8")
    assert run_cli("params", "--check") == 1
    assert (workspace / "params.yaml").read_text(encoding="utf-8") == edited


def test_an_invalid_value_leaves_params_yaml_alone(workspace: Path) -> None:
    (workspace / "params.yaml").write_text("mine", encoding="utf-8")
    (workspace / "conf/gate/default.yaml").write_text("rules: 3\n", encoding="utf-8")
    assert run_cli("params") == 2
    assert (workspace / "params.yaml").read_text(encoding="utf-8") == "mine"


def read_params(workspace: Path) -> Settings:
    return parse_settings(
        yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8")), "params.yaml"
    )


def test_variables_without_effect_are_found() -> None:
    names = ["VISIONGATE_MODEL", "VISIONGATE_MODL", "VISIONGATE_LOG_LEVEL", "VISIONGATE_MODEL__LR", "MODEL"]
    assert unknown_variables(dict.fromkeys(names, "x")) == ["VISIONGATE_MODEL", "VISIONGATE_MODL"]


def test_environment_variables_override_and_are_recorded(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VISIONGATE_TRAINING__EPOCHS", "7")
    monkeypatch.setenv("VISIONGATE_GATE__RULES__CALIBRATION__THRESHOLD", "0.2")
    monkeypatch.setenv("VISIONGATE_LOG_LEVEL", "debug")
    assert run_cli("params") == 0
    settings = read_params(workspace)
    assert settings.training.epochs == 7
    assert settings.gate.rules["calibration"].threshold == 0.2
    assert "training.epochs=7" in capsys.readouterr().out
    assert "training.epochs=7" in (workspace / "params.yaml").read_text(encoding="utf-8")
    assert run_cli("params", "--check") == 1


def test_a_file_overrides_and_is_recorded(workspace: Path) -> None:
    (workspace / "mine.yaml").write_text("training: {epochs: 9}\nmodel: {lr: 0.5}\n", encoding="utf-8")
    assert run_cli("params", "--config", "mine.yaml", "training.seed=3") == 0
    settings = read_params(workspace)
    assert (settings.training.epochs, settings.network.lr, settings.training.seed) == (9, 0.5, 3)
    assert "mine.yaml" in (workspace / "params.yaml").read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize("content", [b"training: {epoch: 9}", b"a: [", b"\xff\xfe\x00", b"{a: &x [*x]}"])
def test_an_invalid_file_is_named(
    workspace: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "mine.yaml").write_bytes(content)
    assert run_cli("params", "--config", "mine.yaml") == 2
    errors = capsys.readouterr().err
    assert "mine.yaml" in errors
    assert len(errors.splitlines()) == 1
    assert not (workspace / "params.yaml").exists()


def test_a_file_without_sections_is_an_error(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "mine.yaml").write_text("- 1\n", encoding="utf-8")
    assert run_cli("params", "--config", "mine.yaml") == 2
    assert "mine.yaml: must be a mapping of sections" in capsys.readouterr().err
    assert not (workspace / "params.yaml").exists()
