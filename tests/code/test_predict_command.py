"""``visiongate predict``: sources, models, formats, and what cannot be read."""

import csv
import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import tiny_models
from command_line import run_cli
from visiongate.adapters.mlflow.registry import CHAMPION, fetch_model, find_champion
from visiongate.adapters.mlflow.store import open_store
from visiongate.commands import predict
from visiongate.prediction import file_predictor, journal
from visiongate.prediction.file_predictor import FilePredictor
from visiongate.prediction.picture_paths import place_pictures
from visiongate.prediction.sources import Sources
from visiongate.records.files import write_json
from visiongate.records.reliability import RELIABILITY, Reliability
from visiongate.registration import stage as register
from visiongate.settings.loading import load_settings
from workspaces import ROOT, commit_workspace, enter_workspace, write_judged_model

Capture = pytest.CaptureFixture[str]
COLUMNS = [
    "path",
    "predicted",
    "confidence",
    "sure",
    "out_of_distribution",
    "probability_dark",
    "probability_bright",
    "reason",
]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, and without a registry."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    tiny_models.write_threshold_model(Path("models/model.onnx"))
    return tmp_path


def write_png(path: str | Path, level: int = 255) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 7), level).save(path, "PNG")
    return Path(path)


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def predicted(capsys: Capture, *sources: str) -> dict[str, str | None]:
    """Return the prediction, or else the reason, by path."""
    capsys.readouterr()
    run_cli("predict", *sources, "--format", "jsonl")
    return {row["path"]: row["predicted"] or row["reason"] for row in rows(capsys.readouterr().out)}


# Sources


def test_files_and_folders_are_predicted_in_order(capsys: Capture) -> None:
    write_png("photos/b/2.png", 10)
    write_png("photos/b.png")
    write_png("photos/ü 1/dir.png/x\ny.png")
    write_png("photos/.hidden/1.png")
    write_png("photos/Thumbs.db")
    write_png("one.png", 20)
    # As the paths are sorted.
    assert list(predicted(capsys, "one.png", "photos", "one.png").items()) == [
        ("one.png", "dark"),
        ("photos/b.png", "bright"),
        ("photos/b/2.png", "dark"),
        ("photos/ü 1/dir.png/x\ny.png", "bright"),
    ]
    assert run_cli("predict", "one.png", "photos", "one.png") == 0
    assert "photos/ü 1/dir.png/x\\ny.png  bright" in capsys.readouterr().out


def test_what_cannot_be_read_has_a_reason(capsys: Capture) -> None:
    write_png("photos/a.png")
    contents = {"b.pdf": b"%PDF-1.7", "c.jpg": b"", "d.png": Path("photos/a.png").read_bytes()[:45]}
    for name, content in contents.items():
        Path("photos", name).write_bytes(content)
    Image.effect_noise((99, 99), 50).save("whole.jpg")
    Path("photos/i.jpg").write_bytes(Path("whole.jpg").read_bytes()[:1000])
    Path("photos/e").symlink_to(".")
    Path("photos/f.png").symlink_to("f.png")
    Path("photos/g.png").symlink_to("nothing")
    os.mkfifo("photos/h.png")
    Path(os.fsdecode(b"photos/\xff.png")).write_bytes(Path("photos/a.png").read_bytes())
    found = predicted(capsys, "photos")
    assert (found["photos/a.png"], found["photos/\\xff.png"]) == ("bright", "bright")
    reasons = {
        "b.pdf": "PDF document",
        "c.jpg": "empty file",
        "d.png": "truncated; download or copy the file again",
        "i.jpg": "truncated; download or copy the file again",
        "e": "in a circle",
        "f.png": "symbolic links",
        "g.png": "No such file",
        "h.png": "not a regular file",
    }
    for name, reason in reasons.items():
        assert reason in (found[f"photos/{name}"] or "")
    assert run_cli("predict", "photos") == 1


def test_settings_limit_the_images(capsys: Capture) -> None:
    text = Path("params.yaml").read_text()
    write_png("one.png")
    Path("params.yaml").write_text(text.replace("max_pixels: 100000000", "max_pixels: 10"))
    assert "max_pixels = 10" in (predicted(capsys, "one.png")["one.png"] or "")
    lines = ["    max_file_bytes: 10" if "max_file_bytes" in line else line for line in text.splitlines()]
    Path("params.yaml").write_text("\n".join(lines))
    assert "max_file_bytes = 10" in (predicted(capsys, "one.png")["one.png"] or "")


