"""Collected images only train: no image of the source moves, and no copy of one that judges a model is learned."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from collected_images import add_collected
from visiongate import paths
from visiongate.errors import DataError
from visiongate.images.decoding import DecodeOptions
from visiongate.images.folds import load_folds
from visiongate.images.integrity import check_arrays
from visiongate.images.measurement import measure_images
from visiongate.images.survey import choose_conversion, count_traits
from visiongate.images.table import iterate_images, read_table
from visiongate.ingestion import stage as ingestion
from visiongate.ingestion.embedded import open_digits
from visiongate.preparation import stage as preparation
from visiongate.records.collected import change_collected
from visiongate.records.conversion import write_conversion
from visiongate.records.files import write_text
from visiongate.records.manifest import MANIFEST_FILE, read_manifest
from visiongate.records.measurements import remove_measurements, write_measurements
from visiongate.records.predictions import RecordedPredictions
from visiongate.records.splits import SPLITS
from visiongate.registration.pairing import Champion, EvaluatedImages, pair_predictions
from visiongate.registration.versions import learned_images
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings
from visiongate.transformation import stage as transformation
from visiongate.transformation.collected import join_collected, split_off
from visiongate.transformation.protocol import assign_images
from visiongate.transformation.units import Candidate

ROOT = Path(__file__).parents[2]
CLASSES = tuple(str(label) for label in range(10))
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Placed:
    """Where an image is."""

    path: str
    split: str
    fold: int | None


@dataclass(frozen=True)
class Collected:
    """The collected images that show those that judge models, and the others."""

    near: set[str]
    others: set[str]


@dataclass(frozen=True)
class Runs:
    """The places of the images, and what a model has learned, before and after images were collected."""

    transformed: Path
    before: dict[str, Placed]
    learned_before: frozenset[str] | None
    collected: Collected
    after: dict[str, Placed]
    learned_after: frozenset[str] | None


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    write_tables()


def write_tables() -> None:
    change_collected(paths.COLLECTED)
    write_text(paths.CORRECTIONS, "sha256,label,exclude,who,when,why\n")


def use(**changes: Any) -> Settings:  # noqa: ANN401 - any setting
    """The digits, with settings whose dots are two underscores."""
    values = {name.replace("__", "."): value for name, value in changes.items()}
    return replace_settings(load_settings(ROOT / "params.yaml"), values, "test")


@cache
def digits() -> list[tuple[str, Pixels]]:
    """Label and pixels of each digit, in the order of their paths."""
    return [(image.label, np.array(Image.open(io.BytesIO(image.image)))) for image in open_digits().read()]


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def brighter(pixels: Pixels) -> bytes:
    """The same picture in other bytes."""
    return png((pixels * 0.8 + 20).astype(np.uint8))


def other(pixels: Pixels, number: int) -> bytes:
    """A new picture: turned, with noise."""
    noise = np.random.default_rng(number).integers(0, 60, pixels.shape)
    return png(np.clip(np.rot90(pixels).astype(int) + noise, 0, 255).astype(np.uint8))


def run(settings: Settings) -> dict[str, Placed]:
    """Run the stages up to the pixel arrays, but for the suite of expectations; return the place of each image by sha256."""
    ingestion.run(settings)
    images = list(iterate_images(paths.RAW))
    chosen = choose_conversion(lambda: count_traits(images, DecodeOptions()), "auto", "auto")
    remove_measurements(paths.MEASURED)
    hashes = read_table(paths.RAW, ["sha256"]).column("sha256").to_pylist()
    write_measurements(paths.MEASURED, hashes, measure_images(images, DecodeOptions(chosen.conversion)))
    write_conversion(paths.MEASURED, chosen)
    preparation.run(settings)
    transformation.run(settings)
    check_arrays(paths.TRANSFORMED)
    rows = read_manifest(paths.TRANSFORMED, columns=["sha256", "path", "split", "fold"]).to_pylist()
    return {row["sha256"]: Placed(row["path"], row["split"], row["fold"]) for row in rows}


def number(path: str) -> int:
    return int(Path(path).stem)


def write_folder() -> None:
    """Write the digits as a source that gives train, val and test."""
    for place, (label, pixels) in enumerate(digits()):
        split = "test" if place % 7 == 0 else "val" if place % 11 == 0 else "train"
        folder = Path("mine", split, label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{place:04d}.png").write_bytes(png(pixels))


def collect(placed: dict[str, Placed]) -> Collected:
    """Collect 200 images."""
    known = digits()
    judging, training = [], []
    for place in placed.values():
        is_judging = place.split != "train" or place.fold is not None
        (judging if is_judging else training).append(number(place.path))
    copies = [(known[n][0], brighter(known[n][1])) for n in [*judging[:60], *training[:20]]]
    fresh = [(known[n][0], other(known[n][1], n)) for n in range(200 - len(copies))]
    names = [row.sha256 for row in add_collected(copies + fresh)]
    assert len(set(names)) == 200
    return Collected(set(names[:60]), set(names[60:]))


PROTOCOLS: dict[str, dict[str, Any]] = {
    "stratified": {},
    "hash": {"transformation__split__method": "hash", "dataset__limit": 1100},
    "folds": {"evaluation__protocol": "cross_validation", "dataset__limit": 600},
    "given": {"dataset__path": "mine", "dataset__url": None, "dataset__splits": None, "dataset__limit": 600}
    | {"evaluation__protocol": "holdout"},
}


@pytest.fixture(scope="module", params=PROTOCOLS)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """The data stages before and after 200 images were collected."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DVC_ROOT", raising=False)
        patch.chdir(folder)
        write_tables()
        if request.param == "given":
            write_folder()
        settings = use(**PROTOCOLS[request.param])
        before = run(settings)
        learned = read_learned()
        collected = collect(before)
        after = run(settings)
        yield Runs(folder / paths.TRANSFORMED, before, learned, collected, after, read_learned())


