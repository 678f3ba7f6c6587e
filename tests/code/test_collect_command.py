"""``visiongate collect`` and ``visiongate forget``: what feedback becomes, and what a person decides about it."""

import asyncio
import hashlib
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_models
from collected_images import add_collected
from command_line import run_cli
from logged_feedback import Visitors
from page_structure import check_page
from served import application
from tiny_models import write_threshold_model
from visiongate import paths
from visiongate.images.table import write_shards
from visiongate.monitoring.collection import read_feedback
from visiongate.monitoring.database import Database
from visiongate.monitoring.kept_images import open_kept_images
from visiongate.records.collected import CollectedImage, change_collected, read_collected
from visiongate.records.corrections import Correction, add_correction, read_corrections
from visiongate.records.dataset import DatasetRecord, write_dataset
from visiongate.records.doubtful_labels import DoubtfulLabel, read_doubtful
from visiongate.records.files import write_text
from workspaces import ROOT

CLASSES = [str(label) for label in range(10)]


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def sha256(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()


@pytest.fixture
def visitors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Visitors:
    """A repository whose data are the pictures 0 to 9, of the classes of the same names, and a service beside it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    change_collected(paths.COLLECTED)
    write_text(paths.CORRECTIONS, "sha256,label,exclude,who,when,why\n")
    write_text(Path(".gitignore"), "/logs/\n/data/raw\n/data/collected/\n/reports/\n.*.lock\n")
    rows = [
        {"image": picture(n), "label": str(n), "path": f"{n}.png", "sha256": sha256(picture(n))}
        for n in range(10)
    ]
    write_shards(paths.RAW, rows)
    write_dataset(paths.RAW, DatasetRecord("tried", CLASSES, 10, "", "", "", "", "", "", {}))
    identity = ("-c", "user.name=Ada", "-c", "user.email=a@b.c")
    for command in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *command], check=True)
    subprocess.run(["git", "config", "user.name", "Ada"], check=True)
    address = f"sqlite:///{tmp_path}/logs/predictions.sqlite"
    Path("logs").mkdir()
    Database(address).close()
    return Visitors(address, Path("logs/images"))


def collect(*options: str) -> None:
    assert run_cli("collect", *options) == 0


def collected() -> dict[str, CollectedImage]:
    return read_collected(paths.COLLECTED)


def corrections() -> dict[str, Correction]:
    return read_corrections(paths.CORRECTIONS)


def doubtful() -> dict[str, DoubtfulLabel]:
    return read_doubtful(paths.COLLECT)


def commands(text: str) -> list[str]:
    """Return the printed commands."""
    return re.findall(r"^  (\S.*)$", text.partition("Next:")[2], re.MULTILINE)


def test_corrected_and_confirmed_images_are_taken(
    visitors: Visitors, capsys: pytest.CaptureFixture[str]
) -> None:
    corrected = visitors.tell(picture(100), "3", "5", 0.71234, by="phone")
    visitors.say(visitors.send(picture(101), "7", asked=True), "7")
    collect()
    assert collected().keys() == {corrected, sha256(picture(101))}
    row = collected()[corrected]
    assert row.file == f"{corrected[:2]}/{corrected}.png"
    assert (paths.COLLECTED_IMAGES / row.file).read_bytes() == picture(100)
    assert (row.label, row.predicted, row.confidence, row.model, row.version, row.given_by, row.group) == (
        *("5", "3", 0.7123, "digits", "4", "phone", None),
    )
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", row.time)
    assert collected()[sha256(picture(101))].asked
    printed = capsys.readouterr().out
    assert printed.startswith("2 images with feedback\n      2  taken ")
    assert commands(printed) == [
        "dvc add data/collected",
        'git add data/collected.csv data/collected.dvc && git commit -m "Collect 2 labels from feedback"',
        "visiongate repro",
    ]


def test_the_message_counts_the_labels_of_all_runs_since_the_last_commit(
    visitors: Visitors, capsys: pytest.CaptureFixture[str]
) -> None:
    visitors.tell(picture(100), "3", "5")
    visitors.tell(picture(2), "8", "8")
    collect()
    visitors.tell(picture(101), "3", "5")
    capsys.readouterr()
    collect()
    assert "Collect 3 labels from feedback" in commands(capsys.readouterr().out)[1]
    for command in (("add", "data"), ("-c", "user.email=a@b.c", "commit", "-qm", "three")):
        subprocess.run(["git", *command], check=True)
    visitors.tell(picture(102), "3", "5")
    collect()
    assert "Collect 1 labels from feedback" in commands(capsys.readouterr().out)[1]


def test_a_second_run_changes_nothing(visitors: Visitors, capsys: pytest.CaptureFixture[str]) -> None:
    visitors.tell(picture(100), "3", "5")
    visitors.tell(picture(2), "8", "8")
    visitors.tell(picture(102), "8", "1", 0.999)
    collect()
    before = {path: path.read_bytes() for path in Path().rglob("*.csv")}
    stamps = {path: path.stat().st_mtime_ns for path in (paths.COLLECTED, paths.CORRECTIONS)}
    capsys.readouterr()
    collect()
    assert {path: path.read_bytes() for path in Path().rglob("*.csv")} == before
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    printed = capsys.readouterr().out
    assert "      0  taken " in printed
    assert "      2  known " in printed


def test_a_dry_run_writes_nothing(visitors: Visitors, capsys: pytest.CaptureFixture[str]) -> None:
    visitors.tell(picture(100), "3", "5")
    visitors.tell(picture(2), "8", "8")
    visitors.tell(picture(102), "8", "1", 0.999)
    collect("--dry-run")
    assert (collected(), corrections(), doubtful()) == ({}, {}, {})
    assert not paths.COLLECTED_IMAGES.exists()
    assert not paths.COLLECT.exists()
    assert "Nothing was written; leave out --dry-run to do it" in capsys.readouterr().out


def test_images_of_the_data_get_corrections(visitors: Visitors, capsys: pytest.CaptureFixture[str]) -> None:
    name = visitors.tell(picture(2), "8", "8", 0.9, by="phone")
    visitors.tell(picture(3), "8", "3")
    collect()
    [correction] = corrections().values()
    assert (correction.sha256, correction.label, correction.who) == (name, "8", "feedback of phone")
    assert correction.why == "digits 4 answered 8 with 90%"
    assert collected() == {}
    printed = capsys.readouterr().out
    assert "      1  known " in printed
    assert commands(printed)[0].startswith("git add data/corrections.csv && git commit -m ")


def test_a_label_that_is_corrected_again_updates_its_row(visitors: Visitors) -> None:
    prediction = visitors.send(picture(100), "3")
    visitors.say(prediction, "5")
    known = visitors.send(picture(2), "8")
    visitors.say(known, "8")
    collect()
    change_collected(paths.COLLECTED, [replace(row, group="patient") for row in collected().values()])
    visitors.say(prediction, "6")
    visitors.say(known, "2")
    collect()
    [row] = collected().values()
    assert (row.label, row.group) == ("6", "patient")
    # The label of the data was right, after all.
    assert corrections() == {}


def test_a_person_has_the_last_word(visitors: Visitors, capsys: pytest.CaptureFixture[str]) -> None:
    name = visitors.tell(picture(2), "8", "8")
    add_correction(paths.CORRECTIONS, Correction(name, "4", "Bob", "2026-11-28", "looked at"))
    collect()
    assert corrections()[name].label == "4"
    assert "      1  decided " in capsys.readouterr().out


def test_doubtful_labels_are_listed_with_their_images_and_never_trained_on(
    visitors: Visitors, capsys: pytest.CaptureFixture[str]
) -> None:
    lie = visitors.tell(picture(100), "3", "5", 0.999)
    one, other = (visitors.tell(picture(101), "3", label) for label in ("5", "6"))
    known = visitors.tell(picture(2), "2", "7")
    collect()
    assert one == other
    assert (collected(), corrections()) == ({}, {})
    assert {label.sha256: label.doubt for label in doubtful().values()} == {
        lie: "implausible",
        one: "conflicting",
        known: "contradicts_data",
    }
    page = check_page((paths.COLLECT / "index.html").read_text(encoding="utf-8"))
    assert len(page.all("img")) == 3
    for label in doubtful().values():
        assert sha256((paths.COLLECT / label.file).read_bytes()) == label.sha256
    printed = capsys.readouterr().out
    assert f"{lie[:12]} 5: digits 4 answered 3 with 99.9%, and this label with 0.01%" in printed
    assert "--accept SHA256" in printed
    assert commands(printed) == []


def test_doubtful_labels_are_accepted_and_rejected_for_good(visitors: Visitors) -> None:
    true, lie = visitors.tell(picture(100), "3", "5", 0.999), visitors.tell(picture(101), "3", "5", 0.999)
    conflict, _ = (visitors.tell(picture(102), "3", label) for label in ("5", "6"))
    known = visitors.tell(picture(2), "2", "7")
    collect()
    collect("--accept", true[:12], "--accept", f"{conflict}=6", "--reject", lie[:12], "--reject", known)
    assert {name: (row.label, row.given_by) for name, row in collected().items()} == {
        true: ("5", "reviewed by Ada"),
        conflict: ("6", "reviewed by Ada"),
    }
    assert {name: (row.label, row.who) for name, row in corrections().items()} == {
        lie: (None, "Ada"),
        known: ("2", "Ada"),
    }
    assert doubtful() == {}
    assert list((paths.COLLECT / "images").iterdir()) == []
    before = paths.COLLECTED.read_bytes(), paths.CORRECTIONS.read_bytes()
    # Whoever lies again changes nothing.
    visitors.tell(picture(100), "3", "9", 0.999)
    collect()
    assert (paths.COLLECTED.read_bytes(), paths.CORRECTIONS.read_bytes()) == before
    assert doubtful() == {}


def test_all_doubtful_labels_are_accepted_but_those_without_a_known_class(visitors: Visitors) -> None:
    true, known = visitors.tell(picture(100), "3", "5", 0.999), visitors.tell(picture(2), "2", "7")
    for label in ("5", "6"):
        visitors.tell(picture(102), "3", label)
    collect("--accept", "all")
    assert collected().keys() == {true}
    assert (corrections()[known].label, corrections()[known].who) == ("7", "Ada")
    assert {label.doubt for label in doubtful().values()} == {"conflicting"}


def test_a_person_may_accept_what_was_rejected(visitors: Visitors) -> None:
    name = visitors.tell(picture(100), "3", "5", 0.999)
    collect("--reject", name)
    assert corrections()[name].label is None
    collect("--accept", name)
    assert collected()[name].label == "5"
    assert corrections() == {}


def test_accepting_all_leaves_what_a_person_has_decided(visitors: Visitors) -> None:
    corrected, lie = (
        visitors.tell(picture(100), "3", "5", 0.999),
        visitors.tell(picture(101), "3", "5", 0.999),
    )
    collect("--accept", f"{corrected}=6", "--reject", lie)
    later = visitors.tell(picture(102), "3", "5", 0.999)
    collect("--accept", "all")
    assert {name: row.label for name, row in collected().items()} == {corrected: "6", later: "5"}
    assert (corrections()[lie].label, corrections()[lie].who) == (None, "Ada")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--accept", "abc"), "'abc': not one of the 1 doubtful images"),
        (("--reject", ""), "'': not one of the 1 doubtful images"),
        (("--accept", "{0}=elk"), "'elk' is not a class of the data; choose one of 0, 1, 2"),
        (("--accept", "{0}", "--reject", "{0}"), "both accepted and rejected; choose one"),
    ],
)
def test_wrong_decisions_are_refused(
    visitors: Visitors, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], problem: str
) -> None:
    lie = visitors.tell(picture(100), "3", "5", 0.999)
    assert run_cli("collect", *(option.format(lie) for option in options)) == 2
    assert problem in capsys.readouterr().err


def test_an_image_that_becomes_doubtful_leaves_training_but_is_not_lost(visitors: Visitors) -> None:
    prediction = visitors.send(picture(100), "3")
    visitors.say(prediction, "5", "ada")
    name = sha256(picture(100))
    collect()
    shutil.rmtree("logs/images")
    visitors.say(visitors.send(picture(100), "3", kept=False), "6", "bob")
    collect()
    assert collected() == {}
    assert not list(paths.COLLECTED_IMAGES.rglob("*.png"))
    assert (doubtful()[name].doubt, doubtful()[name].detail) == ("conflicting", "1 for 5, 1 for 6")
    # The log and the service's images are gone.
    Path("logs/predictions.sqlite").unlink()
    Database(visitors.address).close()
    collect("--accept", f"{name}=5")
    assert (paths.COLLECTED_IMAGES / collected()[name].file).read_bytes() == picture(100)


def test_an_unknown_class_is_listed_and_becomes_one_by_setting(
    visitors: Visitors, capsys: pytest.CaptureFixture[str]
) -> None:
    visitors.model = replace(visitors.model, version="5", classes=(*CLASSES, "A"))
    name = visitors.tell(picture(100), "3", "A")
    collect()
    assert doubtful()[name].doubt == "unknown_class"
    assert "set dataset.new_classes=true" in capsys.readouterr().out
    text = paths.PARAMS.read_text(encoding="utf-8")
    paths.PARAMS.write_text(text.replace("new_classes: false", "new_classes: true"), encoding="utf-8")
    collect()
    assert collected()[name].label == "A"


def test_missing_images_are_counted_with_the_setting_that_keeps_them(
    visitors: Visitors, capsys: pytest.CaptureFixture[str]
) -> None:
    visitors.say(visitors.send(picture(100), "3", kept=False), "5")
    visitors.say(visitors.send(None, "3"), "5")
    collect()
    printed = capsys.readouterr().out
    assert "      1  without image " in printed
    assert "serving.log.images.keep, which is 'none' here" in printed
    assert "1 answers are about requests without an image file" in printed


def test_only_images_with_recent_feedback_are_taken(visitors: Visitors) -> None:
    name = visitors.tell(picture(100), "3", "5")
    collect("--since", "2100-01-01")
    assert collected() == {}
    collect("--since", "2020-01-01")
    assert collected().keys() == {name}


def test_images_of_a_bucket_are_read_and_deleted(visitors: Visitors, tmp_path: Path) -> None:
    name = visitors.tell(picture(100), "3", "5")
    address = f"file://{tmp_path}/logs/images"
    collect("--images", address)
    assert collected().keys() == {name}
    images = open_kept_images(address)
    assert (images.find(name), images.find("0" * 64)) == ("png", None)
    assert images.delete(name)
    assert not images.delete(name)


def test_a_changed_file_is_refused(visitors: Visitors, capsys: pytest.CaptureFixture[str]) -> None:
    name = visitors.tell(picture(100), "3", "5")
    (visitors.folder / name[:2] / f"{name}.png").write_bytes(b"another")
    assert run_cli("collect") == 2
    assert "has another content" in capsys.readouterr().err
    assert collected() == {}


def test_a_source_that_gets_a_collected_image_gets_a_correction(visitors: Visitors) -> None:
    [row] = add_collected([("5", picture(2))])
    visitors.tell(picture(2), "5", "5")
    collect()
    assert collected() == {}
    assert corrections()[row.sha256].label == "5"


def test_an_image_is_forgotten_everywhere(visitors: Visitors, capsys: pytest.CaptureFixture[str]) -> None:
    name, other = visitors.tell(picture(100), "3", "5"), visitors.tell(picture(101), "3", "5")
    answered = visitors.send(picture(100), "3")
    visitors.send(picture(100), "3", shadow_of=answered)
    collect()
    Path("photo.png").write_bytes(picture(100))
    capsys.readouterr()
    assert run_cli("forget", "photo.png") == 0
    assert collected().keys() == {other}
    assert [path.stem for path in paths.COLLECTED_IMAGES.rglob("*.png")] == [other]
    assert [path.stem for path in visitors.folder.rglob("*.png")] == [other]
    database = Database(visitors.address)
    assert {answer.sha256 for answer in read_feedback(database.engine).answers} == {other}
    database.close()
    printed = capsys.readouterr().out
    assert (
        f"{name}: deleted 3 predictions and their feedback, the file of the service, and the collected"
        in printed
    )
    assert commands(printed)[0] == "dvc add data/collected"
    assert run_cli("forget", "nothing") == 2
    assert "neither a file nor a sha256" in capsys.readouterr().err


@pytest.mark.usefixtures("visitors")
def test_data_that_are_missing_are_pulled_or_named(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(paths.RAW)
    assert run_cli("collect") == 2
    assert "data/raw: not on this machine: dvc pull: " in capsys.readouterr().err


def test_the_recorded_probability_of_the_label_counts(visitors: Visitors) -> None:
    probabilities = np.full(10, 0.0005, "<f4")
    probabilities[[3, 5, 6]] = 0.98, 0.016, 0.0005
    for number, label in enumerate(("5", "6")):
        name = visitors.send(picture(100 + number), "3", 0.98, probabilities=probabilities.tobytes())
        visitors.say(name, label)
    collect()
    assert [row.label for row in collected().values()] == ["5"]
    assert [row.detail for row in doubtful().values()] == [
        "digits 4 answered 3 with 98.0%, and this label with 0.05%"
    ]


def test_a_missing_image_is_copied_again_or_named(
    visitors: Visitors, capsys: pytest.CaptureFixture[str]
) -> None:
    visitors.tell(picture(100), "3", "5")
    collect()
    [row] = collected().values()
    (paths.COLLECTED_IMAGES / row.file).unlink()
    collect()
    assert (paths.COLLECTED_IMAGES / row.file).read_bytes() == picture(100)
    shutil.rmtree(paths.COLLECTED_IMAGES)
    shutil.rmtree(visitors.folder)
    collect("--dry-run")
    assert run_cli("collect") == 2
    message = f"1 images that data/collected.csv lists are missing, such as {row.file}: there is no data/collected.dvc"
    assert message in capsys.readouterr().err


async def answer_and_tell(model: Path, images: list[tuple[bytes, str]], address: str) -> None:
    """Serve a model, send it images, and tell their classes, as a page does."""
    environment = {
        "VISIONGATE_SERVING__LOG__ENABLED": "true",
        "VISIONGATE_SERVING__LOG__ADDRESS": address,
        "VISIONGATE_SERVING__LOG__IMAGES__KEEP": "all",
    }
    async with application(model, environment) as served:
        for image, label in images:
            answer = await served.client.post("/predict", files={"file": ("a.png", image)})
            body = answer.json()
            told = {"prediction_id": body["prediction_id"], "label": label}
            assert (await served.client.post("/feedback", json=told)).status_code == 200


def test_what_a_service_answered_and_kept_is_collected(visitors: Visitors, tmp_path: Path) -> None:
    write_dataset(
        paths.RAW, DatasetRecord("tried", list(tiny_models.CLASSES), 10, "", "", "", "", "", "", {})
    )
    write_threshold_model(tmp_path / "model.onnx")
    images = [(picture(100), "dark"), (picture(101), "bright"), (picture(2), "dark")]
    asyncio.run(answer_and_tell(tmp_path / "model.onnx", images, visitors.address))
    collect("--accept", "all")
    assert {name: row.label for name, row in collected().items()} == {
        sha256(picture(100)): "dark",
        sha256(picture(101)): "bright",
    }
    assert (paths.COLLECTED_IMAGES / collected()[sha256(picture(101))].file).read_bytes() == picture(101)
    assert corrections()[sha256(picture(2))].label == "dark"
