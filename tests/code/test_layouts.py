"""Layouts: class folders, MNIST's IDX files, CIFAR-10's batches, and their errors."""

import gzip
import io
import re
import struct
import subprocess
import zipfile
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from source_trees import dataset, of_paths, placed, refusal, rows, tree
from visiongate.errors import DataError
from visiongate.ingestion.embedded import open_digits
from visiongate.ingestion.fetching import DownloadOptions
from visiongate.ingestion.inspection import inspect_source
from visiongate.ingestion.layouts import find_images
from visiongate.ingestion.names import decode_name
from visiongate.ingestion.trees import Tree, open_tree
from visiongate.settings.grammar import parse_setting

# Class folders


def layout(*found: str, **changes: object) -> dict[tuple[str, str | None], int]:
    """Return the number of images by class and given split."""
    source = find_images(of_paths(*found), dataset(**{"splits": None, **changes}))
    return dict(Counter((image.label, image.split) for image in rows(source)))


def test_a_folder_is_the_class_of_all_images_below() -> None:
    source = find_images(of_paths("dog/1.png", "cat/2.jpg", "cat/deep/er/3.gif"), dataset())
    assert source.classes == ["cat", "dog"]
    assert placed(source) == [
        ("cat/2.jpg", None, "cat"),
        ("cat/deep/er/3.gif", None, "cat"),
        ("dog/1.png", None, "dog"),
    ]
    assert rows(source)[0].image == b"cat/2.jpg"
    assert source.layout == "2 classes; root tried"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Training_Set", "Test_Set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train_images", "test_images"),
        ("trainset", "testset"),
        ("TRN", "TST"),
        ("train 2017", "hold-out 2017"),
        ("flowers_train", "flowers_test"),
        ("archive/training_set/training_set", "archive/test_set/test_set"),
        ("TrainData/images", "TestData/images"),
    ],
)
def test_usual_names_of_splits_are_recognized(train: str, test: str) -> None:
    found = (f"{train}/cat/1.jpg", f"{train}/dog/2.jpg", f"{test}/cat/3.jpg", f"{test}/dog/4.jpg")

    source = find_images(of_paths(*found), dataset(splits=None))

    assert Counter((image.label, image.split) for image in rows(source)) == Counter(
        (label, split) for label in ("cat", "dog") for split in ("train", "test")
    )
    root = "tried/archive" if train.startswith("archive") else "tried"
    assert source.layout == f"2 classes × 2 given splits (train, test); root {root}"


@pytest.mark.parametrize("name", ["val", "Valid", "validation", "dev", "eval_set"])
def test_usual_names_of_the_validation_split_are_recognized(name: str) -> None:
    found = [f"{split}/{label}/1.jpg" for split in ("train", name) for label in "ab"]
    assert set(layout(*found)) == {(label, split) for label in "ab" for split in ("train", "val")}


def test_splits_below_the_classes_are_recognized() -> None:
    found = ("cat/train/1.jpg", "cat/Test/2.jpg", "dog/train/3.jpg", "dog/Test/4.jpg")
    assert layout(*found) == {(label, split): 1 for label in ("cat", "dog") for split in ("train", "test")}


@pytest.mark.parametrize("name", ["latest", "contest", "trainer", "develop", "train_test", "evaluator"])
def test_other_words_are_classes(name: str) -> None:
    assert layout(f"{name}/1.jpg", "dog/2.jpg") == {(name, None): 1, ("dog", None): 1}


def test_the_settings_decide_which_folders_are_splits() -> None:
    found = ("day/cat/1.jpg", "day/dog/2.jpg", "night/cat/3.jpg", "night/dog/4.jpg")
    assert layout(*found, splits={"day": "train", "night": "test"})["dog", "test"] == 1
    assert layout("train/1.jpg", "car/2.jpg", splits={}) == {("train", None): 1, ("car", None): 1}
    assert layout("train/1.jpg", "car/2.jpg", classes=["car", "train"])["train", None] == 1


def test_splits_in_the_settings_extend_the_usual_names_in_any_case() -> None:
    found = [f"{split}/{label}/1.jpg" for split in ("Apprentissage", "test") for label in ("cat", "dog")]
    assert "'dataset.splits={Apprentissage: train}'" in refusal(of_paths(*found))
    for key in ("Apprentissage", "apprentissage"):
        assert layout(*found, splits={key: "train"})["dog", "test"] == 1
    assert layout("val/a/1.jpg", "val/b/1.jpg", splits={"val": "train"})["a", "train"] == 1