def read_learned() -> frozenset[str] | None:
    return learned_images((paths.TRANSFORMED / MANIFEST_FILE).read_bytes(), "manifest")


def test_collected_images_move_none_of_the_source(runs: Runs) -> None:
    assert {sha256: runs.after.get(sha256) for sha256 in runs.before} == runs.before


def test_copies_of_images_that_judge_are_left_out_and_the_others_only_train(runs: Runs) -> None:
    assert not runs.collected.near & runs.after.keys()
    added = {sha256: place for sha256, place in runs.after.items() if sha256 not in runs.before}
    assert added.keys() == runs.collected.others
    assert {(place.split, place.fold) for place in added.values()} == {("train", None)}


def test_the_champion_is_compared_on_the_same_images_which_it_has_not_learned(runs: Runs) -> None:
    images = judged(runs.before)
    assert judged(runs.after) == images
    is_cross_validated = next(iter(runs.before.values())).fold is not None
    challenger = EvaluatedImages(
        predict(images), read_manifest(runs.transformed), runs.transformed, is_cross_validated
    )
    champion = Champion(None, None, predict(images), runs.learned_before)
    pairing = pair_predictions(challenger, champion, CLASSES)
    assert (pairing.left_out, len(pairing.truth.labels)) == (0, len(images))
    # The next champion has learned the collected images.
    assert runs.learned_after == (runs.learned_before or set()) | runs.collected.others


def judged(placed: dict[str, Placed]) -> list[str]:
    return [sha256 for sha256, place in placed.items() if place.split == "test" or place.fold is not None]


def predict(images: Sequence[str]) -> RecordedPredictions:
    names = ["0"] * len(images)
    return RecordedPredictions(images, names, names, np.full((len(images), 10), 0.1))


def test_each_fold_is_trained_on_the_collected_images_and_tested_on_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    settings = use(evaluation__protocol="cross_validation", dataset__limit=300)
    collected = collect(run(settings))
    run(settings)
    assert "60 collected images are left out: near-duplicates of images that judge" in caplog.text
    folded = load_folds(paths.TRANSFORMED)
    hashes = folded.manifest.column("sha256").to_pylist()
    rows = {row for row, sha256 in enumerate(hashes) if sha256 in collected.others}
    for fold in folded:
        chosen = {split: set(folded.rows(fold, split).tolist()) for split in SPLITS}
        assert rows <= chosen["train"]
        assert not rows & (chosen["val"] | chosen["test"])


def test_a_collected_copy_of_an_image_of_the_source_changes_nothing() -> None:
    settings = use(dataset__limit=300)
    before = run(settings)
    source = {image.path: image.image for image in open_digits().read()}
    one, two = (place.path for place in list(before.values())[3:5])
    right, wrong = digits()[number(one)][0], str((int(digits()[number(two)][0]) + 1) % 10)
    add_collected([(right, source[one]), (wrong, source[two])])
    assert run(settings) == before
    reasons = Path("reports/preparation/quarantine.csv").read_text(encoding="utf-8")
    assert reasons.count(f",duplicate,same bytes as {one}") == 1
    assert reasons.count(f",label_conflict,same bytes as {two} (") == 1


