"""Probes: linear classifiers on the cached features of a frozen backbone."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from clones import ROOT
from folded_images import FOLD_IMAGES, FOLDS, write_folds
from tiny_models import brightness_images, write_threshold_model
from visiongate import paths, user_cache
from visiongate.adapters.mlflow.runs import open_run
from visiongate.errors import DataError, SettingsError
from visiongate.evaluation import stage as evaluate
from visiongate.images.folds import load_folds
from visiongate.models import backbone
from visiongate.models.backbone import build_backbone, load_backbone
from visiongate.models.embedding import Embedder, embed, run_cached
from visiongate.models.feature_graph import feature_graph
from visiongate.models.predictor import (
    ACTIVATION_MAP,
    EMBEDDING,
    NOVELTY,
    PROBABILITIES,
    Predictor,
    open_predictor,
)
from visiongate.models.probe import ABSENT_CLASS_INTERCEPT, fit_head
from visiongate.optimization.trainer import Trainer
from visiongate.records.predictions import read_predictions
from visiongate.records.transform import read_transform
from visiongate.records.validation import ValidationReport, write_validation
from visiongate.settings.loading import load_settings, parse_settings
from visiongate.settings.model import Probe
from visiongate.settings.schema import Settings
from visiongate.training import stage as train
from workspaces import enter_workspace

PROBE = {"kind": "probe", "name": "efficientnet_lite0", "options": {"weights": "package"}, "strength": 0.01}
ALL = FOLDS * FOLD_IMAGES


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter_workspace(folder, monkeypatch)
    write_folds(paths.TRANSFORMED, size=32)
    write_validation(paths.VALIDATION / "result.json", ValidationReport(ALL, ()))


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(tmp_path / "workspace", monkeypatch)


def settings(**model: Any) -> Settings:  # noqa: ANN401 - settings of any type
    tree = load_settings(ROOT / "params.yaml").model_dump()
    space = {"strength": tree["optimize"]["space"]["lr"] | {"setting": "model.strength"}}
    evaluation = {"bootstrap_samples": 50, "latency_runs": 2, "corruption_images": 6}
    changed = {
        "model": PROBE | model,
        "optimize": tree["optimize"] | {"space": space, "epochs": 1},
        "evaluation": tree["evaluation"] | evaluation,
        "gate": {"rules": {"accuracy": {"metric": "accuracy", "comparison": ">=", "threshold": 0.6}}},
    }
    return parse_settings(tree | changed, "params.yaml")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a training, made once."""
    folder = tmp_path_factory.mktemp("trained") / "workspace"
    with pytest.MonkeyPatch.context() as patched:
        enter(folder, patched)
        train.run(settings())
    return folder


@pytest.fixture
def probe(trained: Path) -> Predictor:
    """A trained probe in the workspace of the test."""
    for outputs in (paths.MODEL_ONNX.parent, paths.HISTORY.parent):
        shutil.copytree(trained / outputs, outputs, dirs_exist_ok=True)
    return open_predictor(paths.MODEL_ONNX)