def test_a_split_in_the_settings_that_names_no_folder_is_an_error() -> None:
    message = refusal(of_paths("day/cat/1.jpg", "day/dog/2.jpg", "test/cat/3.jpg"), splits={"dya": "train"})
    assert "dataset.splits names dya, but no folder" in message
    assert "  day/  2 folders (cat, dog)" in message


@pytest.mark.parametrize(
    "names", [("fold1", "fold2", "fold3"), ("A B", "C-1"), ("A [1]", "C (1)", "a=b, c"), ("été", "C (1)")]
)
def test_the_printed_splits_name_all_folders_and_decide(names: tuple[str, ...]) -> None:
    found = of_paths(*(f"{name}/{label}/1.jpg" for name in names for label in ("cat", "dog")))
    message = refusal(found)
    if printed := re.search(r"such as '(dataset\.splits=.*?)';", message):
        splits = parse_setting(printed[1])[1]
    else:
        splits = yaml.safe_load(re.search(r"(splits: {.*}) in conf/dataset/", message)[1])["splits"]  # type: ignore[index]
    assert set(splits) == set(names)
    assert {split for _, split in layout(*found.paths, splits=splits)} == {"train", "test"}
    (exclude,) = re.findall(r'"(dataset\.exclude=.*)"', message)
    assert layout(*open_without(found, parse_setting(exclude)[1]).paths) == {
        ("cat", None): 1,
        ("dog", None): 1,
    }


def open_without(found: Tree, exclude: list[str]) -> Tree:
    return of_paths(*(path for path in found.paths if not any(fnmatchcase(path, each) for each in exclude)))


def test_two_folders_may_form_one_split() -> None:
    splits = {"train": "train", "val": "train"}
    found = find_images(of_paths("train/a/1.jpg", "val/b/2.jpg"), dataset(splits=splits))
    assert {split for _, split, _ in placed(found)} == {"train"}


@pytest.mark.parametrize(
    ("found", "changes", "expected"),
    [
        # Classes that are called like splits, and file names that hold the classes.
        (
            ("train/1.jpg", "test/2.jpg"),
            {},
            [
                "1 images without class folders in test",
                "if test, train are the classes, set dataset.splits={}",
            ],
        ),
        (
            tuple(f"train/{name}.{index}.jpg" for name in ("cat", "dog") for index in range(2)),
            {},
            ["4 images without class folders in train", "2 classes (cat, dog)", 'mkdir -p "../by_class/$c"'],
        ),
        (
            (
                *(f"images/{name}_{index}.jpg" for name in ("Great_Dane", "Pug") for index in range(2)),
                "annotations/a.png",
            ),
            {},
            ["without class folders in images", "2 classes (Great_Dane, Pug)"],
        ),
        (
            ("DSC_1.jpg", "DSC_2.jpg", "IMG_1.jpg", "IMG_2.jpg"),
            {},
            [
                "4 images without class folders in the top folder",
                "a folder of their own: CLASS/… or SPLIT/CLASS/…",
            ],
        ),
        (
            ("color/apple/1.jpg", "color/pear/2.jpg", "gray/apple/3.jpg", "gray/pear/4.jpg"),
            {},
            [
                "color, gray hold the same folders apple, pear",
                "'dataset.splits={color: train, gray: test}'",
                "\"dataset.exclude=['gray/*']\"",
                "  color/  2 folders (apple, pear)",
            ],
        ),
        (
            ("train/a/1.jpg", "train/b/1.jpg", "extra/c/2.jpg"),
            {},
            [
                "unknown folders extra beside the splits train",
                "'dataset.splits={extra: train}'",
                "  extra/  1 folders (c), 1 images",
            ],
        ),
    ],
)
def test_ambiguous_folders_are_refused_with_the_tree(
    found: tuple[str, ...], changes: dict[str, Any], expected: list[str]
) -> None:
    with pytest.raises(DataError) as error:
        find_images(of_paths(*found), dataset(**{"splits": None, **changes}))
    for part in expected:
        assert part in str(error.value)