def test_fewer_images_of_the_source_than_the_limit_of_a_protocol_stay_few() -> None:
    settings = use(dataset__limit=900)
    before = run(settings)
    assert {place.fold for place in before.values()} == set(range(5))
    add_collected((label, other(pixels, n)) for n, (label, pixels) in enumerate(digits()[:200]))
    after = run(settings)
    assert {sha256: after[sha256] for sha256 in before} == before
    assert len(after) == 1100


# Assignment


def of(images: Sequence[Candidate]) -> dict[str, str | None]:
    settings = use()
    assigned = assign_images(images, settings.transformation.split, settings.evaluation)
    return dict(zip([image.sha256 for image in images], assigned.splits, strict=True))


def source(count: int = 1200, **fields: str) -> list[Candidate]:
    return [Candidate(f"{n:04}", "ab"[n % 2], **fields) for n in range(count)]


def test_images_that_are_linked_by_other_collected_ones_are_left_out() -> None:
    images = source()
    splits = of(images)
    test = next(name for name, split in splits.items() if split == "test")
    images = [image._replace(near="x") if image.sha256 == test else image for image in images]
    chain = [
        Candidate("near", "a", collected=True, near="x", group="patient"),
        Candidate("same patient", "b", collected=True, group="patient"),
        Candidate("another", "b", collected=True, group="other"),
    ]
    after = of([*images, *chain])
    assert {name: after[name] for name in splits} == splits
    assert [after[image.sha256] for image in chain] == [None, None, "train"]


def test_two_images_of_the_source_are_not_linked_by_a_collected_one() -> None:
    images = source()
    splits = of(images)
    train = next(name for name, split in splits.items() if split == "train")
    test = next(name for name, split in splits.items() if split == "test")
    images = [image._replace(near="x") if image.sha256 in {train, test} else image for image in images]
    after = of([*images, Candidate("between", "a", collected=True, near="x")])
    assert {name: after[name] for name in splits} == splits
    assert after["between"] is None


def test_a_class_that_only_collected_images_have_is_divided() -> None:
    images = source()
    splits = of(images)
    new = [Candidate(f"new-{n}", "c", collected=True, near="pair" if n < 2 else None) for n in range(60)]
    after = of([*images, *new])
    assert {name: after[name] for name in splits} == splits
    found = [after[image.sha256] for image in new]
    assert set(found) == set(SPLITS)
    assert found[0] == found[1]


def test_nothing_is_split_off_without_collected_images() -> None:
    assert split_off(source(3)) == ([0, 1, 2], [])
    assignment = assign_images(source(), use().transformation.split, use().evaluation)
    assert join_collected(source(), range(1200), [], assignment).splits == assignment.splits


# Ingestion


def test_missing_files_are_named_with_the_command_that_fetches_them() -> None:
    first, second = add_collected([("1", b"one"), ("2", b"two")])
    (paths.COLLECTED_IMAGES / second.file).unlink()
    with pytest.raises(
        DataError,
        match=rf"1 of the 2 images that data/collected.csv lists are missing, such as {second.file}: there is no "
        r"data/collected.dvc; .* `dvc pull data/collected.dvc`",
    ):
        ingestion.run(use())
    assert first.file != second.file


def test_a_changed_file_is_refused() -> None:
    (row,) = add_collected([("1", b"one")])
    (paths.COLLECTED_IMAGES / row.file).write_bytes(b"another")
    with pytest.raises(DataError, match="its content is not that of its name"):
        ingestion.run(use())


def test_an_unknown_class_is_an_error_or_becomes_the_last_class() -> None:
    add_collected([("letter a", other(digits()[0][1], 1)), ("1", other(digits()[1][1], 2))])
    with pytest.raises(
        DataError, match=r"1 images have a label that is not a class of the data: 'letter a' \(1\)"
    ):
        ingestion.run(use())
    ingestion.run(use(dataset__new_classes=True, dataset__limit=20))
    table = read_table(paths.RAW, ["path", "label", "split"])
    assert table.num_rows == 22
    assert table.column("label").to_pylist().count("letter a") == 1


def test_images_of_another_data_set_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    add_collected([("1", other(digits()[0][1], 1))])
    add_collected([("cat", b"not here"), ("dog", b"nor this")], "pets")
    (paths.COLLECTED_IMAGES).rename("gone")
    add_collected([("1", other(digits()[0][1], 1))])
    ingestion.run(use(dataset__limit=20))
    assert read_table(paths.RAW, ["path"]).num_rows == 21
    assert "2 images in data/collected.csv are of other data sets: pets" in caplog.text
