"""`visiongate use`: a data set becomes the repository's own, whatever the name of its folder."""

import shutil
import subprocess
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import yaml

from command_line import run_cli
from drawn_images import write_images
from visiongate.commands.default_extras import choose_extras
from visiongate.commands.default_recipe import choose_recipe
from visiongate.images import extras as extras_module
from visiongate.ingestion.inspection import Inspection, inspect_source
from visiongate.ingestion.stage import download_options
from visiongate.settings.dataset_page import DatasetPage, choose_default, derive_name, is_name
from visiongate.settings.loading import load_settings

ROOT = Path(__file__).parents[2]
AWKWARD = "My 'Pets' (2026), [größe]=#1 & ${x}"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with ``conf/`` and its parameters, and a folder of images beside it."""
    shutil.copytree(ROOT / "conf", tmp_path / "work/conf")
    shutil.copy(ROOT / "params.yaml", tmp_path / "work")
    write_images(tmp_path / AWKWARD, {"cat": 3, "dog": 4})
    monkeypatch.chdir(tmp_path / "work")
    subprocess.run(["git", "init", "--quiet"], check=True)
    return tmp_path


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*.yaml")}


def test_the_images_become_the_default(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("conf/config.yaml").read_text(encoding="utf-8")
    assert (
        run_cli("use", str(workspace / AWKWARD), "transformation.size=96", "dataset.license=our own, all")
        == 0
    )
    output = capsys.readouterr().out
    assert [line.split() for line in output.splitlines()[1:4]] == [
        ["class", "images"],
        ["cat", "3"],
        ["dog", "4"],
    ]
    settings = load_settings()
    assert settings.dataset.path == str(workspace / AWKWARD)
    assert (settings.transformation.size, settings.dataset.license) == (96, "our own, all")
    name = settings.dataset.name
    assert name == "my_pets_2026_groe_1_x"
    after = Path("conf/config.yaml").read_text(encoding="utf-8")
    assert after == before.replace("- dataset: digits", f"- dataset: {name}")
    page = f"conf/dataset/{name}.yaml"
    assert f'git add {page} conf/config.yaml params.yaml && git commit -m "Use the data set {name}"' in output
    assert output.endswith("visiongate repro\n")
    assert run_cli("params", "--check") == 0


def test_a_table_labels_the_images(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(workspace / "flat", {"photos": 4})
    names = sorted(path.name for path in (workspace / "flat/photos").iterdir())
    rows = [f"{name};{'ab'[index % 2]};{index}" for index, name in enumerate(names)]
    (workspace / "flat/labels.csv").write_text("\n".join(["file;kind;size", *rows]))
    assert (
        run_cli("use", str(workspace / "flat"), "dataset.table.label=size", "dataset.limit=4", "--dry-run")
        == 0
    )
    assert run_cli("use", str(workspace / "flat"), "dataset.table.label=kind") == 0
    output = capsys.readouterr().out
    assert "2 classes; labels in flat/labels.csv\n" in output
    assert "the columns are image: file; label: kind (guessed; dataset.table.image change it)" in output
    assert load_settings().dataset.table.label == "kind"


def test_a_data_set_of_conf_becomes_the_default_again(workspace: Path) -> None:
    before = contents()
    assert run_cli("use", str(workspace / AWKWARD), "--name", "pets") == 0
    assert load_settings().dataset.name == "pets"
    assert run_cli("use", "digits") == 0
    assert {path: text for path, text in contents().items() if path.stem != "pets"} == before


def test_a_dry_run_and_a_refusal_write_nothing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents()
    assert run_cli("use", str(workspace / AWKWARD), "--name", "pets", "--dry-run") == 0
    assert "Would write conf/dataset/pets.yaml, conf/config.yaml, params.yaml" in capsys.readouterr().out
    monkeypatch.setattr("visiongate.commands.use._confirm", lambda _question: False)
    assert run_cli("use", str(workspace / AWKWARD)) == 1
    assert contents() == before


@pytest.mark.parametrize(
    ("settings", "kind", "reason"),
    [
        (
            (),
            "network",
            "recipe: none, the default network is trained from random weights, because there are 7 images",
        ),
        (
            ("dataset.limit=6", "transformation.size=96"),
            "probe",
            "recipe: experiment=photos, a pretrained network, because there are fewer than 7 images; experiment=null",
        ),
        (("dataset.limit=6", "experiment=null"), "network", ""),
        (("experiment=photos",), "probe", ""),
    ],
)
def test_few_images_get_a_pretrained_network(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...], kind: str, reason: str
) -> None:
    monkeypatch.setattr("visiongate.commands.default_recipe.MAX_IMAGES", 7)
    with redirect_stdout(StringIO()) as output:
        assert run_cli("use", str(workspace / AWKWARD), "--name", "pets", *settings) == 0
    page = Path("conf/dataset/pets.yaml").read_text(encoding="utf-8")
    assert load_settings().model.kind == kind
    assert ("/experiment/photos" in page) == (kind == "probe")
    assert ("recipe: " in output.getvalue()) == bool(reason)
    assert reason in output.getvalue()
    # The user's own settings precede those of the recipe.
    if "transformation.size=96" in settings:
        assert load_settings().transformation.size == 96


@pytest.mark.parametrize(
    "setting", ["experiment=null", "experiment=photos", "model=resnet18", "model.lr=0.01"]
)
def test_the_user_chooses_the_recipe_and_the_model(setting: str) -> None:
    dataset, photographs = (
        load_settings().dataset,
        Inspection("", ["a"], Counter({("a", None): 1}), Counter(), ()),
    )
    assert choose_recipe(photographs, dataset, ["transformation.size=96", "model.strength=0.1"]) is not None
    assert choose_recipe(photographs, dataset, ["transformation.size=96", setting]) is None


def test_tiny_images_get_the_default_network(workspace: Path) -> None:
    dataset = load_settings().dataset
    digits = inspect_source(dataset, download_options(dataset))
    choice = choose_recipe(digits, dataset, [])
    assert digits.side == 8
    assert choice is not None
    assert choice.name is None
    assert "because the images have only 8 pixels a side" in choice.reason
    photographs = dataset.model_copy(update={"path": str(workspace / AWKWARD), "url": None, "classes": None})
    assert inspect_source(photographs, download_options(photographs)).side == 40


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_given_split_that_cross_validation_pools_is_noted(
    workspace: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    write_images(workspace / "pets", {f"{part}/{name}": 3 for part in ("train", split) for name in "ab"})
    pets = [str(workspace / "pets"), "--dry-run"]
    note = "note: cross-validation pools the images of the data set's own splits (train, val); "
    assert run_cli("use", *pets) == 0
    assert (note in capsys.readouterr().out) == (split == "val")
    assert run_cli("use", *pets, "evaluation.protocol=holdout") == 0
    assert "note: " not in capsys.readouterr().out


def test_a_page_of_other_content_is_kept(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pets = [str(workspace / AWKWARD), "--name", "pets"]
    assert run_cli("use", *pets) == 0
    assert run_cli("use", *pets) == 0
    before = contents()
    assert run_cli("use", *pets, "transformation.size=32") == 2
    assert "conf/dataset/pets.yaml exists with other content" in capsys.readouterr().err
    assert contents() == before
    assert run_cli("use", *pets, "transformation.size=32", "--force") == 0
    assert load_settings().transformation.size == 32


def test_the_commit_has_every_file_that_is_not_committed(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "add", "conf"], check=True)
    subprocess.run(["git", *identity, "commit", "--quiet", "--message=first"], check=True)
    command = "git add conf/dataset/pets.yaml conf/config.yaml params.yaml && git commit"
    assert run_cli("use", str(workspace / AWKWARD), "--name", "pets") == 0
    assert run_cli("use", "pets") == 0
    assert capsys.readouterr().out.count(command) == 2
    subprocess.run(["git", "add", "conf", "params.yaml"], check=True)
    subprocess.run(["git", *identity, "commit", "--quiet", "--message=second"], check=True)
    assert run_cli("use", "pets") == 0
    assert "git add" not in capsys.readouterr().out


def test_a_page_that_the_command_did_not_write_is_never_overwritten(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents()
    assert run_cli("use", str(workspace / AWKWARD), "--name", "mnist", "--force") == 2
    assert "conf/dataset/mnist.yaml exists, and `visiongate use` did not write it" in capsys.readouterr().err
    assert contents() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digts"], "digts: no such folder, archive, address or data set; did you mean digits?"),
        (["folder"], "folder: no such folder, archive, address or data set; choose one of "),
        (["digits", "model.lr=1"], "write its settings there"),
        (["IMAGES", "--name", "yes"], "--name yes is invalid"),
        (["IMAGES", "--name", "folder"], "--name folder is invalid"),
        (["IMAGES", "transformation.sise=96"], "did you mean transformation.size?"),
        (["IMAGES", "transformation.size=2"], "transformation.size = 2 is invalid"),
        (["IMAGES", "dataset=mnist"], "dataset: not a setting of a data set"),
        (["EMPTY"], "no image found"),
    ],
)
def test_an_invalid_use_writes_nothing(
    workspace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (workspace / "empty").mkdir()
    places = {"IMAGES": str(workspace / AWKWARD), "EMPTY": str(workspace / "empty")}
    before = contents()
    assert run_cli("use", *(places.get(word, word) for word in arguments)) == 2
    assert words in capsys.readouterr().err
    assert contents() == before


def test_a_folder_that_git_tracks_is_found_in_every_clone(workspace: Path) -> None:
    for name in ("tracked", "own"):
        shutil.copytree(workspace / AWKWARD, workspace / "work" / name)
    subprocess.run(["git", "add", "tracked"], check=True)
    assert run_cli("use", "tracked") == 0
    assert load_settings().dataset.path == "tracked"
    assert run_cli("use", "own") == 0
    # A temporary copy of the repository does not have it.
    assert load_settings().dataset.path == str(workspace / "work/own")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("My Pets (2026)", "my_pets_2026"),
        ("Früchte.tar.gz", "fruchte"),
        ("photos.v2.zip", "photos_v2"),
        ("2026", "images_2026"),
        ("写真", "images"),
        ("yes", "images_yes"),
        ("folder", "images_folder"),
    ],
)
def test_a_name_is_derived_from_the_folder(file: str, name: str) -> None:
    assert derive_name(file) == name
    assert is_name(name)


@pytest.mark.usefixtures("workspace")
def test_a_page_keeps_any_text() -> None:
    texts = [AWKWARD, "yes", "2026", "1e4", "~", "a: b", "\\${x}", "\\", "\n", " x ", ""]
    page = DatasetPage("mine", {"dataset.path": AWKWARD, "dataset.classes": texts}, {"gate": "release"})
    Path("conf/dataset/mine.yaml").write_text(page.format(), encoding="utf-8")
    assert run_cli("params", "dataset=mine") == 0
    dataset = load_settings().dataset
    assert (dataset.path, dataset.classes) == (AWKWARD, texts)


def test_the_choice_keeps_comments_and_order() -> None:
    text = "defaults:\n  - model: small_cnn\n  # Last.\n  - dataset: digits  # ours\n  - _self_\n"
    assert choose_default(text, "dataset", "pets") == text.replace("digits", "pets")
    assert yaml.safe_load(choose_default(text, "dataset", "pets"))["defaults"][1] == {"dataset": "pets"}


def test_photographs_of_a_phone_set_the_package_that_reads_them(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / AWKWARD / "cat/IMG_1.HEIC").write_bytes(b"photograph")
    for module, extras, line in (
        ("no_such_module", [], "images that need a package and are quarantined without it: 1;"),
        ("json", ["heic"], "extras: dataset.extras=[heic], because of the images that need a package: 1"),
    ):
        monkeypatch.setitem(extras_module.MODULES, "heic", module)
        assert run_cli("use", str(workspace / AWKWARD), "--name", "pets", "--force") == 0
        assert line in capsys.readouterr().out
        assert load_settings().dataset.extras == extras
        assert choose_extras({"heic": 1}, ()).override == [f"dataset.extras=[{name}]" for name in extras]
    assert run_cli("use", str(workspace / AWKWARD), "--name", "pets", "--force", "dataset.extras=[]") == 0
    assert load_settings().dataset.extras == []