def test_the_setting_that_a_refusal_names_decides() -> None:
    found = ("color/apple/1.jpg", "color/pear/2.jpg", "gray/apple/3.jpg", "gray/pear/4.jpg")
    assert layout(*found, classes=["color", "gray"]) == {("color", None): 2, ("gray", None): 2}
    assert layout(*found, splits={"color": "train", "gray": "test"})["pear", "test"] == 1


@pytest.mark.parametrize("wrapper", ["set/", "set/images/v1/"])
def test_wrapping_folders_are_skipped(wrapper: str) -> None:
    source = find_images(of_paths(f"{wrapper}train/a/1.png", f"{wrapper}test/b/2.png", "README"), dataset())
    assert placed(source) == [
        (f"{wrapper}test/b/2.png", "test", "b"),
        (f"{wrapper}train/a/1.png", "train", "a"),
    ]
    assert source.ignored == {"not an image: without an extension": 1}
    assert source.layout.endswith(f"root tried/{wrapper.rstrip('/')}")


def test_files_that_are_not_images_are_ignored_and_counted() -> None:
    found = (
        "notes.TXT",
        "cover.png",
        "train/collage.png",
        "train/labels.csv",
        "train/a/1.jpg",
        "train/a/1.xml",
        "train/b/2.webp",
        "train/b/clip.mp4",
    )
    source = find_images(of_paths(*found), dataset())
    assert source.images == 2
    assert source.ignored == {
        **{f"not an image: {suffix}": 1 for suffix in (".txt", ".csv", ".xml", ".mp4")},
        "above the classes": 2,
    }


def test_a_file_without_an_extension_is_an_image_by_its_first_bytes() -> None:
    files = {
        "a/n01": b"\xff\xd8\xff\xe0",
        "b/n02": b"\x89PNG\r\n\x1a\n",
        "b/LICENSE": b"MIT",
        "b/v1.2": b"\xff\xd8\xff",
    }
    source = find_images(tree(files), dataset())
    assert [image.path for image in rows(source)] == ["a/n01", "b/n02", "b/v1.2"]


def test_masks_and_unsorted_images_are_left_out_with_a_warning() -> None:
    found = ("cat/1.jpg", "cat/Masks/1.png", "dog/2.jpg", "dog/@eaDir/2.jpg", "_unsorted/3.jpg")
    source = find_images(of_paths(*found), dataset())
    assert [path for path, _, _ in placed(source)] == ["cat/1.jpg", "dog/2.jpg", "dog/@eaDir/2.jpg"]
    assert source.ignored == {"in a folder 'Masks'": 1, "in a folder '_unsorted'": 1}
    assert any(
        "cat/Masks/1.png; to keep them, remove the name from auxiliary in conf/dataset/reading/default.yaml"
        in each
        for each in source.warnings
    )
    assert ("_unsorted", None) in layout(*found, auxiliary=["masks"])


@pytest.mark.parametrize(
    ("found", "classes"),
    [
        (("images/cat/1.jpg", "images/dog/2.jpg", "masks/cat/1.png", "masks/dog/2.png"), {"cat", "dog"}),
        # Faces with and without a mask.
        (("mask/1.jpg", "no_mask/2.jpg"), {"mask", "no_mask"}),
    ],
)
def test_a_folder_of_masks_may_be_a_class(found: tuple[str, ...], classes: set[str]) -> None:
    assert {label for label, _ in layout(*found)} == classes


@pytest.mark.parametrize("name", ["mask", "labels", "thumb"])
@pytest.mark.parametrize("above", ["", "train/"])
def test_an_auxiliary_name_beside_classes_is_a_class_with_a_warning(name: str, above: str) -> None:
    names = (name, "no_mask", "incorrect")
    found = of_paths(
        *(f"{above}{each}/{index}.jpg" for each in names for index in range(3)), f"{above}no_mask/8.jpg"
    )
    source = find_images(found, dataset())
    assert set(source.classes) == set(names)
    (warning,) = source.warnings
    assert warning.startswith(f"'{name}' is read as a class of 3 images")
    exclude = parse_setting(warning.partition("out: ")[2].strip('"'))[1]
    assert exclude == [f"{above}{name}/*"]


@pytest.mark.parametrize("suffix", ["", "_mask"])
def test_masks_of_images_beside_classes_are_left_out(suffix: str) -> None:
    images = [f"{label}/{label}{index}.jpg" for label in ("cat", "dog") for index in range(2)]
    masks = [f"masks/{label}{index}{suffix}.png" for label in ("cat", "dog") for index in range(2)]
    source = find_images(of_paths(*images, *masks), dataset())
    assert source.classes == ["cat", "dog"]
    assert "to keep them, list all classes in dataset.classes, with this one" in source.warnings[0]
    listed = find_images(of_paths(*images, *masks), dataset(classes=["cat", "dog", "masks"]))
    assert listed.counts["masks", None] == 4