def test_patterns_match_files_and_folders(capsys: Capture) -> None:
    for name in ("photos/1.png", "photos/2.jpg", "photos/sub/3.png", "odd[1].png"):
        write_png(name)
    assert list(predicted(capsys, "photos/*.png")) == ["photos/1.png"]
    assert list(predicted(capsys, "photos/*")) == ["photos/1.png", "photos/2.jpg", "photos/sub/3.png"]
    assert list(predicted(capsys, f"{Path.cwd()}/photos/**")) == [
        f"{Path.cwd()}/photos/{name}" for name in ("1.png", "2.jpg", "sub/3.png")
    ]
    assert list(predicted(capsys, "odd[1].png")) == ["odd[1].png"]


def test_archives_are_read_and_those_with_tricks_refused(capsys: Capture) -> None:
    image = write_png("one.png").read_bytes()
    with zipfile.ZipFile("good.zip", "w") as archive:
        for name in ("in/b.png", "in/a.png", "__MACOSX/in/b.png"):
            archive.writestr(name, image)
        archive.writestr("in/c.pdf", b"%PDF-1.7")
    with zipfile.ZipFile("evil.zip", "w") as archive:
        archive.writestr("../../a.png", image)
    Path("cut.zip").write_bytes(Path("good.zip").read_bytes()[:99])
    found = predicted(capsys, "good.zip", "evil.zip", "cut.zip", "one.png")
    assert list(found) == [
        "good.zip/in/a.png",
        "good.zip/in/b.png",
        "good.zip/in/c.pdf",
        "evil.zip",
        "cut.zip",
        "one.png",
    ]
    assert found["good.zip/in/b.png"] == found["one.png"] == "bright"
    assert "PDF" in (found["good.zip/in/c.pdf"] or "")
    assert "lead out of the archive" in (found["evil.zip"] or "")
    assert "cannot be read" in (found["cut.zip"] or "")


def test_a_list_is_read_from_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png("photos/a.png")
    write_png("b.png")
    monkeypatch.setattr("sys.stdin", io.StringIO("b.png\n\nmissing.png\nnull\0byte\nphotos\n"))
    assert predicted(capsys, "-") == {
        "b.png": "bright",
        "missing.png": "No such file or directory",
        "null\0byte": "embedded null byte",
        "photos/a.png": "bright",
    }


def test_addresses_are_downloaded(capsys: Capture) -> None:
    write_png("there/a.png")
    write_png("there/sub/b.png", 0)
    write_png("there/sub/.c.png", 0)
    with zipfile.ZipFile("there/c.zip", "w") as archive:
        archive.write("there/a.png", "in.png")
    there = Path("there").absolute().as_uri()
    found = predicted(
        capsys, f"{there}/a.png", f"{there}/gone.png", f"{there}/c.zip", f"{there}/sub", "there/a.png"
    )
    assert found == {
        f"{there}/a.png": "bright",
        f"{there}/gone.png": "no such file; check the address",
        f"{there}/c.zip/in.png": "bright",
        f"{there}/sub/b.png": "dark",
        "there/a.png": "bright",
    }
    assert "foo" in (predicted(capsys, "foo://a/b.png")["foo://a/b.png"] or "")


def test_files_are_counted_if_that_needs_no_reading() -> None:
    write_png("photos/a.png")
    write_png("photos/b/c.png")
    with zipfile.ZipFile("good.zip", "w") as archive:
        archive.write("photos/a.png")
    dataset = load_settings().dataset
    assert Sources(["photos", "photos/*.png"], [], dataset).count() == 3
    for name in ("-", "good.zip", "https://example.org/a.png"):
        assert Sources([name], [], dataset).count() is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "photos"], "nowhere: no such file or folder"),
        (["photos", ""], "an empty name is no source"),
        (["photos", "--output", "/proc/a.csv"], "/proc/a.csv: its folder cannot be written: "),
        (["photos/*.gif"], r"photos/*.gif: no such file or folder"),
        (["photos"], "photos: no files found"),
        (["photos", "--output", "a.csv"], "photos: no files found"),
        (["photos", "--output", "answers.xlsx"], "answers.xlsx: the suffix chooses the format"),
        (["photos", "--embed", "answers.csv"], "use one of .npy, .parquet"),
        (["photos", "--output", "a.csv", "--format", "csv"], "--format prints"),
        (["photos", "--output", "a.parquet", "--embed", "a.parquet"], "different files"),
        (["photos", "--embed", "a.npy"], "--embed needs the output 'embedding'"),
        (["photos", "--similar", "2"], "--similar needs the output 'embedding'"),
        (["photos", "--model", "models/model.onnx", "--model", "1", "--explain", "maps"], "a single --model"),
    ],
)
def test_a_wrong_call_is_one_line(words: list[str], message: str, capsys: Capture) -> None:
    Path("photos").mkdir()
    assert run_cli("predict", *words) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path("a.csv").exists()


