"""Inputs of the report without a pipeline: two revisions with any number of classes, and hostile text."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from visiongate.gate.rules import Measured, apply_rules
from visiongate.records.corrections import Correction
from visiongate.records.evaluation import ClassMetrics, ConfusionRow, Slice
from visiongate.records.history import EpochMetrics
from visiongate.records.interval import Interval
from visiongate.records.predictions import RecordedPredictions
from visiongate.records.preparation import CorrectedImage, QuarantinedImage
from visiongate.records.registration import Action, RecordedLineage, Registration
from visiongate.records.validation import ExpectationResult
from visiongate.review.parsing import Search
from visiongate.review.snapshot import ReportInputs, Snapshot
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
    """Return the records of a model that is right with a probability of ``skill``.

    Args:
        name: The name of the revision.
        skill: From 0 to 1.
        names: The classes.
        text: Inserted wherever a file can contain text.
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
    # Parquet accepts no lone surrogates.
    storable = text.encode(errors="replace").decode()
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
        classes=[
            ClassMetrics(each, 40, value, value, value, 0, None, 0)
            for each, value in zip(names, recalls, strict=True)
        ],
        confusion=[ConfusionRow(*pair) for pair in sorted(pairs) for _ in range(3)],
        slices=[Slice("source", f"{text} {number}", 30, skill, 0.1, 1.0, -0.1, 0.5) for number in range(8)],
        predictions=RecordedPredictions(
            hashes,
            [names[label] for label in labels],
            [names[guess] for guess in guesses],
            np.full((IMAGES, len(names)), 1 / len(names)),
        ),
        history=[
            EpochMetrics(epoch, None, train_loss, 0.5, val_loss, skill)
            for epoch, train_loss, val_loss in ((1, 2.0, 2.0), (2, 1.0, 1.5), (3, skill, skill))
        ],
        expectations=[
            ExpectationResult(text, "critical", success=False, required=text, actual=text),
            ExpectationResult("size", "warning", success=True, required="", actual=""),
        ],
        corrections={
            f"{skill:064.9f}": Correction(f"{skill:064.9f}", text or "cat", text, text, text),
            f"{skill:063.9f}x": Correction(f"{skill:063.9f}x", None, text, text, text),
        },
        corrected=[
            CorrectedImage(
                text, f"{skill:064.9f}", f"not {text}", text or "cat", "relabeled", text, text, text
            )
        ],
        quarantine=[QuarantinedImage(f"{text}{skill}", text, None, f"{skill}", text, "")],
        images=pa.table(
            {
                "sha256": hashes,
                "path": [f"{storable}/{index}" for index in range(IMAGES)],
                "split": ["test"] * IMAGES,
                "label": [f"{storable} {label}" for label in labels],
                "group": pa.array([None] * IMAGES, pa.string()),
            }
        ),
        search=Search(20, better=True, conclusion=text, values={f"model.{text}": text}),
        registration=make_registration("promoted", text, text),
    )


def make_registration(decision: Action, reason: str, name: str = "digits") -> Registration:
    """Return a registration of version 2 of a model."""
    lineage = RecordedLineage(
        "0" * 40, git_dirty=False, data_md5={}, model_md5="", params_sha256="", differences=[]
    )
    facts = {
        "aliases": [],
        "model_sha256": "",
        "gate_passed": True,
        "previous_champion": None,
        "comparison": None,
    }
    return Registration(decision, reason, name, "2", lineage=lineage, **facts)


def make_inputs(
    now: float = 0.9, base: float | None = 0.8, classes: int = 10, text: str = "class"
) -> ReportInputs:
    """Return two revisions, with the same gate."""
    names = [f"{text} {number}" for number in range(classes)]
    current = make_snapshot("work tree", now, names, text)
    before = None if base is None else make_snapshot(f"main {text}", base, names, text)
    return ReportInputs(current, before, current.verdict, registry())


def registry() -> Registry:
    """Return how the committed settings compare two models."""
    return load_settings(ROOT / "params.yaml").registry


def without(snapshot: Snapshot, *parts: str, reason: str = "not there yet") -> Snapshot:
    """Remove records, with the reason why they are missing."""
    return replace(
        snapshot, **dict.fromkeys(parts), missing={**snapshot.missing, **dict.fromkeys(parts, reason)}
    )