def test_masks_beside_splits_are_left_out() -> None:
    found = [f"set/{split}/{label}/1.jpg" for split in ("train", "test") for label in ("cat", "dog")]
    assert set(layout(*found, "masks/x.png")) == set(layout(*found, "set/masks/x.png")) == set(layout(*found))


@pytest.mark.parametrize(
    "tops", [("x/train", "x/test", "y/train", "y/test"), ("x/train", "y/test"), ("x/train", "y/train")]
)
def test_data_sets_side_by_side_are_refused(tops: tuple[str, ...]) -> None:
    found = [f"{top}/{label}/1.jpg" for top in tops for label in ("cat", "dog")]
    message = refusal(of_paths(*found))
    assert "x, y are data sets side by side" in message
    assert "set dataset.path to one of them" in message
    assert {label for label, _ in layout(*found, classes=["x", "y"])} == {"x", "y"}


@pytest.mark.parametrize("inner", ["", "cat/", "dog/"])
def test_splits_of_several_data_sets_are_refused(inner: str) -> None:
    names = ("trainA", "testA", "trainB", "testB")
    found = of_paths(*(f"{name}/{inner}1.jpg" for name in names))
    message = refusal(found)
    assert "are named like splits of several data sets" in message
    assert "'dataset.splits={testA: test, testB: test, trainA: train, trainB: train}'" in message
    assert {label for label, _ in layout(*found.paths, splits={})} == set(names)


def test_a_class_of_one_split_only_is_left_out_unless_it_is_listed() -> None:
    found = ("train/a/1.jpg", "train/b/2.jpg", "test/c/3.jpg")
    (warning, *_) = find_images(of_paths(*found), dataset()).warnings
    assert "test: 1 images in c were left out" in warning
    assert "if it is a class, list all classes in dataset.classes" in warning
    assert layout(*found, classes=["a", "b", "c"])["c", "test"] == 1


def test_copies_of_editors_and_partial_downloads_are_no_images() -> None:
    image = b"\xff\xd8\xff"
    names = ("1.jpg~", "1~", "1.png.bak", "1.png.tmp", "1.jpg.part", "1.jpg.crdownload", "1.jpg.~1~")
    files = {"a/1.jpg": image, "b/1.jpg": image} | {f"a/{name}": image for name in names}
    source = find_images(tree(files), dataset())
    assert source.images == 2
    assert source.ignored["not an image: ~"] == 3


def test_a_split_without_class_folders_is_left_out_with_a_warning() -> None:
    found = ("train/a/1.jpg", "train/b/2.jpg", "val/images/3.jpg", "val/images/4.jpg", "test/images/5.jpg")
    source = find_images(of_paths(*found), dataset(splits=None))
    assert {split for _, split, _ in placed(source)} == {"train"}
    assert source.ignored == {"in a split without class folders": 3}
    assert (
        "val: 2 images in no class folder were left out, such as val/images/3.jpg; to keep them"
        in source.warnings[1]
    )


def test_unlabeled_images_beside_splits_are_left_out() -> None:
    found = [
        f"seg_{split}/seg_{split}/{name}/1.jpg" for split in ("train", "test") for name in ("sea", "forest")
    ]
    source = find_images(of_paths(*found, "seg_pred/seg_pred/1.jpg"), dataset(splits=None))
    assert source.layout == "2 classes × 2 given splits (train, test); root tried"
    assert source.ignored == {"in a folder 'seg_pred'": 1}


def test_a_class_may_be_called_train_among_others() -> None:
    source = find_images(of_paths("train/1.jpg", "car/2.jpg", "bus/3.jpg"), dataset(splits=None))
    assert source.classes == ["bus", "car", "train"]
    assert "train is read as a class" in source.warnings[0]


def test_listed_classes_are_found_below_other_folders() -> None:
    found = of_paths("site_a/cat/1.jpg", "site_a/dog/2.jpg", "site_b/cat/3.jpg", "site_b/dog/4.jpg")
    assert [label for _, _, label in placed(find_images(found, dataset(classes=["dog", "cat"])))] == [
        "cat",
        "dog",
    ] * 2