# Pictures


@pytest.mark.parametrize(
    ("sources", "path", "expected"),
    [
        (["/new/cat.jpg", "/new/dog.jpg"], "/new/cat.jpg", "cat.jpg.png"),
        (["/new/photos"], "/new/photos/cats/1.jpg", "photos/cats/1.jpg.png"),
        (["/new/photos.zip"], "/new/photos.zip/in/1.jpg", "photos.zip/in/1.jpg.png"),
        (["/new/photos/*/a?.jpg"], "/new/photos/cats/a1.jpg", "photos/cats/a1.jpg.png"),
        (["/*.jpg"], "/1.jpg", "1.jpg.png"),
        (["photos", "cat.jpg"], "photos/cats/1.jpg", "photos/cats/1.jpg.png"),
        (["../../new/photos"], "../../new/photos/1.jpg", "photos/1.jpg.png"),
        (["https://example.org/1.jpg"], "https://example.org/1.jpg", "https:/example.org/1.jpg.png"),
        # The names of the sources do not tell the images apart.
        (["/old/cat.jpg", "/new/cat.jpg"], "/new/cat.jpg", "new/cat.jpg.png"),
        (["/new/cat.jpg", "cat.jpg"], "/new/cat.jpg", "new/cat.jpg.png"),
        (["-"], "/new/cat.jpg", "new/cat.jpg.png"),
    ],
)
def test_a_picture_is_named_like_the_image_in_its_source(
    sources: list[str], path: str, expected: str
) -> None:
    assert str(place_pictures(Path("maps"), sources)[path]) == f"maps/{expected}"


# Answers and formats


def test_few_images_are_listed_and_counted(capsys: Capture) -> None:
    for name, level in {"a": 0, "b": 120, "c": 255}.items():
        write_png(f"photos/{name}.png", level)
    Path("photos/d.png").touch()
    assert run_cli("predict", "photos") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["photos/a.png", "dark", "1.000"],
        ["photos/b.png", "dark", "0.999"],
        ["photos/c.png", "bright", "1.000"],
        ["photos/d.png", "-", "-"],
    ]
    assert [line.split() for line in lines[6:]] == [
        ["class", "images", "mean", "confidence"],
        ["dark", "2", "1.000"],
        ["bright", "1", "1.000"],
    ]


def test_many_images_are_only_counted(capsys: Capture) -> None:
    content = write_png("photos/000.png").read_bytes()
    for number in range(1, 70):
        Path(f"photos/{number:03d}.png").write_bytes(content if number % 9 else b"")
    assert run_cli("predict", "photos") == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[2] == "bright  63      1.000"
    assert "--output FILE.csv" in captured.out
    assert "7 of 70 files could not be read:\n  photos/009.png: empty file" in captured.err
    assert "  and 4 more" in captured.err


def test_each_format_has_the_same_exact_answers(capsys: Capture) -> None:
    for number in range(20):
        write_png(f"photos/{number:02d}.png", 110 + number)
    Path("photos/99.png").touch()
    for suffix in ("csv", "jsonl", "parquet"):
        assert run_cli("predict", "photos", "--output", f"out/answers.{suffix}") == 1
    table = pq.read_table("out/answers.parquet")
    assert table.column_names == COLUMNS
    with Path("out/answers.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    objects = rows(Path("out/answers.jsonl").read_text())
    for name in COLUMNS:
        values = table[name].to_pylist()
        if name.startswith(("prob", "conf")):
            assert [
                None if value is None else np.float32(value) for value in (row[name] for row in objects)
            ] == values
            assert [np.float32(row[name]) if row[name] else None for row in cells] == values
        else:
            assert [row[name] for row in objects] == values
            assert [row[name] or None for row in cells] == values
    capsys.readouterr()
    run_cli("predict", "photos", "--format", "csv")
    assert capsys.readouterr().out == Path("out/answers.csv").read_text()
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "answers.csv",
        "answers.jsonl",
        "answers.parquet",
    ]


