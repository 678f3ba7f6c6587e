"""``visiongate correct``: suspects, the page, and corrections by command."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pyarrow as pa
import pytest
import uvicorn
from PIL import Image

from command_line import run_cli
from page_structure import check_page
from visiongate.commands import correct, features
from visiongate.correction.application import Review, build_application
from visiongate.correction.desk import Desk
from visiongate.correction.embeddings import MIN_SIDE, backbone_side
from visiongate.correction.labeling_list import LabelingRow
from visiongate.correction.pictures import Pictures
from visiongate.correction.suspects import (
    LabeledImages,
    drop_rare_classes,
    predict_out_of_fold,
    rank_labels,
)
from visiongate.errors import DataError
from visiongate.images.decoding import DecodeOptions
from visiongate.images.pixels import Pixels
from visiongate.images.table import write_shards
from visiongate.records.clusters import write_clusters
from visiongate.records.conversion import ChosenConversion, Conversion, write_conversion
from visiongate.records.corrections import read_corrections
from visiongate.records.csv_rows import read_rows
from visiongate.records.dataset import DatasetRecord, write_dataset
from visiongate.records.files import write_text
from visiongate.records.manifest import write_manifest
from visiongate.records.transform import Transform, write_transform
from visiongate.transformation.units import Candidate

ROOT = Path(__file__).parents[2]
FILE = Path("data/corrections.csv")
HEADER = "sha256,label,exclude,who,when,why\n"
HOSTILE = '<img src=x onerror=alert("x")>'
CLASSES = ("cat", "dog", HOSTILE)
COUNT, SIDE = 90, 8
# Images whose label is wrong.
FLIPPED = {4, 40, 77}


def draw(number: int) -> Pixels:
    """An image whose brightest third shows its class."""
    image = np.random.default_rng(number).integers(0, 90, (SIDE, SIDE), dtype=np.uint8)
    image[:, 3 * (number % 3) : 3 * (number % 3) + 2] += 120
    return image


def label_of(number: int) -> int:
    return (number + (number in FLIPPED)) % 3


def path_of(number: int) -> str:
    return f"{'cdx'[label_of(number)]}/{number:02d}.png"


def encode(image: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = [encode(draw(number)) for number in range(COUNT)]
HASHES = [hashlib.sha256(image).hexdigest() for image in IMAGES]


def embed(images: Pixels) -> Any:  # noqa: ANN401 - an array
    """The brightness of each column, which is an embedding that knows no label."""
    return images.mean(axis=(1, 3)).astype(np.float32)


@pytest.fixture
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs of a pipeline up to `transformation`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(features, "open_backbone", lambda _transform: embed)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "config", "user.name", "Ada"], check=True)
    write_text(FILE, HEADER)
    rows = [
        {
            "path": path_of(number),
            "label": CLASSES[label_of(number)],
            "image": IMAGES[number],
            "sha256": HASHES[number],
        }
        for number in range(COUNT)
    ]
    write_shards(Path("data/raw"), sorted(rows, key=lambda row: str(row["path"])))
    record = DatasetRecord("tried", list(CLASSES), COUNT, "none", "none", "none", "here", "", "", {})
    write_dataset(Path("data/raw"), record)
    write_conversion(Path("data/measured"), ChosenConversion(Conversion()))
    write_clusters(Path("data/prepared"), [(HASHES[0], "pair"), (HASHES[3], "pair")])
    write_transformed(Path("data/transformed"))


def write_transformed(folder: Path) -> None:
    folder.mkdir()
    splits = {"train": range(60), "val": range(60, 75), "test": range(75, COUNT)}
    for split, numbers in splits.items():
        np.save(folder / f"{split}.npy", np.stack([draw(number) for number in numbers])[..., None])
        np.save(folder / f"{split}_labels.npy", np.array([label_of(number) for number in numbers]))
    manifest = {
        "split": [split for split, numbers in splits.items() for _ in numbers],
        "row": [row for numbers in splits.values() for row in range(len(numbers))],
        "label": [label_of(number) for number in range(COUNT)],
        "path": [path_of(number) for number in range(COUNT)],
        "sha256": HASHES,
        "group": pa.nulls(COUNT, pa.string()),
        "fold": pa.nulls(COUNT, pa.int32()),
        "width": [SIDE] * COUNT,
        "height": [SIDE] * COUNT,
        "format": ["PNG"] * COUNT,
        "mode": ["L"] * COUNT,
        "bytes": [100] * COUNT,
    }
    write_manifest(folder, pa.table(manifest))
    write_transform(folder, Transform(SIDE, "L", "stretch", [0.3], [0.2], list(CLASSES)))


def call(*arguments: str) -> int:
    return run_cli("correct", *arguments)


# Suspects


def made_images(flips: set[int]) -> tuple[LabeledImages, Any]:
    """90 images of three separable classes, some of which are linked."""
    generator = np.random.default_rng(0)
    true = np.arange(COUNT) % 3
    labels = np.where(np.isin(np.arange(COUNT), list(flips)), (true + 1) % 3, true)
    embeddings = np.eye(3)[true] * 3 + generator.normal(0, 0.4, (COUNT, 3))
    images = [
        Candidate(str(number), CLASSES[label], None, "patient" if number < 6 else None)
        for number, label in enumerate(labels.tolist())
    ]
    paths = [f"{number}.png" for number in range(COUNT)]
    # The classifier's penalty suits a thousand features.
    return LabeledImages(images, paths, labels, CLASSES), np.tile(embeddings, 100).astype(np.float32)


def test_wrong_labels_come_first_with_the_right_class() -> None:
    images, embeddings = made_images(FLIPPED)
    suspects = rank_labels(predict_out_of_fold(embeddings, images), images)
    assert len(suspects) == COUNT
    assert {suspect.row for suspect in suspects[:3]} == FLIPPED
    assert [suspect.suggested for suspect in suspects[:3]] == [
        CLASSES[suspect.row % 3] for suspect in suspects[:3]
    ]
    assert {suspect.row for suspect in suspects if suspect.likely} == FLIPPED
    assert [suspect.margin for suspect in suspects] == sorted(suspect.margin for suspect in suspects)


def test_a_linked_image_does_not_vouch_for_a_label() -> None:
    """A copy with the same wrong label would hide the error if it were in another fold."""
    images, embeddings = made_images({1})
    embeddings[4] = embeddings[1]
    images.labels[4] = images.labels[1]
    images.images[4] = images.images[4]._replace(label=images.images[1].label)
    suspects = rank_labels(predict_out_of_fold(embeddings, images), images)
    assert {suspect.row for suspect in suspects[:2]} == {1, 4}


def test_a_rare_class_is_not_checked(caplog: pytest.LogCaptureFixture) -> None:
    images, embeddings = made_images({9, 42})
    # Two images of the third class are left.
    rows = [row for row, label in enumerate(images.labels.tolist()) if label < 2 or row in {8, 11}]
    few = LabeledImages(
        [images.images[row] for row in rows],
        [images.paths[row] for row in rows],
        images.labels[rows],
        CLASSES,
    )
    kept, features = drop_rare_classes(few, embeddings[rows])
    assert len(kept.images) == len(features) == len(rows) - 2
    assert caplog.messages == [
        f"The labels of {HOSTILE!r} are not checked: fewer than 3 images that are neither of one group nor near-duplicates"
    ]
    suspects = rank_labels(predict_out_of_fold(features, kept), kept)
    assert {suspect.path for suspect in suspects[:2]} == {"9.png", "42.png"}
    with pytest.raises(
        DataError, match="too few images: labels are checked in classes with at least 3 images"
    ):
        drop_rare_classes(
            replace(few, images=[each._replace(group="one") for each in few.images]), embeddings[rows]
        )


def test_small_images_are_enlarged() -> None:
    assert (backbone_side(8), backbone_side(224)) == (MIN_SIDE, 224)
    seen = []
    for shape in ((3, 8, 8, 3), (3, 8, 8, 1), (3, 224, 224, 3)):
        features.embed_enlarged(
            lambda images: seen.append(images.shape) or np.zeros((3, 2)), np.zeros(shape, np.uint8)
        )
    assert seen == [(3, 112, 112, 3), (3, 112, 112, 1), (3, 224, 224, 3)]


# Commands


@pytest.mark.usefixtures("_data")
def test_the_suspects_are_listed_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["path", "label", "probability", "suggested", "probability", "sha256"]
    assert {line.split()[0] for line in lines[1:]} == {path_of(number) for number in FLIPPED}

    assert call(path_of(4), "--label", "dog") == 0
    capsys.readouterr()
    assert call("--list", "--output", "suspects.csv") == 0
    assert capsys.readouterr().out == "Wrote suspects.csv: 89 images, 2 of them likely wrong\n"
    written = read_rows(Path("suspects.csv"), correct.Suspect)
    assert {suspect.row for suspect in written[:2]} == FLIPPED - {4}


@pytest.mark.usefixtures("_data")
def test_an_image_is_corrected_by_path_hash_or_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("copy.png").write_bytes(IMAGES[7])
    assert call(path_of(4), "--label", "dog", "--why", "two\nlines") == 0
    assert capsys.readouterr().out == (
        f"{path_of(4)}: label 'dog'; the source has {HOSTILE!r}; `visiongate repro` applies the corrections\n"
    )
    assert call(HASHES[5], "--exclude") == 0
    assert call("copy.png", "--label", "dog") == 0
    # The end of a path suffices.
    assert call("09.png", "--label", "cat") == 0
    found = read_corrections(FILE)
    assert [found[HASHES[number]].label for number in (4, 5, 7, 9)] == ["dog", None, "dog", "cat"]
    assert (found[HASHES[4]].who, found[HASHES[4]].why) == ("Ada", "two lines")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found[HASHES[4]].when)

    assert call(HASHES[4], "--undo") == 0
    assert HASHES[4] not in read_corrections(FILE)


@pytest.mark.usefixtures("_data")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((path_of(4),), "give an image and one decision"),
        (("--exclude",), "give an image and one decision"),
        ((path_of(4), "--exclude", "--label", "dog"), "give an image and one decision"),
        ((path_of(4), "--label", "cow"), "'cow' is not a class of the data; choose one of cat, dog, "),
        (
            ("x/4.png", "--exclude"),
            "x/4.png: no image of the data has this sha256, path or content; did you mean x/",
        ),
        ((path_of(4), "--exclude", "--why", "\udcff"), r"why '\udcff' has characters that are not Unicode"),
        ((path_of(4), "--undo"), f"{path_of(4)}: data/corrections.csv has no correction of it"),
    ],
)
def test_a_mistake_is_explained(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    assert f"correct: {message}" in capsys.readouterr().err
    assert FILE.read_text() == HEADER


@pytest.mark.usefixtures("_data")
def test_a_name_of_several_images_is_refused() -> None:
    rows = [
        {"path": f"{label}/same.png", "label": label, "image": b"", "sha256": label}
        for label in ("cat", "dog")
    ]
    write_shards(Path("data/raw"), rows)
    with pytest.raises(
        DataError, match=r"same.png: several images have this name: cat/same.png, dog/same.png"
    ):
        correct.find_image("same.png", Path("data/raw"))


@pytest.mark.usefixtures("_data")
def test_the_name_is_that_of_git_or_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    assert correct.read_name() == "Ada"
    subprocess.run(["git", "config", "--unset", "user.name"], check=True)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("LOGNAME", "account")
    assert correct.read_name() == "account"


@pytest.mark.usefixtures("_data")
def test_a_port_in_use_is_named() -> None:
    with (
        correct.open_port(0) as taken,
        pytest.raises(DataError, match=r"port \d+: .*; choose another one with --port"),
    ):
        correct.open_port(taken.getsockname()[1])


# The page


@dataclass(frozen=True)
class Site:
    """A running application."""

    address: str

    def get(self, path: str = "", **headers: str) -> Any:  # noqa: ANN401 - urllib's response
        return urlopen(Request(self.address + path, headers=headers), timeout=10)  # noqa: S310

    def page(self, query: str = "") -> str:
        text: str = self.get(query).read().decode()
        return text

    def post(self, body: object) -> Any:  # noqa: ANN401 - JSON
        content = json.dumps(body).encode()
        request = Request(self.address + "card", content, {"Content-Type": "application/json"})  # noqa: S310
        return json.load(urlopen(request, timeout=10))  # noqa: S310

    def refuse(self, body: object) -> tuple[int, str]:
        with pytest.raises(HTTPError) as error:
            self.post(body)
        return error.value.code, json.load(error.value)["error"]


@contextmanager
def serving(per_page: int = 20) -> Iterator[Site]:
    images, embeddings, suspects = correct.find_suspects()
    desk = Desk(images, embeddings, suspects, FILE, "Ada")
    review = Review(desk, Pictures(Path("data/raw"), DecodeOptions()), per_page)
    application, path = build_application(review)
    listening = correct.open_port(0)
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Site(f"http://127.0.0.1:{listening.getsockname()[1]}{path}")
    finally:
        server.should_exit = True
        thread.join()


def shown(page: str) -> list[str]:
    return re.findall(r'data-sha256="(\w+)"', page)


@pytest.mark.usefixtures("_data")
def test_suspects_are_decided_and_undone_on_the_page() -> None:
    with serving() as site:
        first = shown(site.page())
        assert set(first) == {HASHES[number] for number in FLIPPED}
        assert re.search(r"Its label is <b>cat</b>: \d+% by a model that has not seen the image", site.page())
        answer = site.post({"sha256": first[0], "action": "label", "label": "dog", "why": "seen"})
        assert "Labeled dog" in answer["html"] or "Kept as dog" in answer["html"]
        assert answer["decided"] == 1
        assert read_corrections(FILE)[first[0]].why == "seen"
        site.post({"sha256": first[1], "action": "exclude"})
        assert read_corrections(FILE)[first[1]].why.startswith("looked at; predicted ")
        # They stay in their place, so that the pages do not move.
        assert shown(site.page()) == first
        # The latest decision first, also of an image that the data do not have.
        add = f"{'0' * 64},cat,,Bob,2026-01-01,\n"
        FILE.write_text(FILE.read_text() + add)
        assert shown(site.page("?view=decided")) == ["0" * 64, first[1], first[0]]
        assert "Undone." in site.post({"sha256": "0" * 64, "action": "undo"})["html"]
        assert 'data-action="exclude"' in site.post({"sha256": first[1], "action": "undo"})["html"]
        assert list(read_corrections(FILE)) == [first[0]]


@pytest.mark.usefixtures("_data")
def test_the_page_divides_many_images() -> None:
    with serving(per_page=40) as site:
        pages = [shown(site.page(f"?view=all&page={number}")) for number in (1, 2, 3)]
        assert [len(page) for page in pages] == [40, 40, 10]
        assert len({sha256 for page in pages for sha256 in page}) == COUNT
        assert shown(site.page("?view=all&page=99")) == pages[2]
        assert shown(site.page("?view=all&page=x")) == pages[0]
        assert shown(site.page("?view=no&page=1")) == shown(site.page())
        assert 'rel="next"' in site.page("?view=all")
        assert "Nobody has made a correction yet." in site.page("?view=decided")


@pytest.mark.usefixtures("_data")
def test_the_page_is_safe() -> None:
    with serving() as site:
        page = site.page("?view=all")
        assert HOSTILE not in page
        assert not re.search(r"https?://|<script>|style=|onclick", page)
        policy = site.get().headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        with pytest.raises(HTTPError, match="404"):
            urlopen(site.address.rpartition("/")[0].rpartition("/")[0] + "/")  # noqa: S310
        # A page of another host whose name leads to this machine.
        with pytest.raises(HTTPError, match="400"):
            site.get(Host="evil.example")
        assert site.refuse({"sha256": "f" * 64, "action": "exclude"}) == (
            400,
            f"'{'f' * 64}': not an image of the data",
        )
        assert site.refuse({"sha256": "\ud800", "action": "exclude"})[1].startswith("'\\ud800': not an image")
        code, message = site.refuse({"sha256": HASHES[0], "action": "exclude", "why": "\ud800"})
        assert (code, message.startswith("why '\\ud800' has characters")) == (400, True)
        assert site.refuse({"sha256": HASHES[0], "action": "label", "label": "cow"})[0] == 400
        assert site.refuse({"sha256": HASHES[0], "action": "undo"})[1].endswith("no correction to undo")
        assert site.refuse({"sha256": HASHES[0], "action": "no"})[1] == "action 'no' is unknown"
        assert site.refuse([1])[0] == 400
        assert site.refuse({"why": "x" * 20_000}) == (413, "the request is too large")
        assert FILE.read_text() == HEADER


@pytest.mark.usefixtures("_data")
def test_the_page_shows_pictures() -> None:
    with serving() as site:
        response = site.get(f"picture/{HASHES[0]}?large")
        assert Image.open(io.BytesIO(response.read())).size == (SIDE, SIDE)
        assert "max-age" in response.headers["Cache-Control"]
        with pytest.raises(HTTPError, match="404"):
            site.get(f"picture/{'0' * 64}")
        assert "--accent" in site.get("page.css").read().decode()
        assert "keydown" in site.get("page.js").read().decode()


# Enough of a browser for the script of the page: two cards, whose buttons the answers of the server change.
BROWSER = """
const sent = [], told = {textContent: "", classList: {toggle() {}}}, listeners = {};
const card = (sha256, decided) => ({
  dataset: {sha256}, decided,
  classList: {contains: () => cardOf(sha256).decided},
  closest() { return this; }, matches: () => false, scrollIntoView() {},
  focus() { document.activeElement = this; },
  replaceWith(changed) { all[all.indexOf(this)] = changed; },
  querySelectorAll: () => [],
  querySelector(selector) {
    const action = {"\\"u\\"": "undo", "\\"s\\"": "label"}[selector.match(/"."/)?.[0]];
    return (action === "undo") === this.decided && action ? {dataset: {action, value: "dog"}} : null;
  },
});
const all = [card("a", false), card("b", false)];
const cardOf = (sha256) => all.find((each) => each.dataset.sha256 === sha256);
globalThis.CSS = {escape: (text) => text};
globalThis.DOMParser = class { parseFromString(html) { return {querySelector: () => card(...JSON.parse(html))}; } };
globalThis.fetch = async (_, {body}) => {
  const {sha256, action} = JSON.parse(body);
  sent.push(`${action} ${sha256}`);
  return {ok: true, json: async () => ({html: JSON.stringify([sha256, action !== "undo"]), decided: 1})};
};
globalThis.document = {
  getElementById: () => told, querySelectorAll: () => all,
  addEventListener: (kind, listener) => { listeners[kind] = listener; },
};
require(process.argv[1]);
(async () => {
  for (const key of "suu") {
    listeners.keydown({key, target: all[0], preventDefault() {}});
    await new Promise((done) => setTimeout(done));
  }
  console.log(JSON.stringify([sent, told.textContent]));
})();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_key_of_undo_is_for_the_last_decision_after_the_focus_has_moved() -> None:
    script = ROOT / "src/visiongate/correction/page.js"
    ended = subprocess.run(["node", "-e", BROWSER, script], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == [["label a", "undo a"], "No decision on this page to undo."]


# What to label next


@pytest.mark.usefixtures("_data")
def test_what_to_label_next_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("unlabeled")
    folder.mkdir()
    for number in range(200, 212):
        (folder / f"{number}.png").write_bytes(encode(draw(number)))
    (folder / "again.png").write_bytes(encode(draw(200)))
    (folder / "known.png").write_bytes(IMAGES[0])
    (folder / "notes.txt").write_text("no image")
    assert run_cli("label-next", "unlabeled", "--count", "5", "--output", "list") == 0
    ended = capsys.readouterr()
    assert ended.out == "Wrote 5 of 12 unlabeled images to list/label_next.csv and list/index.html\n"
    assert "Left out: 1 already in the data set, 1 unreadable" in ended.err
    rows = read_rows(Path("list/label_next.csv"), LabelingRow)
    assert [row.margin for row in rows] == sorted(row.margin for row in rows)
    assert {row.predicted for row in rows} <= set(CLASSES)
    assert hashlib.sha256(Path(rows[0].path).read_bytes()).hexdigest() == rows[0].sha256
    page = Path("list/index.html").read_text()
    check_page(page)
    assert page.count("<img") == 5
    assert HOSTILE not in page


@pytest.mark.usefixtures("_data")
def test_a_folder_without_unlabeled_images_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("known").mkdir()
    Path("known/0.png").write_bytes(IMAGES[0])
    assert run_cli("label-next", "known") == 2
    assert "known: no unlabeled image (1 already in the data set, 0 unreadable)" in capsys.readouterr().err
    assert run_cli("label-next", "missing") == 2