def test_class_names_in_an_unknown_encoding_are_refused_with_the_readings() -> None:
    message = refusal(
        of_paths(*(f"{decode_name(name.encode('cp866'), None)}/1.jpg" for name in ("кошка", "собака")))
    )
    assert "2 class names are not UTF-8" in message
    assert "set dataset.encoding" in message
    assert "cp866: кошка, собака" in message


def test_images_are_told_by_extension_or_first_bytes() -> None:
    files = {
        "a/1.dcm": b"",
        "a/2.jpg ": b"",
        "a/IMG 2.10.2026": b"\xff\xd8\xff",
        "a/notes.txt": b"\xff\xd8\xff",
        "b/1.JXL": b"",
    }
    source = find_images(tree(files), dataset())
    assert [path for path, _, _ in placed(source)] == ["a/1.dcm", "a/2.jpg ", "a/IMG 2.10.2026", "b/1.JXL"]
    assert source.ignored == {"not an image: .txt": 1}


def test_a_given_split_without_a_class_is_a_warning() -> None:
    found = of_paths("train/a/1.jpg", "train/b/2.jpg", "test/a/3.jpg")
    assert find_images(found, dataset()).warnings == ("test: no image of 1 of 2 classes: b",)


def test_the_command_for_flat_files_sorts_them_by_class(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    for name in (
        "cat.0.jpg",
        "cat.1.jpg",
        "Great Dane (1).jpg",
        "Great Dane (2).jpg",
        "pug_7.png",
        "pug_8.png",
    ):
        (tmp_path / "flat" / name).write_bytes(b"an image")
    with open_tree(tmp_path, dataset()) as found:
        command = refusal(found).rpartition("\n")[2]
    subprocess.run(["sh", "-c", command], cwd=tmp_path / "flat", check=True)
    assert sorted(path.name for path in (tmp_path / "by_class").iterdir()) == ["Great Dane", "cat", "pug"]


def test_spellings_of_one_name_are_one_class() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    found = (f"{composed}/1.jpg", f"{decomposed}/2.jpg", "Dog/3.jpg", "dog/4.jpg", "dog/5.jpg", "dog /6.jpg")
    source = find_images(of_paths(*found), dataset())
    assert source.classes == [composed, "dog"]
    assert "'Dog', 'dog', 'dog ' are one class, 'dog'" in source.warnings
    assert len(source.warnings) == 2


def test_letters_and_listed_spellings_are_separate_classes() -> None:
    assert find_images(of_paths("A/1.jpg", "a/2.jpg"), dataset()).classes == ["A", "a"]
    listed = ["Ant", "ant"]
    assert layout("Ant/1.jpg", "ant/2.jpg", classes=listed) == {("Ant", None): 1, ("ant", None): 1}
    assert layout("Ant/1.jpg", "ANT/2.jpg", "bee/3.jpg", classes=["ant", "bee"])["ant", None] == 2


def test_an_empty_folder_is_no_class(tmp_path: Path) -> None:
    for name in ("cat", "dog", "bird"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name / "1.jpg").write_bytes(b"an image")
    with open_tree(tmp_path / "pets", dataset()) as found:
        source = find_images(found, dataset())
    assert source.classes == ["cat", "dog"]
    assert source.warnings == ("bird: an empty folder, not a class",)


def test_named_classes_keep_their_order() -> None:
    source = find_images(of_paths("a/1.jpg", "b/2.jpg"), dataset(classes=["b", "a"]))
    assert source.classes == ["b", "a"]


def test_a_single_split_or_class_is_not_a_wrapper() -> None:
    found = find_images(of_paths("train/a/1.jpg", "train/b/1.jpg"), dataset())
    assert placed(found)[0] == ("train/a/1.jpg", "train", "a")
    assert "'b'" in refusal(of_paths("a/x/1.jpg"), classes=["a", "b"])


def test_groups_are_read_from_the_paths() -> None:
    source = find_images(of_paths("a/person12_x.png", "b/other.png"), dataset(group=r"(person\d+)_"))
    assert [image.group for image in rows(source)] == ["person12", None]


@pytest.mark.parametrize(
    ("paths", "changes", "message"),
    [
        ((), {}, "tried: no image"),
        (("1.png", "2.png"), {}, "tried: 2 images without class folders"),
        (("a/1.png", "a/2.png"), {}, "only class"),
        (
            ("a/1.png", "b/1.png", "c/1.png"),
            {"classes": ["a", "b"]},
            "1 folder is not among dataset.classes, such as 'c'",
        ),
        (
            ("a/1.png", "b/1.png"),
            {"classes": ["a", "b", "c"]},
            "1 of dataset.classes has no folder with images, such as 'c'",
        ),
    ],
)
def test_invalid_class_folders_are_refused(
    paths: tuple[str, ...], changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(of_paths(*paths), **changes)


# IDX


def idx(values: np.ndarray, magic: int) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", magic, *values.shape) + values.tobytes()


def idx_files(*, train: int = 6, test: int = 3, suffix: str = "") -> dict[str, bytes]:
    generator = np.random.default_rng(0)
    files = {}
    for part, count in (("train", train), ("t10k", test)):
        images = generator.integers(0, 256, (count, 4, 5), dtype=np.uint8)
        labels = (np.arange(count) % 3).astype(np.uint8)
        files[f"{part}-images-idx3-ubyte{suffix}"] = idx(images, 0x803)
        files[f"{part}-labels-idx1-ubyte{suffix}"] = idx(labels, 0x801)
    return {name: gzip.compress(content) if suffix else content for name, content in files.items()}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_give_images_and_splits(suffix: str) -> None:
    files = idx_files(suffix=suffix)
    source = find_images(tree(files | {"LICENSE": b""}), dataset())
    assert source.classes == ["0", "1", "2"]
    assert source.ignored == {"not IDX": 1}
    assert placed(source)[2:4] == [("test/000002.png", "test", "2"), ("train/000000.png", "train", "0")]
    content = files[f"train-images-idx3-ubyte{suffix}"]
    pixels = np.frombuffer((gzip.decompress(content) if suffix else content)[16:], np.uint8).reshape(-1, 4, 5)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(rows(source)[3].image))), pixels[0])