def test_the_threshold_of_the_model_decides_unless_another_is_given(capsys: Capture) -> None:
    write_png("a.png", 128)
    assert predicted(capsys, "a.png") == {"a.png": "bright"}
    write_json(Path("reports/metrics.json"), {"threshold": 0.9})
    assert predicted(capsys, "a.png") == {"a.png": "dark"}
    assert predicted(capsys, "a.png", "--model", "models/model.onnx") == {"a.png": "dark"}
    assert predicted(capsys, "a.png", "--threshold", "0.5") == {"a.png": "bright"}
    tiny_models.write_threshold_model(Path("other.onnx"), classes=("dark", "bright", "none"))
    assert run_cli("predict", "a.png", "--model", "other.onnx", "--threshold", "0.5") == 2
    assert "other.onnx: a threshold of 0.5 needs two classes, not 3" in capsys.readouterr().err


def add_reliability(path: Path, novelty_threshold: float | None, min_probability: float = 0.2) -> None:
    """Give a model the brightness as its novelty, and thresholds."""
    model = onnx.load(path)
    if novelty_threshold is not None:
        axes = numpy_helper.from_array(np.array([1]), "axes")
        model.graph.initializer.append(axes)
        model.graph.node.append(helper.make_node("ReduceMean", ["flat", "axes"], ["novelty"], keepdims=0))
        model.graph.output.append(helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["batch"]))
    reliability = Reliability(0.1, min_probability, novelty_threshold, 100)
    model.metadata_props.add(key=RELIABILITY, value=json.dumps(asdict(reliability)))
    onnx.save(model, path)


def test_reliability_tells_what_is_sure(capsys: Capture) -> None:
    for name, level in {"a": 0, "b": 127, "c": 250}.items():
        write_png(f"photos/{name}.png", level)
    Path("photos/d.png").touch()
    add_reliability(Path("models/model.onnx"), None)
    assert run_cli("predict", "photos", "--format", "jsonl") == 1
    printed = rows(capsys.readouterr().out)
    assert [row["sure"] for row in printed] == [True, False, True, None]
    assert {row["out_of_distribution"] for row in printed} == {None}
    add_reliability(Path("models/model.onnx"), 200.0)
    tiny_models.write_threshold_model(Path("plain.onnx"))
    assert run_cli("predict", "photos") == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[3] for line in lines[1:4]] == ["yes", "no", "-"]
    assert lines[3][4:] == ["unlike", "the", "training", "images"]
    assert lines[6] == ["class", "images", "mean", "confidence", "not", "sure", "out", "of", "distribution"]
    assert lines[7:] == [["dark", "2", "0.811", "1", "0"], ["bright", "1", "1.000", "0", "1"]]
    assert run_cli("predict", "photos/b.png", "--model", "models/model.onnx", "--model", "plain.onnx") == 0
    assert "0.622 not sure  dark 0.622" in capsys.readouterr().out


def test_a_model_that_was_fitted_on_too_few_images_cannot_be_sure(capsys: Capture) -> None:
    write_png("a.png")
    add_reliability(Path("models/model.onnx"), None, min_probability=0.0)
    assert run_cli("predict", "a.png", "--format", "jsonl") == 0
    assert rows(capsys.readouterr().out)[0]["sure"] is None


def test_classes_without_images_are_left_out_of_many(capsys: Capture) -> None:
    tiny_models.write_threshold_model(
        Path("models/model.onnx"), classes=tuple(f"class {n}" for n in range(30))
    )
    write_png("a.png")
    assert run_cli("predict", "a.png") == 0
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()[4:]] == [["class", "1", "1"]]


# Models


