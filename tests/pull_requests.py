"""Pull requests without a line: two revisions with any number of classes, and text of whoever means harm."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from visiongate.gate.rules import Measured, apply_rules
from visiongate.records.evaluation import Slice
from visiongate.records.interval import Interval
from visiongate.records.preparation import QuarantinedImage
from visiongate.records.validation import ExpectationResult
from visiongate.review.report.snapshot import (
    Answered,
    ClassRow,
    Course,
    Judged,
    Pair,
    Registration,
    Search,
    Snapshot,
)
from visiongate.settings.gate import Rule
from visiongate.settings.loading import load_settings
from visiongate.settings.registry import Registry
from workspaces import ROOT

IMAGES = 400
HOSTILE = (
    "@octocat and @org/team",
    "#1 GH-1 octo/repo#1 fixes #2",
    "![](https://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "</details></summary><!-- cml -->",
    "| a | b |\n|---|---|\n| c | d |",
    "a \\| b \\\\| c | d \\",
    "``` \n```mermaid\ngraph TD\n```",
    "`` ` ``` ",
    "`",
    "https://evil.example www.evil.example mail@evil.example",
    "\u202egnp.exe\u200b\u2066x\ufeff\u3164\ufe0f",
    "\x1b[31mred\x00\x07\r\n\u2028line",
    "$\\alpha$ $$x$$ :tada: **bold** _em_ ~~no~~ &lt;b&gt; &#64;me",
    "# heading\n\n- list\n> quote\n---",
    '%%{init: {}}%% xychart-beta "]',
    "{{ 7 * 7 }} ${HOME} $(id)",
    "\ud800 lone surrogate",
    "e" + "\u0301" * 40,
    "名" * 200,
    "x" * 200,
    "",
    "   ",
)


def make_snapshot(name: str, skill: float, names: list[str], text: str = "plain") -> Snapshot:
    """Make what is known of a model that is right with a probability of ``skill``.

    Args:
        name: Of the revision.
        skill: From 0 to 1.
        names: Of the classes.
        text: Stands wherever a file can hold text.
    """
    generator = np.random.default_rng(7)
    labels = np.arange(IMAGES) % len(names)
    right = generator.random(IMAGES) < skill
    guesses = np.where(right, labels, (labels + 1) % len(names))
    accuracy = float(right.mean())
    rules = {
        f"accuracy {text}": Rule(metric="accuracy", comparison=">=", threshold=0.5),
        "worst": Rule(metric="recall", comparison=">=", threshold=0.0, classes="all"),
    }
    recalls = [
        float(right[labels == number].mean()) if (labels == number).any() else None
        for number in range(len(names))
    ]
    classes = {
        "recall": {
            each: Interval(value, 0.0, 1.0)
            for each, value in zip(names, recalls, strict=True)
            if value is not None
        }
    }
    evidence = Measured({"accuracy": accuracy}, {"accuracy": Interval(accuracy, 0.4, 1.0)}, classes, names)
    pairs = {(names[label], names[guess]) for label, guess in zip(labels, guesses, strict=True)}
    storable = text.encode(errors="replace").decode()  # Parquet takes no lone surrogates
    hashes = [f"{index:064d}" for index in range(IMAGES)]
    return Snapshot(
        name=name,
        commit="0123456789abcdef0123456789abcdef01234567",
        stages={"train": str(skill), text: "same"},
        params={"model.lr": skill, f"model.{text}": f"{text} {skill}", "dataset.classes": tuple(names)},
        metrics={"accuracy": accuracy, "log_loss": 1 - skill, "images": IMAGES, f"more {text}": skill},
        times={"latency_p50_ms": skill, text: text},
        training={"epochs": 3, "hardware": f"{text} {skill}"},
        verdict=apply_rules(rules, evidence),
        intervals=dict(evidence.intervals),
        classes=[ClassRow(each, 40, value, value) for each, value in zip(names, recalls, strict=True)],
        confusion=[Pair(*pair, 3) for pair in sorted(pairs)],
        slices=[Slice("source", f"{text} {number}", 30, skill, 0.1, 1.0, -0.1, 0.5) for number in range(8)],
        answers=Answered(
            hashes,
            [names[label] for label in labels],
            [names[guess] for guess in guesses],
            np.full((IMAGES, len(names)), 1 / len(names)),
        ),
        course=Course([1, 2, 3], {"train_loss": [2.0, 1.0, skill], "val_loss": [2.0, 1.5, skill]}),
        expectations=[
            ExpectationResult(text, "critical", success=False, required=text, actual=text),
            ExpectationResult("size", "warning", success=True, required="", actual=""),
        ],
        quarantine=[QuarantinedImage(f"{text}{skill}", text, None, f"{skill}", text, text)],
        images=pa.table(
            {
                "sha256": hashes,
                "path": [f"{storable}/{index}" for index in range(IMAGES)],
                "split": ["test"] * IMAGES,
                "label": [f"{storable} {label}" for label in labels],
                "group": pa.array([None] * IMAGES, pa.string()),
            }
        ),
        search=Search(
            20, text, 0.9, 0.8, beaten=True, better=True, verdict=text, values={f"model.{text}": text}
        ),
        registration=Registration(text, text, text, text),
    )


def make_judged(now: float = 0.9, base: float | None = 0.8, classes: int = 10, text: str = "class") -> Judged:
    """Make two revisions of a model, both by the same gate."""
    names = [f"{text} {number}" for number in range(classes)]
    current = make_snapshot("this work tree", now, names, text)
    before = None if base is None else make_snapshot(f"main {text}", base, names, text)
    return Judged(current, before, current.verdict, registry())


def registry() -> Registry:
    """How the committed settings compare two models."""
    return load_settings(ROOT / "params.yaml").registry


def without(snapshot: Snapshot, *parts: str, reason: str = "not there yet") -> Snapshot:
    """Take parts away, and say why they are missing."""
    return replace(
        snapshot, **dict.fromkeys(parts), missing={**snapshot.missing, **dict.fromkeys(parts, reason)}
    )
