"""Tables of labels: formats, guessed columns, rows that fit no image, and tables beside class folders."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from source_trees import dataset, of_paths, placed, refusal, rows, tree
from visiongate.errors import DataError
from visiongate.ingestion.fetching import DownloadOptions
from visiongate.ingestion.image_lookup import ImageLookup
from visiongate.ingestion.inspection import inspect_source
from visiongate.ingestion.layouts import find_images
from visiongate.ingestion.source import Source
from visiongate.ingestion.trees import Tree, open_tree
from visiongate.settings.dataset import Dataset, LabelTable

PETS = ("1.jpg", "2.jpg", "3.jpg", "4.jpg")
CSV = "image,label\n1.jpg,cat\n2.jpg,dog\n3.jpg,cat\n4.jpg,dog\n"


def labeled(table: str | bytes, name: str = "labels.csv", images: tuple[str, ...] = PETS) -> Tree:
    """Return a tree of images with a table."""
    content = table.encode() if isinstance(table, str) else table
    return tree({name: content, **{path: path.encode() for path in images}})


def table(**changes: object) -> LabelTable:
    return dataset().table.model_copy(update=changes)


def labels(found: Tree, **changes: object) -> dict[str, str]:
    return {path: label for path, _, label in placed(find_images(found, dataset(**changes)))}


def parquet(**columns: list[object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


EXPECTED = {"1.jpg": "cat", "2.jpg": "dog", "3.jpg": "cat", "4.jpg": "dog"}
TEXTS = {
    "plain": CSV,
    "mark of UTF-8": "\ufeff" + CSV,
    "UTF-16": CSV.encode("utf-16"),
    "semicolons": CSV.replace(",", ";"),
    "lines of Windows": CSV.replace("\n", "\r\n"),
    "quotes": 'image,label\n"1.jpg","cat"\n2.jpg,"dog"\n3.jpg,cat\n\n4.jpg,dog',
    "an index of pandas": ",image,label\n0,1.jpg,cat\n1,2.jpg,dog\n2,3.jpg,cat\n3,4.jpg,dog\n",
    "quotes after blanks": CSV.replace(",cat", ', "cat"'),
    "blanks": CSV.replace(",", " , "),
    "no extension": CSV.replace(".jpg", ""),
    "other case": CSV.replace("jpg", "JPG"),
    "paths of another machine": CSV.replace("\n", "\nC:\\data\\pets\\").removesuffix("C:\\data\\pets\\"),
    "another name": CSV.replace("image,label", "id_code,diagnosis"),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_csv_labels_images(text: str | bytes) -> None:
    source = find_images(labeled(text), dataset())
    assert {path: label for path, _, label in placed(source)} == EXPECTED
    assert source.classes == ["cat", "dog"]
    assert source.layout == "2 classes; labels in tried/labels.csv"
    assert rows(source)[0].image == b"1.jpg"
    assert not source.ignored
    assert "guessed; dataset.table.image, dataset.table.label change it" in source.warnings[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.tsv", CSV.replace(",", "\t").encode()),
        ("metadata.jsonl", b'{"file_name": "1.jpg", "label": "cat", "box": [1]}\n\n{"file_name": "2.jpg", "label": "dog"}\n'),
        ("labels.parquet", parquet(image=["1.jpg", "2.jpg"], label=["cat", "dog"], box=[[1], [2]])),
    ],
)  # fmt: skip
def test_other_tables_label_images(name: str, content: bytes) -> None:
    assert labels(labeled(content, name, PETS[:2])) == {"1.jpg": "cat", "2.jpg": "dog"}


def test_numbers_stay_text() -> None:
    text = "image,label\n1.jpg,01\n2.jpg,1\n3.jpg,01\n4.jpg,1\n"
    assert labels(labeled(text)) == {"1.jpg": "01", "2.jpg": "1", "3.jpg": "01", "4.jpg": "1"}
    columns = parquet(image=list(PETS), label=[0.0, 10.0, 2.0, 10.0])
    source = find_images(labeled(columns, "labels.parquet"), dataset())
    assert source.classes == ["0", "2", "10"]


def test_numbers_are_positions_in_the_classes() -> None:
    text = "id,label\n1,0\n2,1\n3,0\n4,1\n"
    source = find_images(labeled(text), dataset(classes=["dog", "cat"]))
    assert source.classes == ["dog", "cat"]
    assert [label for _, _, label in placed(source)] == ["dog", "cat", "dog", "cat"]
    assert "1 label is not among dataset.classes, such as '2'" in refusal(
        labeled(text.replace("4,1", "4,2")), classes=["dog", "cat"]
    )


def test_spellings_of_a_label_are_one_class() -> None:
    assert set(labels(labeled(CSV.replace("3.jpg,cat", "3.jpg,Cat "))).values()) == {"Cat", "dog"}


@pytest.mark.parametrize("name", ["meta/labels.csv", "labels.csv"])
@pytest.mark.parametrize("cell", ["images/{}", "./images/{}", "{}", "../images/{}"])
def test_paths_may_be_relative_to_the_table_or_to_a_folder(name: str, cell: str) -> None:
    text = "image,label\n" + "".join(f"{cell.format(path)},{label}\n" for path, label in EXPECTED.items())
    if cell.startswith("..") and "/" not in name:
        return
    images = tuple(f"data/images/{path}" for path in PETS)
    found = labeled(text, f"data/{name}", images)
    assert labels(found) == {f"data/images/{path}": label for path, label in EXPECTED.items()}


@pytest.mark.parametrize("cell", ["../../secret/{}", "/../{}", "/etc/{}", "C:\\{}"])
def test_a_path_out_of_the_source_names_images_of_the_source_only(cell: str) -> None:
    text = "image,label\n" + "".join(f"{cell.format(path)},{label}\n" for path, label in EXPECTED.items())
    found = find_images(labeled(f"{text}../../etc/passwd,dog\n"), dataset())
    assert {image.path: image.image for image in rows(found)} == {path: path.encode() for path in PETS}
    assert ImageLookup(PETS).find(cell.format("1.jpg"), "") == []


def test_an_ambiguous_name_is_left_out_and_masks_yield() -> None:
    images = ("a/1.png", "masks/1.png", "a/2.png", "b/2.png", "a/3.png", "a/4.png")
    source = find_images(
        labeled("id,label\n1,x\n2,x\n3,y\n4,y\n", images=images), dataset(table=table(file="*.csv"))
    )
    assert [path for path, _, _ in placed(source)] == ["a/1.png", "a/3.png", "a/4.png"]
    assert source.ignored == {"with an ambiguous name": 1, "not in the table": 3}


def test_an_image_beside_the_table_precedes() -> None:
    lookup = ImageLookup(["a/x/1.jpg", "x/1.jpg", "b/c/x/1.jpg", "b/c/X/2.jpg", "b/c/x/2.jpg"])
    assert lookup.find("x/1.jpg", "a") == ["a/x/1.jpg"]
    assert lookup.find("x/1", "") == ["x/1.jpg"]
    assert lookup.find("c/x/1", "") == ["b/c/x/1.jpg"]
    assert lookup.find("c/X/2.jpg", "") == ["b/c/X/2.jpg"]
    assert lookup.find("c/x/9.jpg", "") == lookup.find("", "") == []


# Splits and groups


def test_splits_and_groups_are_columns() -> None:
    text = "image,label,split,patient_id\n1.jpg,a,Training,p1\n2.jpg,b,train,p2\n3.jpg,a,test,p3\n4.jpg,b,test,\n"
    source = find_images(labeled(text), dataset())
    assert source.layout == "2 classes × 2 given splits (train, test); labels in tried/labels.csv"
    assert [(image.split, image.group) for image in rows(source)] == [
        ("train", "p1"),
        ("train", "p2"),
        ("test", "p3"),
        ("test", None),
    ]
    none = find_images(labeled(text), dataset(table=table(split="", group="")))
    assert {(image.split, image.group) for image in rows(none)} == {(None, None)}
    assert {image.split for image in rows(find_images(labeled(text), dataset(splits={})))} == {None}
    by_path = find_images(labeled(text), dataset(group=r"(\d)\.jpg"))
    assert [image.group for image in rows(by_path)] == ["1", "2", "3", "4"]


def test_other_names_of_splits_need_a_setting() -> None:
    text = "image,label,split\n1.jpg,a,train\n2.jpg,b,train\n3.jpg,a,extra\n4.jpg,b,extra\n"
    message = refusal(labeled(text))
    assert "column 'split' has cells that are no split, such as 'extra'" in message
    assert "'dataset.splits={extra: test}'" not in message
    assert "dataset.splits={extra: train}" in message
    assert "has 2 empty cells; fill them" in refusal(labeled(text.replace("extra", "")))
    found = find_images(labeled(text), dataset(splits={"extra": "test"}))
    assert [image.split for image in rows(found)] == ["train", "train", "test", "test"]


def test_one_table_per_split_gives_the_splits() -> None:
    part = "file_name,label\n{},a\n{},b\n"
    files = {
        "train/metadata.csv": part.format("1.jpg", "2.jpg").encode(),
        "test/metadata.csv": part.format("3.jpg", "4.jpg").encode(),
    }
    images = dict.fromkeys(("train/1.jpg", "train/2.jpg", "test/3.jpg", "test/4.jpg"), b"")
    source = find_images(tree(files | images), dataset())
    assert [(path, split) for path, split, _ in placed(source)] == [
        ("test/3.jpg", "test"),
        ("test/4.jpg", "test"),
        ("train/1.jpg", "train"),
        ("train/2.jpg", "train"),
    ]
    named = {"train_labels.csv": files["train/metadata.csv"], "val.csv": files["test/metadata.csv"]}
    source = find_images(tree(named | {f"images/{path}": b"" for path in PETS}), dataset())
    assert [split for _, split, _ in placed(source)] == ["train", "train", "val", "val"]


def test_folders_of_splits_give_the_splits() -> None:
    text = "image,label\n1,a\n2,b\n3,a\n4,b\n"
    images = ("train/1.jpg", "train/2.jpg", "test/3.jpg", "test/4.jpg")
    source = find_images(labeled(text, images=images), dataset())
    assert {(path, split) for path, split, _ in placed(source)} == {
        (path, path.split("/")[0]) for path in images
    }


def test_a_competition_has_images_without_labels() -> None:
    images = ("train/1.jpg", "train/2.jpg", "test/3.jpg", "test/4.jpg")
    files = {
        "train.csv": b"id,label\n1,a\n2,b\n",
        "test.csv": b"id\n3\n4\n",
        "sample_submission.csv": b"id,label\n3,a\n4,a\n",
    }
    source = find_images(tree(files | dict.fromkeys(images, b"")), dataset())
    assert [(path, split) for path, split, _ in placed(source)] == [
        ("train/1.jpg", None),
        ("train/2.jpg", None),
    ]
    assert source.ignored == {"not in the table": 2, "not an image: .csv": 2}
    assert "left out 2 images not in the table, such as test/3.jpg, test/4.jpg" in source.warnings


# One column per class


def test_one_column_per_class_is_read() -> None:
    text = "image,MEL,NV,age\n1,1.0,0.0,40\n2,0.0,1.0,50\n3,1.0,0.0,60\n4,0.0,1.0,70\n"
    assert set(labels(labeled(text)).values()) == {"MEL", "NV"}
    chosen = dataset(table=table(label=["NV", "MEL"]))
    source = find_images(labeled(text.replace("3,1.0,0.0", "3,1.0,1.0")), chosen)
    assert source.ignored == {"with several or no classes": 1, "not in the table": 1}


def test_several_classes_per_image_are_refused() -> None:
    text = "image,p,q,r\n1,1,1,0\n2,0,1,1\n3,1,0,1\n4,0,1,0\n"
    message = refusal(labeled(text))
    assert "only 1 of 4 rows label an image" in message
    assert "left out 3 images with several or no classes, such as 1, 2, 3" in message
    nested = b'{"image": "1.jpg", "labels": ["a", "b"]}\n{"image": "2.jpg", "labels": ["a"]}'
    message = refusal(labeled(nested, "metadata.jsonl", PETS[:2]), table=table(label="labels"))
    assert "column 'labels' holds lists or objects, but an image has one label" in message


# Rows that do not fit


def test_rows_that_fit_no_image_are_left_out_with_examples() -> None:
    text = (
        CSV
        + "5.jpg,cat\n1.jpg,cat\n2.jpg,cat\n6.jpg,dog\n7.jpg,dog\n8.jpg,\n9.jpg,dog\n10.jpg,cat\n11.jpg,dog\n"
    )
    images = (*PETS, "8.jpg", "9.jpg", "10.jpg", "11.jpg", "12.jpg")
    source = find_images(labeled(text, images=images), dataset())
    assert source.ignored == {
        "listed, but missing": 3,
        "without a label": 1,
        "with contradictory rows": 1,
        "listed twice": 1,
        "not in the table": 2,
    }
    assert "left out 3 images listed, but missing, such as 5.jpg, 6.jpg, 7.jpg" in source.warnings
    assert "left out 1 image with contradictory rows, such as 2.jpg" in source.warnings
    assert "2.jpg" not in {path for path, _, _ in placed(source)}


def test_a_table_of_other_images_is_refused() -> None:
    text = CSV + "".join(f"other{number}.jpg,cat\n" for number in range(300))
    message = refusal(labeled(text), table=table(file="labels.csv", image="image"))
    assert "only 4 of 304 rows label an image" in message
    assert "left out 300 images listed, but missing, such as other0.jpg, other1.jpg, other2.jpg" in message
    assert "without class folders" in refusal(labeled(text.replace("jpg", "png"), images=PETS))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image,label\n1.jpg,cat\n2.jpg,dog,3\n", "row 2 has 3 cells, but the header 2: 2.jpg, dog, 3"),
        (b'image,label\n1.jpg,"cat\n', "line 2: unexpected end of data; correct the quotes"),
        (b"image,label,label\n1.jpg,a,b\n", "several columns are named 'label'"),
        (CSV.replace("cat", "grün").encode("cp1252"), "cp1252: grün"),
        (b"", "the columns begin with nothing"),
        (b"image,label\n", "the columns begin with image: empty, label: empty"),
        (b"1.jpg,cat\n2.jpg,dog\n", "has no header; add a first line such as image,label"),
        (b"image\n1.jpg\n2.jpg\n", "no column of labels beside image; add one"),
        (b"image,label\n1.jpg,cat\n2.jpg,cat\n", "'cat' is the only label"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_refused(content: bytes, message: str) -> None:
    assert message in refusal(labeled(content), table=table(file="labels.csv"))


def test_an_encoding_in_the_settings_is_used() -> None:
    found = labeled(CSV.replace("cat", "grün").encode("cp1252"))
    assert set(labels(found, encoding="cp1252").values()) == {"grün", "dog"}


@pytest.mark.parametrize("content", [b"[1]\n", b"{\n", b"[" * 100_000])
def test_damaged_json_lines_are_refused(content: bytes) -> None:
    message = refusal(labeled(content, "metadata.jsonl"))
    assert "metadata.jsonl: line 1: not a JSON object" in message
    assert "images without class folders" in message


def test_a_damaged_parquet_table_is_refused() -> None:
    content = parquet(image=list(PETS), label=list("abab"))
    message = refusal(labeled(content[:-9], "labels.parquet"), table=table(file="labels.parquet"))
    assert "labels.parquet: damaged: " in message


# Which columns, which table


def test_ambiguous_columns_are_listed_with_the_setting() -> None:
    text = "image,label,class,age\n1,a,x,7\n2,b,y,8\n3,a,x,9\n4,b,y,9\n"
    message = refusal(labeled(text))
    assert "several columns may be that of the labels: label, class" in message
    assert "\"dataset.table.label='label'\"" in message
    assert set(labels(labeled(text), table=table(label="class")).values()) == {"x", "y"}
    assert (
        "no column 'size' to read for dataset.table.label; the columns are image, label, class, age"
        in refusal(labeled(text), table=table(label="size"))
    )
    unusual = text.replace("label,class", "kind,sort")
    assert "choose one of kind, sort, age: \"dataset.table.label='kind'\"" in refusal(labeled(unusual))
    assert set(labels(labeled("file,kind\n1,a\n2,b\n3,a\n4,b\n")).values()) == {"a", "b"}


def test_the_column_of_images_is_found_by_its_cells() -> None:
    text = "number,photo,key,label\n0,1.jpg,x7,1\n1,2.jpg,x8,2\n2,3.jpg,x9,1\n3,4.jpg,x10,2\n"
    assert list(labels(labeled(text)).values()) == ["1", "2", "1", "2"]
    text = "front,back,label\n1.jpg,2.jpg,a\n2.jpg,1.jpg,b\n3.jpg,4.jpg,a\n4.jpg,3.jpg,b\n"
    assert "several columns may be that of the images: front, back" in refusal(labeled(text))
    text = "image,patient,subject,label\n1,a,b,x\n2,a,b,y\n3,b,c,x\n4,b,c,y\n"
    message = refusal(labeled(text))
    assert "patient, subject; choose one" in message
    assert "\"dataset.table.group=''\" for none" in message


def test_a_table_of_unclear_numbers_is_mentioned() -> None:
    found = labeled("number,label\n1,a\n2,b\n3,a\n4,b\n")
    message = refusal(found)
    assert "4 images without class folders" in message
    assert (
        "\nIf labels.csv labels the images, choose the table: \"dataset.table.file='labels.csv'\"" in message
    )
    assert "the columns begin with number: 1, label: a" in refusal(found, table=table(file="labels.csv"))
    assert list(labels(found, table=table(image="number")).values()) == ["a", "b", "a", "b"]


def test_several_tables_need_a_choice() -> None:
    found = tree({"a.csv": CSV.encode(), "b.csv": CSV.encode(), **dict.fromkeys(PETS, b"")})
    message = refusal(found)
    assert "2 tables name the images: a.csv (image: image; label: label); b.csv" in message
    assert "\"dataset.table.file='a.csv'\"" in message
    assert labels(found, table=table(file="b.csv")) == EXPECTED
    assert "dataset.table.file = 'c.csv' is not in it; the tables are: a.csv, b.csv" in refusal(
        found, table=table(file="c.csv")
    )
    assert "dataset.table is set, but no table" in refusal(of_paths(*PETS), table=table(label="kind"))


# Beside class folders

FOLDERS = ("x/1.jpg", "x/3.jpg", "y/2.jpg", "y/4.jpg")


def test_class_folders_precede_a_table_that_agrees() -> None:
    source = find_images(labeled(CSV, images=FOLDERS), dataset())
    assert source.classes == ["x", "y"]
    assert "the folders are the classes; labels.csv labels the images in the same way" in source.warnings[0]
    chosen = find_images(labeled(CSV, images=FOLDERS), dataset(table=table(file="labels.csv")))
    assert chosen.classes == ["cat", "dog"]


def test_class_folders_that_contradict_a_table_are_refused() -> None:
    found = labeled(CSV, images=("x/1.jpg", "x/2.jpg", "y/3.jpg", "y/4.jpg"))
    message = refusal(found)
    assert "the folders give the classes x, y, but labels.csv gives cat, dog" in message
    assert "\"dataset.table.file='labels.csv'\"" in message
    assert "\"dataset.exclude=['labels.csv']\"" in message
    assert find_images(found, dataset(classes=["cat", "dog"])).layout.endswith("labels.csv")
    assert find_images(found, dataset(classes=["y", "x"])).classes == ["y", "x"]


def test_an_unrelated_table_beside_class_folders_is_a_warning() -> None:
    boxes = "image,top,left\n1.jpg,7,9\n2.jpg,8,9\n"
    source = find_images(labeled(boxes, "boxes.csv", images=FOLDERS), dataset())
    assert source.classes == ["x", "y"]
    assert (
        "the table beside them is not read: tried: boxes.csv: no column has a usual name"
        in source.warnings[0]
    )
    source = find_images(labeled("a,b\n1,2\n", "notes.csv", images=FOLDERS), dataset())
    assert source.warnings == ()


# Folders and archives


def archive(path: Path, files: dict[str, bytes]) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, content in files.items():
                zipped.writestr(name, content)
        return
    with tarfile.open(path, "w:gz") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))


def read(path: Path, settings: Dataset) -> Source:
    with open_tree(path, settings) as found:
        source = find_images(found, settings)
        rows(source)
        return source


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar.gz"])
def test_a_table_lies_inside_or_beside_an_archive(tmp_path: Path, name: str) -> None:
    images = {f"photos/{path}": b"an image" for path in PETS}
    (tmp_path / "inside").mkdir()
    archive(tmp_path / "inside" / name, {**images, "labels.csv": CSV.encode()})
    assert read(tmp_path / "inside" / name, dataset()).classes == ["cat", "dog"]
    (tmp_path / "beside").mkdir()
    archive(tmp_path / "beside" / name, images)
    (tmp_path / "beside" / "labels.csv").write_text(CSV)
    assert read(tmp_path / "beside", dataset()).classes == ["cat", "dog"]


def test_a_table_without_its_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(CSV)
    settings = dataset(path=str(tmp_path / "labels.csv"))
    with pytest.raises(
        DataError, match="a table without the images; set it to the folder that holds both"
    ) as error:
        inspect_source(settings, DownloadOptions(tmp_path, None, 1))
    assert str(tmp_path) in str(error.value)


def test_texts_that_no_terminal_shows_are_escaped() -> None:
    lines = [{"image": path, "label": label} for path, label in EXPECTED.items()]
    lines[0]["label"] = "\ud800"
    lines += [{"image": "\x1b[2Jgone" + "x" * 200, "label": "cat"}]
    content = "\n".join(map(json.dumps, lines))
    source = find_images(labeled(content, "metadata.jsonl"), dataset())
    assert source.classes == ["\\ud800", "cat", "dog"]
    assert any(f"such as \\x1b[2Jgone{'x' * 91}…" in warning for warning in source.warnings)


def test_a_choice_of_two_rules_for_groups_is_refused() -> None:
    values = dataset().model_dump() | {"group": "(x)", "table": {**table().model_dump(), "group": "patient"}}
    with pytest.raises(ValueError, match=r"group and table\.group are two rules"):
        Dataset.model_validate(json.loads(json.dumps(values)))