def test_several_models_answer_side_by_side(capsys: Capture) -> None:
    tiny_models.write_threshold_model(Path("high/model.onnx"), 200)
    tiny_models.write_threshold_model(Path("other.onnx"), classes=("low", "high", "none"), side=6)
    write_png("a.png", 150)
    Path("b.png").touch()
    models = ["models/model.onnx", "high/model.onnx", "other.onnx"]
    options = [word for model in models for word in ("--model", model)]
    assert run_cli("predict", "a.png", "b.png", *options) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["path", *models[:2], "other"]
    assert lines[1].split()[1::2] == ["bright", "dark", "high"]
    assert lines[2].split()[:3] == ["b.png", "empty", "file;"]
    assert run_cli("predict", "a.png", *options, "--format", "jsonl") == 0
    (row,) = rows(capsys.readouterr().out)
    assert row["other/predicted"] == "high"
    assert row["high/model.onnx/probability_dark"] > 0.99


def foreign() -> None:
    Path("model.onnx").write_bytes(b"not an ONNX file")


def other_mode() -> None:
    tiny_models.write_threshold_model(Path("model.onnx"))
    content = Path("model.onnx").read_bytes()
    Path("model.onnx").write_bytes(content.replace(b'"mode": "L"', b'"mode": "P"'))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: None, "model.onnx: no such model file"),
        (foreign, "model.onnx: not a model that the train stage exported"),
        (other_mode, "model.onnx: unknown mode 'P' in its transform"),
    ],
)
def test_a_wrong_model_is_one_line(write: Callable[[], None], message: str, capsys: Capture) -> None:
    write()
    write_png("a.png")
    assert run_cli("predict", "a.png", "--model", "model.onnx") == 2
    assert message in capsys.readouterr().err