def test_compressed_idx_files_in_a_zip_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mnist.zip", "w") as archive:
        for name, content in idx_files(suffix=".gz").items():
            archive.writestr(f"mnist/{name}", content)
    with open_tree(tmp_path / "mnist.zip", dataset()) as found:
        assert len(rows(find_images(found, dataset()))) == 9


def test_the_training_files_alone_suffice() -> None:
    files = {name: content for name, content in idx_files().items() if "train" in name}
    assert find_images(tree(files), dataset()).images == 6


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (IMAGES, b""),
        (IMAGES, idx(np.zeros((6, 4, 5), np.uint8), 0x801)),
        (IMAGES, idx(np.zeros((6, 4, 5), np.uint8), 0x803)[:-1]),
        (IMAGES, idx(np.zeros((6, 4, 5), np.uint8), 0x803) + b"x"),
        (IMAGES, struct.pack(">4I", 0x803, *[2**32 - 1] * 3)),
        (IMAGES, idx(np.zeros((6, 0, 5), np.uint8), 0x803)),
        (LABELS, idx(np.zeros(6, np.uint8), 0x803)),
    ],
)
def test_a_damaged_idx_file_is_named(name: str, content: bytes) -> None:
    assert name in refusal(tree(idx_files() | {name: content}))


def test_idx_files_need_as_many_labels_as_images() -> None:
    images = idx(np.zeros((5, 4, 5), np.uint8), 0x803)
    assert "5 images but 6 labels" in refusal(tree(idx_files() | {IMAGES: images}))


def test_a_missing_idx_file_is_named() -> None:
    files = idx_files()
    del files[LABELS]
    assert LABELS in refusal(tree(files))


def test_an_idx_label_without_a_class_is_refused() -> None:
    assert "label 2" in refusal(tree(idx_files()), classes=["a", "b"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "damaged"),
        (gzip.compress(b"x" * 100)[:-9], "truncated"),
        (gzip.compress(bytes(10**6)), "1,000"),
    ],
    # A compressed file holds the time of its creation, so the content cannot name the test.
    ids=["no-gzip", "truncated", "too-large"],
)
def test_a_damaged_compressed_idx_file_is_named(content: bytes, message: str) -> None:
    limits = dataset().limits.model_copy(update={"max_file_bytes": 1000})
    name = "train-labels-idx1-ubyte.gz"
    assert f"{name}: {message}" in refusal(
        tree(idx_files(suffix=".gz") | {name: content}), limits=limits
    ).replace("more than dataset.limits.max_file_bytes = ", "")