def test_a_probe_is_trained_on_folds_and_evaluated_with_cached_features(
    probe: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert probe.outputs == {PROBABILITIES, EMBEDDING, ACTIVATION_MAP, NOVELTY}
    assert len(list(paths.FOLDS.glob("*.onnx"))) == FOLDS
    computed: list[int] = []
    compute = Embedder._compute  # noqa: SLF001 - counts what the cache lacks
    monkeypatch.setattr(
        Embedder, "_compute", lambda self, images: computed.append(len(images)) or compute(self, images)
    )

    evaluate.run(settings())

    # Only corrupted images, two of each kind and severity for each fold, and foreign images are new.
    assert 2 in computed
    assert not {FOLD_IMAGES, ALL} & set(computed)
    recorded = read_predictions(paths.EVALUATION / "predictions.parquet")
    assert len(recorded.labels) == ALL
    data = load_folds(paths.TRANSFORMED)
    for fold in data:
        images = data.pixels.images[data.rows(fold, "test")]
        expected = open_predictor(paths.fold_model(fold)).predict(images)
        actual = recorded.probabilities[fold * FOLD_IMAGES : (fold + 1) * FOLD_IMAGES]
        assert np.allclose(actual, expected, atol=1e-7)
    computed.clear()
    train.run(settings(strength=1.0))
    evaluate.run(settings(strength=1.0))
    assert computed == []


def test_cached_outputs_equal_those_of_the_whole_graph(probe: Predictor) -> None:
    images = load_folds(paths.TRANSFORMED).pixels.images[:7]
    names = [PROBABILITIES, EMBEDDING]
    cached, whole = run_cached(probe, images, names), probe.run(images, names)
    for name in names:
        assert np.array_equal(cached[name], whole[name])
    assert np.array_equal(embed(probe, images), whole[EMBEDDING])
    assert np.array_equal(run_cached(probe, images, [ACTIVATION_MAP])[ACTIVATION_MAP].shape[:2], (7, 2))


def test_the_mean_of_the_activation_map_and_the_bias_are_the_logit(probe: Predictor) -> None:
    images = load_folds(paths.TRANSFORMED).pixels.images[:5]
    outputs = probe.run(images, [PROBABILITIES, ACTIVATION_MAP])
    constants = {
        each.name: numpy_helper.to_array(each) for each in onnx.load(paths.MODEL_ONNX).graph.initializer
    }
    logits = outputs[ACTIVATION_MAP].mean(axis=(2, 3)) + constants["head.bias"]
    exponentials = np.exp(logits / constants["temperature"])
    assert np.allclose(
        exponentials / exponentials.sum(axis=1, keepdims=True), outputs[PROBABILITIES], atol=1e-5
    )


def test_probes_of_one_backbone_share_their_features(probe: Predictor) -> None:
    other = open_predictor(paths.fold_model(0))
    graphs = [feature_graph(onnx.load(model.source)) for model in (probe, other)]
    kept = load_backbone(Probe(**PROBE), read_transform(paths.TRANSFORMED))
    assert graphs[0].sha256 == graphs[1].sha256 == feature_graph(kept.graph).sha256
    assert onnx.load(probe.source) != onnx.load(other.source)


def test_training_is_deterministic(probe: Predictor) -> None:
    before = paths.MODEL_ONNX.read_bytes()
    train.run(settings())
    assert paths.MODEL_ONNX.read_bytes() == before
    assert probe.metadata["backbone"] == "efficientnet_lite0"


def test_a_trial_is_scored_on_all_folds(probe: Predictor) -> None:
    assert probe.metadata["classes"] == ["above", "below"]
    with open_run(settings().tracking, "optimize", {}, {}) as run:
        trainer = Trainer(settings(), paths.TRANSFORMED, "trial", run.id)
        scores = [
            trainer(0, {"model.strength": strength}, lambda _epoch, _value: None) for strength in (1e-9, 0.01)
        ]
        redrawn = {
            trainer(0, {"model.strength": 1e-3, "training.seed": seed}, lambda _epoch, _value: None)
            for seed in range(1, 9)
        }
    assert scores[0] < scores[1]
    # A fresh seed draws other training images.
    assert len(redrawn) > 1


def test_a_head_separates_and_leaves_out_a_class_without_images() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2 * 2
    features = generator.normal(size=(60, 20)).astype(np.float32) + labels[:, None]
    head = fit_head(features, labels, 3, 1.0)
    assert (head.logits(features).argmax(axis=1) == labels).all()
    assert head.bias[1] == np.float32(ABSENT_CLASS_INTERCEPT)
    assert np.isfinite(head.logits(features)).all()
    same = fit_head(np.ones((4, 3), np.float32), np.array([0, 1, 0, 1]), 2, 1.0)
    assert np.isfinite(same.logits(np.ones((1, 3), np.float32))).all()


def test_balanced_classes_weigh_the_same() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [300, 20])
    features = generator.normal(size=(320, 4)).astype(np.float32) + 0.7 * labels[:, None].astype(np.float32)
    found = [
        (
            fit_head(features, labels, 2, 1.0, is_balanced=balanced).logits(features).argmax(axis=1)[300:]
            == 1
        ).mean()
        for balanced in (False, True)
    ]
    assert found[0] < 0.6 < found[1]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"options": {"weights": "none"}}, "a probe needs pretrained weights"),
        ({"name": "small_cnn", "options": {}}, "a probe needs pretrained weights"),
        ({"name": "resnet9"}, "model.name = 'resnet9' is not a network"),
    ],
)
def test_a_backbone_without_pretrained_weights_is_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_backbone(Probe(**PROBE | model), 1, 32)


def test_a_damaged_backbone_is_exported_again(tmp_path: Path) -> None:
    kept = load_backbone(Probe(**PROBE), read_transform(paths.TRANSFORMED))
    file = tmp_path / "backbone.onnx"
    backbone._keep(kept, file)  # noqa: SLF001 - the file's one writer
    content = file.read_bytes()
    assert backbone._read(file) == kept  # noqa: SLF001 - its one reader
    for damaged in (content[:-1] + b"x", content[:100], b"", b"{}\n"):
        file.write_bytes(damaged)
        assert backbone._read(file) is None  # noqa: SLF001
    (tmp_path / "file").write_text("")
    backbone._keep(kept, tmp_path / "file" / "backbone.onnx")  # noqa: SLF001
    assert user_cache.cache_folder().exists()


def test_a_model_without_an_embedding_is_named(tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "model.onnx")
    with pytest.raises(DataError, match="has no embedding"):
        embed(open_predictor(tmp_path / "model.onnx"), brightness_images(2)[0])
