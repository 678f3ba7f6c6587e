"""From the content of files to what the report is told, and what is refused on the way."""

import io
import math
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pull_requests import make_judged
from visiongate.errors import DataError
from visiongate.records.preparation import QuarantinedImage
from visiongate.records.validation import ExpectationResult
from visiongate.review.report import parsing
from visiongate.review.report.data_sections import tabulate_images, tell_validation
from visiongate.review.report.snapshot import ClassRow, Pair
from visiongate.review.report.tables import parse_answers, parse_images

LOCK = {
    "train": {
        "deps": [{"path": "data", "md5": "1"}, {"path": "train.py", "md5": "3"}],
        "outs": [{"path": "model", "md5": "2"}],
    },
    "prepare": {"outs": [{"path": "data", "md5": "1"}]},
    "judge": {"deps": [{"path": "model", "md5": "2"}], "outs": [{"path": "metrics.json", "md5": "4"}]},
}


def parquet(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_trees_are_named_by_their_paths() -> None:
    content = b"a: {b: 1, c: {}}\nd: [1, x]\ne: [{f: 2}, []]\n"
    assert parsing.parse_params(content) == {"a.b": 1, "a.c": "{}", "d": (1, "x"), "e.0.f": 2, "e.1": ()}


def test_a_class_without_images_has_no_recall() -> None:
    rows = parsing.parse_classes(b"class,images,recall,f1,more\na,3,0.5,0.25,x\nb,0,,,\n")
    assert rows == (ClassRow("a", 3, 0.5, 0.25), ClassRow("b", 0, None, None))


def test_images_are_counted_by_what_they_are_taken_for() -> None:
    rows = parsing.parse_confusion(b"actual,predicted\na,a\nb,a\na,a\n")
    assert rows == (Pair("a", "a", 2), Pair("b", "a", 1))


def test_a_course_has_a_value_per_epoch_and_curve() -> None:
    header = b"epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy\n"
    course = parsing.parse_course(header + b"1,,1,0.5,0.5,0.5\n2,,1,0.5,nan,0.5\n")
    assert course.epochs == [1, 2]
    assert course.curves["val_loss"][0] == 0.5
    assert math.isnan(course.curves["val_loss"][1])
    with pytest.raises(DataError, match="epoch"):
        parsing.parse_course(header + b"inf,,1,1,1,1\n")


def test_answers_come_in_the_order_of_the_hashes() -> None:
    shares = pa.FixedSizeListArray.from_arrays(pa.array([0.75, 0.25, 0.5, 0.5]), 2)
    found = parse_answers(
        parquet(sha256=["b", "a"], label=["x", "y"], predicted=["x", "x"], probabilities=shares)
    )
    assert (list(found.sha256), list(found.labels)) == (["a", "b"], ["y", "x"])
    assert found.probabilities.tolist() == [[0.5, 0.5], [0.75, 0.25]]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"sha256": ["a"]}, "it has no column label, predicted, probabilities"),
        (
            {"sha256": ["a"], "label": ["x"], "predicted": ["x"], "probabilities": [0.5]},
            "no list of equal length",
        ),
        (
            {
                "sha256": ["a"],
                "label": ["x"],
                "predicted": ["x"],
                "probabilities": pa.array([[math.nan]], pa.list_(pa.float32(), 1)),
            },
            "are no probabilities",
        ),
        (
            {
                "sha256": ["a"],
                "label": [1],
                "predicted": ["x"],
                "probabilities": pa.array([[1.0]], pa.list_(pa.float32(), 1)),
            },
            "an image has no label",
        ),
    ],
    ids=["columns", "plain", "nan", "number"],
)
def test_answers_that_are_none_are_refused(columns: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=told):
        parse_answers(parquet(**columns))


def test_images_have_their_classes_names_and_come_once() -> None:
    manifest = parquet(
        sha256=["b", "a", "a"],
        path=["1", "2", "3"],
        split=["test"] * 3,
        label=[1, 0, 0],
        group=pa.array([None] * 3, pa.string()),
    )
    assert parse_images(manifest, b'{"classes": ["cat", "dog"]}').select(["sha256", "label"]).to_pydict() == {
        "sha256": ["a", "b"],
        "label": ["cat", "dog"],
    }
    for transform in (b'{"classes": ["cat"]}', b"{}", b"[", b'{"classes": 3}'):
        with pytest.raises(DataError, match="its labels have no names"):
            parse_images(manifest, transform)
    with pytest.raises(DataError, match="it is no Parquet file"):
        parse_images(b"PAR1", b"{}")


def test_images_that_came_went_moved_and_changed_their_label_are_counted() -> None:
    def images(**rows: tuple[str, str]) -> pa.Table:
        columns = {
            "sha256": list(rows),
            "split": [row[0] for row in rows.values()],
            "label": [row[1] for row in rows.values()],
        }
        return pa.table(columns)

    judged = make_judged()
    assert judged.base is not None
    now = replace(
        judged.now, images=images(a=("test", "x"), b=("train", "x"), c=("train", "y"), new=("val", "x"))
    )
    base = replace(
        judged.base,
        images=images(a=("test", "x"), b=("val", "x"), c=("train", "x"), o1=("odd", "x"), o2=("odd", "x")),
    )

    text = tabulate_images(replace(judged, now=now, base=base), 20)

    assert "Added 1, removed 2; of the others 1 moved to another split, and 1 have another label." in text
    assert "| `odd` | 2 | 0 | -2 |" in text
    assert "| `train` | 1 | 2 | +1 |" in text


def test_what_is_newly_quarantined_is_named() -> None:
    judged = make_judged()
    assert judged.base is not None
    old, new = (QuarantinedImage(f"{name}.png", "cat", None, name, "blank", "") for name in ("old", "new"))
    now, base = replace(judged.now, quarantine=[old, new]), replace(judged.base, quarantine=[old])

    text = tabulate_images(replace(judged, now=now, base=base), 20)

    assert "| `blank` | 1 | 2 |" in text
    assert "Newly quarantined: 1.\n" in text
    assert "| `new.png` | `cat` | `blank` |" in text
    assert "old.png" not in text


def test_expectations_that_fail_are_told_the_critical_first_and_the_new_marked() -> None:
    judged = make_judged()
    assert judged.base is not None
    failed = [
        ExpectationResult(name, kind, success=False, required="w", actual="s")
        for name, kind in (("a", "warning"), ("b", "critical"))
    ]
    now, base = replace(judged.now, expectations=failed), replace(judged.base, expectations=failed[:1])

    lines = tell_validation(replace(judged, now=now, base=base), 20).splitlines()

    assert lines[0] == "0 of 2 expectations met."
    assert lines[4:] == ["| ❌ `b` | `w` | `s` (new) |", "| ⚠️ `a` | `w` | `s` |"]