# CIFAR-10

NAMES = ["airplane", "cat", "ship"]
BATCH = "cifar-10-batches-bin/"


def cifar_files() -> dict[str, bytes]:
    generator = np.random.default_rng(0)
    files = {f"{BATCH}batches.meta.txt": "\n".join([*NAMES, ""]).encode(), f"{BATCH}readme.html": b""}
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        records = generator.integers(0, 256, (4, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(4) % 3
        files[BATCH + name] = records.tobytes()
    return files


def test_cifar_batches_give_images_and_splits() -> None:
    files = cifar_files()
    source = find_images(tree(files), dataset(classes=["ship", "cat", "airplane"]))
    assert source.classes == ["ship", "cat", "airplane"]
    assert source.ignored == {"not a batch": 2}
    found = placed(source)
    assert Counter(split for _, split, _ in found) == {"train": 8, "test": 4}
    assert found[4:6] == [("train/000000.png", "train", "airplane"), ("train/000001.png", "train", "cat")]
    planes = np.frombuffer(files[f"{BATCH}data_batch_1.bin"], np.uint8)[1:3073].reshape(3, 32, 32)
    pixels = np.asarray(Image.open(io.BytesIO(rows(source)[4].image)))
    np.testing.assert_array_equal(pixels, planes.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{BATCH}data_batch_1.bin": b"x" * 3072}, "data_batch_1.bin"),
        ({f"{BATCH}data_batch_1.bin": b""}, "data_batch_1.bin"),
        ({f"{BATCH}data_batch_1.bin": b"\x03" + bytes(3072)}, "label 3"),
        ({f"{BATCH}batches.meta.txt": b"cat\ndog\nfox"}, "cat, dog, fox"),
        ({f"{BATCH}batches.meta.txt": b"cat\ndog\ncat\n"}, "cat, dog, cat"),
    ],
)
def test_damaged_cifar_batches_are_named(changes: dict[str, bytes], message: str) -> None:
    assert message in refusal(tree(cifar_files() | changes), classes=NAMES)


def test_cifar_class_names_are_read_by_line() -> None:
    files = cifar_files() | {f"{BATCH}batches.meta.txt": b"pick-up truck\r\nhouse cat\n\nsail ship\n"}
    assert find_images(tree(files), dataset()).classes == ["pick-up truck", "house cat", "sail ship"]


def test_cifar_without_class_names_is_refused() -> None:
    files = cifar_files()
    del files[f"{BATCH}batches.meta.txt"]
    assert "batches.meta.txt" in refusal(tree(files))
    assert find_images(tree(files), dataset(classes=NAMES)).images == 12


def test_pickled_cifar_is_refused() -> None:
    paths = of_paths("cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/batches.meta")
    assert "cifar-10-binary.tar.gz" in refusal(paths)


# Digits


def test_the_digits_are_complete_and_in_order() -> None:
    images = rows(open_digits())
    digits = load_digits()
    assert len(images) == 1797
    assert [image.label for image in images] == [str(target) for target in digits.target]
    pixels = [np.asarray(Image.open(io.BytesIO(image.image))) for image in images]
    np.testing.assert_array_equal(pixels, np.rint(digits.images * 255 / 16))
    assert images[5].path == "load_digits/0005.png"
    assert len({image.image for image in images}) == 1797


def test_a_data_set_is_inspected_without_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (
        "train/cat/1.jpg",
        "train/cat/2.jpg",
        "train/dog/3.jpg",
        "test/cat/4.jpg",
        "notes.txt",
        "test/dog/5.jpg",
        "test/dog/masks/6.png",
    ):
        (tmp_path / "pets" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / path).write_bytes(b"an image")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    inspection = inspect_source(
        dataset(path="pets", splits=None), DownloadOptions(tmp_path / "none", None, 1)
    )

    *lines, warning = inspection.lines()
    assert warning.startswith("warning: 1 image in folders named 'masks' was left out")
    assert lines == [
        "2 classes × 2 given splits (train, test); root pets",
        "class  train  test",
        "cat    2      1",
        "dog    1      1",
        "ignored: 1 in a folder 'masks'",
        "ignored: 1 not an image: .txt",
    ]
    assert sorted(tmp_path.rglob("*")) == before