def test_without_a_registry_the_model_of_the_work_tree_predicts(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png("a.png")
    assert run_cli("predict", "a.png") == 0
    assert "No champion: the registry has no champion of" in capsys.readouterr().err
    assert not Path("mlruns").exists()
    assert run_cli("predict", "a.png", "--model", "champion") == 2
    assert "champion: no such file, and the registry is empty" in capsys.readouterr().err
    # Nothing listens there.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert run_cli("predict", "a.png") == 0
    assert "No champion: MLflow at http://127.0.0.1:9" in capsys.readouterr().err
    Path("models/model.onnx").unlink()
    assert run_cli("predict", "a.png") == 2
    assert "`dvc pull` downloads it" in capsys.readouterr().err


def test_the_champion_of_the_registry_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    enter_workspace(tmp_path / "registered", monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    commit_workspace()
    write_png("a.png", 135)
    write_judged_model(accuracy=1.0)
    register.run(load_settings())
    tiny_models.write_threshold_model(Path("models/model.onnx"), 200)
    settings = load_settings()
    store, name = open_store(settings.tracking), settings.registry.name
    assert predicted(capsys, "a.png") == {"a.png": "bright"}
    assert run_cli("predict", "a.png") == 0
    assert f"Model: {name} version 1 ({CHAMPION})" in capsys.readouterr().err
    store.client.set_model_version_tag(name, "1", "visiongate.threshold", "0.9999")
    for model in ("1", f"models:/{name}/1"):
        assert predicted(capsys, "a.png", "--model", model) == {"a.png": "dark"}
    for model in ("9", "nobody", f"models:/{name}@nobody", "models:/x"):
        assert run_cli("predict", "a.png", "--model", model) == 2
        assert f"{model}: " in capsys.readouterr().err
    champion = find_champion(store, name)
    assert champion is not None
    # Someone replaced the stored file.
    fetch_model(store, champion).write_bytes(Path("models/model.onnx").read_bytes())
    for words in ((), ("--model", "champion")):
        assert run_cli("predict", "a.png", *words) == 2
        assert "the stored file was changed" in capsys.readouterr().err


# Resuming


def test_an_interrupted_prediction_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    for number in range(100):
        write_png(f"photos/{number:02d}.png", 100 + number)
    Path("photos/50.png").write_bytes(b"")
    assert run_cli("predict", "photos", "--output", "whole.csv") == 1
    original = FilePredictor.predict
    batches: list[int] = []

    def stop(self: FilePredictor, files: Any) -> Any:  # noqa: ANN401 - a stand-in
        for table in original(self, files):
            if len(batches) == 2:
                raise KeyboardInterrupt
            batches.append(table.num_rows)
            yield table

    monkeypatch.setattr(FilePredictor, "predict", stop)
    words = ["predict", "photos", "--output", "my answers.csv"]
    assert run_cli(*words) == 130
    error = capsys.readouterr().err
    assert (
        "Interrupted after 64 files. To go on, run: visiongate predict photos --output 'my answers.csv'"
        in error
    )
    assert not Path("my answers.csv").exists()
    batches.clear()
    monkeypatch.setattr(FilePredictor, "predict", original)
    assert run_cli(*words) == 1
    captured = capsys.readouterr()
    assert "Going on after 64 files" in captured.err
    assert "1 of 100 files could not be read" in captured.err
    assert Path("my answers.csv").read_text() == Path("whole.csv").read_text()
    assert not Path("my answers.csv.parts").exists()


def leave_parts(monkeypatch: pytest.MonkeyPatch, source: str = "photos") -> Path:
    """Leave the results of a finished prediction, as if it had been killed before it wrote the output."""
    with monkeypatch.context() as patch:
        patch.setattr(predict, "write_results", lambda *_: os.kill(os.getpid(), 2))
        assert run_cli("predict", source, "--output", "a.csv") == 130
    return Path("a.csv.parts")


def test_parts_of_another_model_or_damaged_ones_are_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write_png("photos/a.png", 150)
    parts = leave_parts(monkeypatch)
    (parts / "key.json").write_text("{")
    assert run_cli("predict", "photos", "--output", "a.csv") == 0
    assert "starting again" in capsys.readouterr().err
    parts = leave_parts(monkeypatch)
    assert run_cli("predict", "photos", "--output", "a.csv", "--threshold", "0.99999999999999") == 0
    assert "starting again" in capsys.readouterr().err
    parts = leave_parts(monkeypatch)
    (parts / "000000.parquet").write_bytes(b"PAR1")
    assert run_cli("predict", "photos", "--output", "a.csv") == 2
    assert "damaged; remove the folder a.csv.parts" in capsys.readouterr().err


def test_only_present_and_unchanged_files_keep_the_results_of_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(journal, "MAX_ROWS", 2)
    monkeypatch.setattr(file_predictor, "BATCH", 2)

    def finish(*sources: str) -> str:
        capsys.readouterr()
        assert run_cli("predict", *sources, "--output", "a.csv") == 0
        error = capsys.readouterr().err
        assert run_cli("predict", *sources, "--output", "whole.csv") == 0
        assert Path("a.csv").read_text() == Path("whole.csv").read_text()
        return error

    for number in range(5):
        write_png(f"photos/{number}.png", 100 + number)
        write_png(f"other/{number}.png", 200 + number)
    leave_parts(monkeypatch)
    error = finish("other")
    assert "has results of other sources" in error
    assert "Going on" not in error
    leave_parts(monkeypatch)
    # In the second part, whose first result is kept.
    write_png("photos/3.png", 255)
    error = finish("photos")
    assert "photos/3.png: missing or changed since the interrupted run; starting again from there" in error
    assert "Going on after 3 files" in error
    leave_parts(monkeypatch)
    Path("photos/4.png").unlink()
    error = finish("photos")
    assert "photos/4.png: missing or changed" in error
    assert "Going on after 4 files" in error
    leave_parts(monkeypatch)
    write_png("photos/1a.png")
    assert "photos/2.png: missing or changed" in finish("photos")
    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write("photos/0.png", "in.png")
    leave_parts(monkeypatch, "photos.zip")
    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write("photos/3.png", "in.png")
    assert "photos.zip/in.png: missing or changed" in finish("photos.zip")


def test_an_output_belongs_to_one_process(capsys: Capture) -> None:
    write_png("photos/a.png", 150)
    with FileLock(".a.csv.parts.lock"):
        assert run_cli("predict", "photos", "--output", "a.csv") == 2
    assert "a.csv.parts: another process is writing to it" in capsys.readouterr().err


def test_an_interruption_without_an_output_says_how_to_keep_results(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write_png("a.png")

    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "_print_results", stop)
    assert run_cli("predict", "a.png") == 130
    assert "with --output FILE.csv" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_one_line(capsys: Capture) -> None:
    write_png("photos/a.png")
    Path("file").touch()
    assert run_cli("predict", "photos", "--output", "file/a.csv") == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("visiongate predict: file/a.csv: its folder cannot be written: ")
    )
    assert run_cli("predict", "photos", "--explain", "file/maps") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("visiongate predict: file")
