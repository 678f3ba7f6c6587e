"""``python pipeline_plain.py PARAMS FOLDER PRECISION``: the digits from nothing to a registered model, in one script.

It is what an engineer would write by hand with the libraries of the pipeline; `pipeline.py` compares the pipeline with it. It
imports nothing of visiongate. It does the work of the stages from `ingestion` to `register`, with the settings of the digits:

- images as PNG in Parquet with their hashes; decoded and measured; 15 expectations by Great Expectations, with a page;
- duplicates by hash, and near-duplicates by perceptual hashes; samples, mean images and statistics of each class on a page;
- a stratified split, as arrays;
- the same network, augmentation, optimizer, schedule and precision for the same epochs, with the validation metrics, a
  checkpoint and MLflow's metrics of each epoch; the best epoch, its temperature and the thresholds of its reliability;
- an ONNX file, checked against the network;
- on the test images by ONNX Runtime: metrics and the bootstrap's intervals, two baselines, slices, suspected labels,
  corruptions, foreign images, latency and memory, nearest training images and heat maps of mistakes, a map of the
  embeddings, nine figures and a page;
- rules on the metrics; a registered version in a new SQLite store of MLflow, with the reports and a card.

It leaves out what makes the pipeline more than one run: hashes of inputs and outputs, caches, files that are written as a
whole, checked settings, other data sets, folds, groups of images, the comparison with a champion, git, the reference for
drift, and a training that is resumed.
"""

import base64
import hashlib
import io
import json
import math
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import great_expectations as gx
import jinja2
import matplotlib as mpl
import mlflow
import mlflow.onnx
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pandas as pd
import torch
import yaml
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView
from matplotlib import pyplot as plt
from PIL import Image
from safetensors.torch import save_file
from scipy import fft, ndimage, sparse, stats
from sklearn import metrics as scores
from sklearn.datasets import load_digits, load_sample_images
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

mpl.use("agg")

CLASSES = [str(digit) for digit in range(10)]
SEED = 0
# As in the pipeline.
MAX_BATCH_SECONDS = 0.25
Array = npt.NDArray[Any]
PAGE = jinja2.Template(
    "<!doctype html><meta charset=utf-8><title>{{ title }}</title><h1>{{ title }}</h1>"
    "{% for name, rows in tables.items() %}<h2>{{ name }}</h2><table>{% for row in rows %}<tr>"
    "{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table>{% endfor %}"
    "{% for name, images in pictures.items() %}<h2>{{ name }}</h2>{% for image in images %}"
    '<img src="data:image/png;base64,{{ image }}">{% endfor %}{% endfor %}'
)


@dataclass
class Split:
    """Images, uint8 N×H×W×C, and labels, N."""

    images: Array
    labels: Array


def main(params: Path, folder: Path, precision: str) -> None:
    """Run all steps, and write to the folder."""
    settings = yaml.safe_load(params.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment("digits")
    ingest(Path("raw.parquet"))
    images = validate(pd.read_parquet("raw.parquet"), settings["validation"])
    images, pixels = prepare(images, settings["preparation"])
    splits = transform(images, pixels, settings)
    with mlflow.start_run(run_name="train small_cnn"):
        mlflow.log_params({"precision": precision, **flatten(settings)})
        network, temperature = train(splits, settings, precision)
        export(network, temperature, splits)
        card = evaluate(splits, settings)
        register(card, splits, settings)
    print(f"accuracy {card['accuracy']:.2%}")


def flatten(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the model and of its training by dotted names."""
    chosen = {name: settings[name] for name in ("model", "training")}
    return pd.json_normalize(chosen).iloc[0].to_dict()


# Images


def ingest(path: Path) -> None:
    """Write the images as a table of PNG files."""
    digits = load_digits()
    rows = []
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        content = encode(np.rint(image * (255 / 16)).astype(np.uint8))
        sha256 = hashlib.sha256(content).hexdigest()
        rows.append(
            {
                "path": f"load_digits/{index:04d}.png",
                "label": str(label),
                "split": None,
                "group": None,
                "image": content,
                "sha256": sha256,
            }
        )
    pd.DataFrame(rows).to_parquet(path)


def encode(image: Array) -> bytes:
    """Return an image, uint8 H×W or H×W×3, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def validate(images: pd.DataFrame, limits: dict[str, Any]) -> pd.DataFrame:
    """Measure the images, check them, and write a page of the result; return them with the measurements."""
    images = images.join(pd.DataFrame([measure(content) for content in images["image"]]))
    images["copy_of"] = images["sha256"].where(images.duplicated(["sha256", "label"]))
    images["other_label"] = images["sha256"].where(images.groupby("sha256")["label"].transform("nunique") > 1)
    images["other_split"] = images["sha256"].where(images.groupby("sha256")["split"].transform("nunique") > 1)
    counts = images["label"].value_counts()
    classes = pd.DataFrame({"images": counts, "ratio": counts.max() / counts})
    groups = images.groupby("group")["split"].nunique()
    shards = pd.DataFrame({"columns": [" ".join(sorted(pd.read_parquet("raw.parquet").columns))]})
    expect = gx.expectations
    suites = {
        "shards": (
            shards,
            [expect.ExpectColumnValuesToBeInSet(column="columns", value_set=shards["columns"].tolist())],
        ),
        "images": (
            images.drop(columns="image"),
            [
                expect.ExpectColumnValuesToMatchRegex(column="path", regex=r"\.png$"),
                expect.ExpectColumnValuesToBeInSet(column="format", value_set=limits["formats"]["allowed"]),
                expect.ExpectColumnValuesToBeInSet(column="mode", value_set=limits["modes"]["allowed"]),
                expect.ExpectColumnValuesToBeBetween(column="brightness", min_value=0, max_value=255),
                expect.ExpectColumnValuesToBeBetween(
                    column="side", min_value=limits["size"]["min_side"], max_value=limits["size"]["max_side"]
                ),
                expect.ExpectColumnValuesToBeBetween(
                    column="aspect", max_value=limits["aspect"]["max_ratio"]
                ),
                expect.ExpectColumnValuesToBeNull(column="error", mostly=limits["decodable"]["min_share"]),
                expect.ExpectColumnValuesToBeNull(column="copy_of"),
                expect.ExpectColumnValuesToBeNull(column="other_label"),
                expect.ExpectColumnValuesToBeNull(column="other_split"),
                expect.ExpectColumnDistinctValuesToEqualSet(column="label", value_set=CLASSES),
            ],
        ),
        "classes": (
            classes,
            [
                expect.ExpectColumnValuesToBeBetween(
                    column="images", min_value=limits["rows_per_class"]["min_rows"]
                ),
                expect.ExpectColumnValuesToBeBetween(
                    column="ratio", max_value=limits["balance"]["max_ratio"]
                ),
            ],
        ),
        "groups": (
            groups.to_frame("splits"),
            [expect.ExpectColumnValuesToBeBetween(column="splits", max_value=1)],
        ),
    }
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("images")
    for name, (frame, rules) in suites.items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("whole")
        result = batch.get_batch({"dataframe": frame}).validate(gx.ExpectationSuite(name, expectations=rules))
        Path(f"validation_{name}.json").write_text(json.dumps(result.to_json_dict()))
        page = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result))
        Path(f"validation_{name}.html").write_text(page)
        if not result.success:
            raise SystemExit(f"validation of {name} failed")
    return images


def measure(content: bytes) -> dict[str, Any]:
    """Return the properties of an encoded image."""
    try:
        image = Image.open(io.BytesIO(content))
        gray = np.asarray(image.convert("L"))
    except OSError as error:
        return {"error": str(error)}
    width, height = image.size
    return {
        "format": image.format,
        "mode": image.mode,
        "width": width,
        "height": height,
        "side": min(width, height),
        "aspect": max(width, height) / min(width, height),
        "brightness": gray.mean(),
        "contrast": gray.std(),
        "error": None,
    }


def prepare(images: pd.DataFrame, limits: dict[str, Any]) -> tuple[pd.DataFrame, Array]:
    """Drop blank, broken and repeated images, find near-duplicates, and write a page; return the rest and its pixels."""
    kept = images[
        images["error"].isna() & (images["contrast"] >= limits["min_contrast"]) & ~images.duplicated("sha256")
    ]
    kept = kept.reset_index(drop=True)
    images.drop(columns="image").drop(kept.index, errors="ignore").to_csv("quarantine.csv")
    sketches = np.stack(
        [
            np.asarray(
                Image.open(io.BytesIO(content)).convert("L").resize((32, 32), Image.Resampling.BILINEAR)
            )
            for content in kept["image"]
        ]
    ).astype(np.float32)
    kept["cluster"] = find_clusters(sketches, limits["near_duplicates"])
    kept.to_parquet("prepared.parquet")
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(content)).convert("L")) for content in kept["image"]])
    labels = kept["label"].to_numpy()
    rows = kept.groupby("label")[["brightness", "contrast", "width", "height"]].describe().round(2)
    tests = [
        [name, stats.kruskal(*(part[name] for _, part in kept.groupby("label"))).statistic]
        for name in ("brightness", "contrast")
    ]
    samples = {f"Class {name}": pixels[labels == name][:12] for name in CLASSES}
    means = np.stack([sketches[labels == name].mean(axis=0) for name in CLASSES]).astype(np.uint8)
    pictures = {
        **{name: list(map(uri, each)) for name, each in samples.items()},
        "Means": list(map(uri, means)),
    }
    write_page(
        "preparation.html", {"Classes": rows.reset_index().to_numpy().tolist(), "Tests": tests}, pictures
    )
    return kept, pixels[..., None]


def find_clusters(sketches: Array, limits: dict[str, Any]) -> Array:
    """Return the number of the cluster of near-duplicates of each image, by perceptual hashes and the sketches."""
    low = fft.dctn(sketches, axes=(1, 2))[:, :8, :8].reshape(len(sketches), -1)[:, 1:]
    bits = (low > np.median(low, axis=1, keepdims=True)).astype(np.float32)
    distance = bits @ (1 - bits).T
    first, second = np.nonzero(np.triu(distance + distance.T <= limits["max_distance"], 1))
    flat = sketches.reshape(len(sketches), -1)
    flat = (flat - flat.mean(axis=1, keepdims=True)) / flat.std(axis=1, keepdims=True)
    close = np.zeros(len(first), bool)
    for start in range(0, len(first), 4096):
        part = slice(start, start + 4096)
        close[part] = ((flat[first[part]] - flat[second[part]]) ** 2).mean(axis=1) <= limits["max_difference"]
    pairs = (np.ones(close.sum()), (first[close], second[close]))
    graph = sparse.coo_array(pairs, shape=(len(flat), len(flat)))
    return sparse.csgraph.connected_components(graph, directed=False)[1]


def uri(image: Array) -> str:
    """Return an image as PNG in base64."""
    return base64.b64encode(encode(np.ascontiguousarray(image))).decode()


def write_page(name: str, tables: dict[str, Any], pictures: dict[str, Any]) -> None:
    """Write an HTML page."""
    Path(name).write_text(PAGE.render(title=Path(name).stem, tables=tables, pictures=pictures))


def transform(images: pd.DataFrame, pixels: Array, settings: dict[str, Any]) -> dict[str, Split]:
    """Split the images, write the arrays, and return them."""
    split = settings["transformation"]["split"]
    labels = images["label"].astype(int).to_numpy()
    train, rest = train_test_split(
        np.arange(len(labels)), train_size=split["train"], stratify=labels, random_state=SEED
    )
    val, test = train_test_split(rest, test_size=0.5, stratify=labels[rest], random_state=SEED)
    splits = {}
    for name, rows in (("train", train), ("val", val), ("test", test)):
        splits[name] = Split(pixels[rows], labels[rows])
        np.save(f"{name}_images.npy", pixels[rows])
        images.iloc[rows].drop(columns="image").to_parquet(f"{name}.parquet")
    shares = splits["train"].images / 255
    Path("transform.json").write_text(json.dumps({"mean": shares.mean(), "std": shares.std()}))
    return splits


# Training


class SmallCNN(nn.Module):
    """The network ``model=small_cnn``: maps images, N×1×H×W, to logits, embeddings and activation maps."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *block(1, width), *block(width, 2 * width), nn.MaxPool2d(2), *block(2 * width, 2 * width)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs."""
        features = self.features(images)
        embedding = self.dropout(features.mean(dim=(2, 3)))
        maps = functional.conv2d(features, self.head.weight[:, :, None, None])
        return self.head(embedding), embedding, maps


def block(inputs: int, outputs: int) -> list[nn.Module]:
    """Return a convolution with batch norm and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class Served(nn.Module):
    """The network between preprocessing and calibrated probabilities."""

    def __init__(self, network: nn.Module, mean: float, std: float, temperature: float) -> None:
        super().__init__()
        self.network, self.mean, self.std, self.temperature = network, mean, std, temperature

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities, embeddings and activation maps of uint8 images, N×H×W×C."""
        pixels = (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        logits, embedding, maps = self.network(pixels)
        return torch.softmax(logits / self.temperature, dim=1), embedding, maps


def train(splits: dict[str, Split], settings: dict[str, Any], precision: str) -> tuple[nn.Module, float]:
    """Train the network; return it with the weights of the best epoch, and its temperature."""
    model, training = settings["model"], settings["training"]
    random.seed(SEED)
    torch.manual_seed(SEED)
    transform = json.loads(Path("transform.json").read_text())
    mean, std = transform["mean"], transform["std"]
    images, labels = (torch.from_numpy(each) for each in (splits["train"].images, splits["train"].labels))
    network = SmallCNN(**model["options"]).to(memory_format=torch.channels_last)
    matrices = [each for each in network.parameters() if each.ndim > 1]
    vectors = [each for each in network.parameters() if each.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": model["weight_decay"]},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, model["lr"], betas=(model["momentum"], 0.999))
    steps = training["epochs"] * (len(images) // model["batch_size"])
    warmup = round(model["warmup"] * steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            (step + 1) / (warmup + 1) if step < warmup else max(1 - (step - warmup) / (steps - warmup), 1e-3)
        ),
    )
    history, best = [], {}
    for epoch in range(1, training["epochs"] + 1):
        network.train()
        order = torch.randperm(len(images))
        sums = torch.zeros(2)
        for rows in order.split(model["batch_size"])[: len(images) // model["batch_size"]]:
            batch = (shift(images[rows], training["augmentation"]["shift"]) - mean) / std
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                logits = network(batch.contiguous(memory_format=torch.channels_last))[0].float()
            loss = functional.cross_entropy(logits, labels[rows], label_smoothing=training["label_smoothing"])
            loss.backward()
            optimizer.step()
            schedule.step()
            sums += torch.stack([loss.detach() * len(rows), (logits.argmax(dim=1) == labels[rows]).sum()])
        row = {"train_loss": float(sums[0] / len(order)), "train_accuracy": float(sums[1] / len(order))}
        row |= validate_epoch(network, splits["val"], (mean, std), precision)
        mlflow.log_metrics({**row, "lr": schedule.get_last_lr()[0]}, step=epoch)
        history.append({"epoch": epoch, **row})
        if row["val_loss"] <= min(each["val_loss"] for each in history):
            best = {name: value.clone() for name, value in network.state_dict().items()}
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "best": best}
        torch.save({**state, "history": history}, "checkpoint.pt")
    network.load_state_dict(best)
    pd.DataFrame(history).to_csv("history.csv", index=False)
    save_file({name: value.contiguous() for name, value in best.items()}, "model.safetensors")
    Path("model.txt").write_text("\n".join(f"{name} {list(each.shape)}" for name, each in best.items()))
    logits = predict(network, splits["val"].images, (mean, std), precision)
    return network.to(memory_format=torch.contiguous_format), fit_temperature(logits, splits["val"].labels)


def shift(images: Tensor, most: int) -> Tensor:
    """Shift each image by up to so many pixels; return floats in 0..1, N×C×H×W."""
    count, height, width, _ = images.shape
    padded = functional.pad(images.permute(0, 3, 1, 2), (most,) * 4)
    down, right = torch.randint(0, 2 * most + 1, (2, count, 1))
    rows, columns = torch.arange(height) + down, torch.arange(width) + right
    moved = padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def predict(network: nn.Module, images: Array, statistics: tuple[float, float], precision: str) -> Tensor:
    """Return the logits of images."""
    network.eval()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        return network((pixels - statistics[0]) / statistics[1])[0].float()


def validate_epoch(
    network: nn.Module, val: Split, statistics: tuple[float, float], precision: str
) -> dict[str, float]:
    """Return the metrics of an epoch."""
    logits = predict(network, val.images, statistics, precision)
    probabilities = torch.softmax(logits.double(), dim=1).numpy()
    predicted = probabilities.argmax(axis=1)
    precisions, recalls, f1, _ = scores.precision_recall_fscore_support(
        val.labels, predicted, average="macro", zero_division=0
    )
    top = np.argsort(-probabilities, axis=1)[:, :3] == val.labels[:, None]
    return {
        "val_loss": functional.cross_entropy(logits, torch.from_numpy(val.labels)).item(),
        "val_accuracy": float((predicted == val.labels).mean()),
        "val_precision": precisions,
        "val_recall": recalls,
        "val_f1": f1,
        "val_top3": float(top.any(axis=1).mean()),
        "val_roc_auc": scores.roc_auc_score(val.labels, probabilities, multi_class="ovr"),
    }


def fit_temperature(logits: Tensor, labels: Array) -> float:
    """Return the temperature of the lowest cross-entropy, with labels smoothed a little."""
    scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale], max_iter=100, line_search_fn="strong_wolfe")
    smoothing = 10 / ((len(labels) + 2) * 9)

    def closure() -> Tensor:
        optimizer.zero_grad()
        divided = logits.double() / scale.exp()
        loss = functional.cross_entropy(divided, torch.from_numpy(labels), label_smoothing=smoothing)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(scale.detach().exp())


def export(network: nn.Module, temperature: float, splits: dict[str, Split]) -> None:
    """Write ``model.onnx``, and the thresholds of its reliability."""
    transform = json.loads(Path("transform.json").read_text())
    served = Served(network, transform["mean"], transform["std"], temperature).eval()
    example = torch.from_numpy(splits["val"].images[:2])
    torch.onnx.export(
        served,
        (example,),
        "model.onnx",
        dynamo=True,
        opset_version=20,
        input_names=["images"],
        output_names=["probabilities", "embedding", "maps"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
        external_data=False,
        verbose=False,
    )
    onnx.checker.check_model("model.onnx", full_check=True)
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        np.testing.assert_allclose(
            session.run(None, {"images": example.numpy()})[0], served(example)[0], atol=1e-5
        )
    probabilities, embedding, _ = session.run(None, {"images": splits["val"].images})
    own = np.sort(probabilities[np.arange(len(probabilities)), splits["val"].labels])
    center, precision = fit_novelty(session, splits["train"])
    novelty = np.sort(find_novelty(embedding, center, precision))
    rank = math.ceil((len(own) + 1) * 0.95)
    np.savez(
        "reliability.npz",
        min_probability=own[len(own) - rank],
        threshold=novelty[rank - 1],
        center=center,
        precision=precision,
    )


def fit_novelty(session: onnxruntime.InferenceSession, train_split: Split) -> tuple[Array, Array]:
    """Return the means of the classes' embeddings, and the inverse of their covariance."""
    embedding = session.run(["embedding"], {"images": train_split.images})[0].astype(np.float64)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    means = np.stack([embedding[train_split.labels == number].mean(axis=0) for number in range(10)])
    return means, np.linalg.pinv(np.cov((embedding - means[train_split.labels]).T))


def find_novelty(embedding: Array, means: Array, precision: Array) -> Array:
    """Return the distance of each embedding to the nearest class."""
    difference = (embedding / np.linalg.norm(embedding, axis=1, keepdims=True))[:, None] - means
    return np.einsum("nkd,de,nke->nk", difference, precision, difference).min(axis=1)


# Evaluation


def evaluate(splits: dict[str, Split], settings: dict[str, Any]) -> dict[str, float]:
    """Write the metrics, their intervals, tables, figures and a page; return the metrics."""
    chosen, test = settings["evaluation"], splits["test"]
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    probabilities, embedding, maps = session.run(None, {"images": test.images})
    predicted = probabilities.argmax(axis=1)
    trained = session.run(["probabilities", "embedding"], {"images": splits["train"].images})
    card = compute_metrics(test.labels, probabilities)
    card |= {
        f"train_{name}": value for name, value in compute_metrics(splits["train"].labels, trained[0]).items()
    }
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    linear.fit(splits["train"].images.reshape(len(splits["train"].labels), -1), splits["train"].labels)
    card["linear_accuracy"] = linear.score(test.images.reshape(len(test.labels), -1), test.labels)
    majority = np.bincount(splits["train"].labels).argmax()
    card["majority_accuracy"] = float((test.labels == majority).mean())
    intervals = bootstrap(test.labels, probabilities, chosen)
    robustness = corrupt_all(session, test, chosen)
    card["corrupted_accuracy"] = float(np.mean([values[1:] for values in robustness.values()]))
    card |= judge_reliability(session, probabilities, embedding, test.labels)
    card |= measure_latency(session, test.images, chosen)
    write_tables(test, probabilities, intervals)
    explained = explain(splits, (predicted, embedding, maps), trained[1])
    figures = draw(test, probabilities, robustness, embedding)
    rules = settings["gate"]["rules"]
    verdict = {
        "test_images": len(test.labels) >= rules["test_images"]["threshold"],
        "beats_linear": card["accuracy"] - card["linear_accuracy"] >= rules["beats_linear"]["threshold"],
        "beats_majority": card["accuracy"] - card["majority_accuracy"]
        >= rules["beats_majority"]["threshold"],
        "worst_class": card["recall_min"] >= rules["worst_class"]["threshold"],
        "calibration": card["ece"] <= rules["calibration"]["threshold"],
    }
    Path("metrics.json").write_text(json.dumps(card, indent=2))
    Path("intervals.json").write_text(json.dumps(intervals, indent=2))
    Path("gate.json").write_text(json.dumps({name: bool(value) for name, value in verdict.items()}))
    tables = {
        "Gate": list(verdict.items()),
        "Metrics": [[name, f"{value:.4f}", intervals.get(name)] for name, value in card.items()],
    }
    write_page("evaluation.html", tables, {"Figures": figures, "Mistakes": explained})
    return card


def compute_metrics(labels: Array, probabilities: Array) -> dict[str, float]:
    """Return the metrics of a split."""
    predicted = probabilities.argmax(axis=1)
    values = {"accuracy": scores.accuracy_score(labels, predicted)}
    for average in ("macro", "weighted"):
        found = scores.precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)
        values |= {
            f"{name}_{average}": each
            for name, each in zip(("precision", "recall", "f1"), found, strict=False)
        }
    truth = np.eye(10)[labels]
    values |= {
        "recall_min": scores.recall_score(labels, predicted, average=None).min(),
        "mcc": scores.matthews_corrcoef(labels, predicted),
        "roc_auc": scores.roc_auc_score(truth, probabilities),
        "average_precision": scores.average_precision_score(truth, probabilities),
        "log_loss": scores.log_loss(labels, probabilities, labels=range(10)),
        "brier": np.square(probabilities - truth).sum(axis=1).mean(),
        "ece": calibration_error(labels, probabilities),
        "top3": scores.top_k_accuracy_score(labels, probabilities, k=3, labels=range(10)),
    }
    return {name: float(value) for name, value in values.items()}


def calibration_error(labels: Array, probabilities: Array) -> float:
    """Return the expected calibration error in 15 bins."""
    gap = (probabilities.argmax(axis=1) == labels) - probabilities.max(axis=1)
    bins = np.minimum((probabilities.max(axis=1) * 15).astype(int), 14)
    return float(np.abs(np.bincount(bins, gap, 15)).sum() / len(labels))


def bootstrap(labels: Array, probabilities: Array, chosen: dict[str, Any]) -> dict[str, list[float]]:
    """Return intervals by resampling the images, all samples at once."""
    count, samples = len(labels), chosen["bootstrap_samples"]
    weights = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), samples).astype(float)
    predicted, truth = probabilities.argmax(axis=1), np.eye(10)[labels]
    actual, called = weights @ truth, weights @ np.eye(10)[predicted]
    hits = weights @ (truth * (predicted == labels)[:, None])
    gap = (predicted == labels) - probabilities.max(axis=1)
    bins = np.minimum((probabilities.max(axis=1) * 15).astype(int), 14)
    sampled = {
        "accuracy": weights @ (predicted == labels) / count,
        "recall_macro": np.nanmean(hits / np.where(actual, actual, np.nan), axis=1),
        "precision_macro": np.nanmean(hits / np.where(called, called, np.nan), axis=1),
        "f1_macro": np.nanmean(2 * hits / np.where(actual + called, actual + called, np.nan), axis=1),
        "log_loss": weights @ -np.log(np.maximum(probabilities[np.arange(count), labels], 1e-15)) / count,
        "brier": weights @ np.square(probabilities - truth).sum(axis=1) / count,
        "ece": np.abs(weights @ (np.eye(15)[bins] * gap[:, None])).sum(axis=1) / count,
        **rank_samples(weights, probabilities, truth),
    }
    tail = (1 - chosen["confidence"]) / 2
    return {name: np.nanquantile(values, [tail, 1 - tail]).tolist() for name, values in sampled.items()}


def rank_samples(weights: Array, probabilities: Array, truth: Array) -> dict[str, Array]:
    """Return ROC-AUC and average precision of each sample, means over the classes."""
    areas, precisions = [], []
    for number in range(10):
        order = np.argsort(-probabilities[:, number])
        positive = weights[:, order] * truth[order, number]
        negative = weights[:, order] - positive
        found, false = positive.cumsum(axis=1), negative.cumsum(axis=1)
        total = np.where(found[:, -1], found[:, -1], np.nan)
        areas.append((negative * found).sum(axis=1) / total / false[:, -1])
        precisions.append((positive * found / np.maximum(found + false, 1)).sum(axis=1) / total)
    return {"roc_auc": np.nanmean(areas, axis=0), "average_precision": np.nanmean(precisions, axis=0)}


def corrupt_all(
    session: onnxruntime.InferenceSession, test: Split, chosen: dict[str, Any]
) -> dict[str, list[float]]:
    """Return the accuracy on corrupted images, by corruption and severity."""
    images, labels = test.images[: chosen["corruption_images"]], test.labels[: chosen["corruption_images"]]
    accuracies: dict[str, list[float]] = {}
    for name in ("original", "noise", "blur", "contrast", "jpeg", "shift"):
        for severity in range(1, 6) if name != "original" else (0,):
            changed = corrupt(images, name, severity)
            predicted = session.run(["probabilities"], {"images": changed})[0].argmax(axis=1)
            accuracies.setdefault(name, []).append(float((predicted == labels).mean()))
    original = accuracies.pop("original")
    return {name: original + values for name, values in accuracies.items()}


def corrupt(images: Array, name: str, severity: int) -> Array:
    """Return corrupted copies of images."""
    generator, floats = np.random.default_rng(SEED), images.astype(np.float32)
    if name == "noise":
        floats += generator.standard_normal(images.shape) * 255 * (0.04, 0.08, 0.13, 0.2, 0.3)[severity - 1]
    elif name == "blur":
        sigma = 0.2 + (0.08, 0.13, 0.2, 0.28, 0.4)[severity - 1] * 8**0.5
        floats = ndimage.gaussian_filter(floats, (0, sigma, sigma, 0))
    elif name == "contrast":
        means = floats.mean(axis=(1, 2), keepdims=True)
        floats = means + (floats - means) * (0.6, 0.4, 0.25, 0.15, 0.08)[severity - 1]
    elif name == "jpeg":
        return np.stack([compress(image, (50, 25, 15, 8, 4)[severity - 1]) for image in images])
    elif name == "shift":
        angles = 2 * np.pi * generator.random(len(images))
        size = max(1, 8 * (0.1, 0.15, 0.2, 0.25, 0.3)[severity - 1])
        moves = np.rint(np.stack([np.sin(angles), np.cos(angles), 0 * angles], axis=1) * size)
        return np.stack(
            [ndimage.shift(each, move, order=0) for each, move in zip(images, moves, strict=True)]
        )
    return np.clip(np.rint(floats), 0, 255).astype(np.uint8)


def compress(image: Array, quality: int) -> Array:
    """Return an image after compression as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0]).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))[..., None]


def judge_reliability(
    session: onnxruntime.InferenceSession, probabilities: Array, embedding: Array, labels: Array
) -> dict[str, float]:
    """Return the coverage of the prediction sets, the false alarms, and the share of foreign images that is found."""
    stated = np.load("reliability.npz")
    sets = probabilities >= stated["min_probability"]
    photos = [Image.fromarray(photo).convert("L") for photo in load_sample_images().images]
    foreign = np.stack(
        [
            np.asarray(photo.crop((left, top, left + 106, top + 106)).resize((8, 8)))
            for photo in photos
            for top in range(0, photo.height - 106, 106)
            for left in range(0, photo.width - 106, 106)
        ]
    )[..., None]
    unknown = session.run(["embedding"], {"images": foreign})[0]
    outside = [
        find_novelty(each, stated["center"], stated["precision"]) > stated["threshold"]
        for each in (embedding, unknown)
    ]
    return {
        "coverage": float(sets[np.arange(len(labels)), labels].mean()),
        "set_size": float(sets.sum(axis=1).mean()),
        "false_alarms": float(outside[0].mean()),
        "foreign_found": float(outside[1].mean()),
    }


MEMORY = """
import resource, sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {"images": numpy.zeros((256, 8, 8, 1), numpy.uint8)})
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""


def measure_latency(
    session: onnxruntime.InferenceSession, images: Array, chosen: dict[str, Any]
) -> dict[str, float]:
    """Return milliseconds of single images and of batches, and the memory of a process that predicts a batch."""
    batch = np.resize(images, (chosen["batch_size"], *images.shape[1:]))
    single, whole = [], []
    for run in range(5 + chosen["latency_runs"]):
        start = time.perf_counter()
        session.run(["probabilities"], {"images": batch[run % len(batch), None]})
        single.append(time.perf_counter() - start)
    while sum(whole) < MAX_BATCH_SECONDS and len(whole) < chosen["latency_runs"]:
        start = time.perf_counter()
        session.run(["probabilities"], {"images": batch})
        whole.append(time.perf_counter() - start)
    command = [sys.executable, "-c", MEMORY, "model.onnx"]
    memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        "latency_p50_ms": float(np.percentile(single[5:], 50) * 1000),
        "latency_p95_ms": float(np.percentile(single[5:], 95) * 1000),
        "latency_batch_p50_ms": float(np.percentile(whole, 50) * 1000),
        "throughput_images_per_s": len(batch) / float(np.median(whole)),
        "peak_memory_mb": int(memory) * 1024 / 1e6,
    }


def write_tables(test: Split, probabilities: Array, intervals: dict[str, list[float]]) -> None:
    """Write the predictions, the classes, the slices, the suspected labels and the points of the curves."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    correct = predicted == test.labels
    manifest = pd.read_parquet("test.parquet")
    table = manifest.assign(predicted=predicted, confidence=confidence)
    table = table.join(pd.DataFrame(probabilities, table.index, CLASSES))
    table.to_parquet("predictions.parquet")
    report = scores.classification_report(test.labels, predicted, digits=4, zero_division=0)
    Path("classification_report.txt").write_text(report)
    classes = scores.precision_recall_fscore_support(
        test.labels, predicted, labels=range(10), zero_division=0
    )
    pd.DataFrame(classes, ["precision", "recall", "f1", "images"], CLASSES).T.to_csv("classes.csv")
    pd.DataFrame(intervals, ["low", "high"]).T.to_csv("intervals.csv")
    thirds = {
        name: pd.qcut(manifest[name], 3, labels=False).to_numpy() for name in ("brightness", "contrast")
    }
    slices = []
    for name, values in {"label": test.labels, **thirds}.items():
        for value in np.unique(values):
            inside = values == value
            counts = [
                [correct[inside].sum(), (~correct[inside]).sum()],
                [correct[~inside].sum(), (~correct[~inside]).sum()],
            ]
            slices.append([name, value, correct[inside].mean(), stats.fisher_exact(counts).pvalue])
    pd.DataFrame(slices, columns=["name", "value", "accuracy", "p"]).to_csv("slices.csv")
    thresholds = np.array([probabilities[test.labels == number, number].mean() for number in range(10)])
    suspect = np.where(probabilities >= thresholds, probabilities, 0).argmax(axis=1)
    suspected = (suspect != test.labels) & (probabilities >= thresholds).any(axis=1)
    table[suspected].to_csv("label_errors.csv")
    for name, function in (("roc", scores.roc_curve), ("precision_recall", scores.precision_recall_curve)):
        points = [
            pd.DataFrame(function(test.labels == number, probabilities[:, number])[:2]).T.assign(
                number=number
            )
            for number in range(10)
        ]
        pd.concat(points).to_csv(f"{name}.csv")


def explain(splits: dict[str, Split], outputs: tuple[Array, Array, Array], trained: Array) -> list[str]:
    """Return pictures of the mistakes: the heat map, and the nearest training images."""
    predicted, embedding, maps = outputs
    pictures = []
    known = trained / np.linalg.norm(trained, axis=1, keepdims=True)
    for row in np.flatnonzero(predicted != splits["test"].labels)[:24]:
        heat = Image.fromarray(maps[row, predicted[row]]).resize((8, 8), Image.Resampling.BILINEAR)
        colored = mpl.colormaps["inferno"](plt.Normalize()(np.asarray(heat)))[..., :3]
        pictures.append(uri((255 * colored).astype(np.uint8)))
        nearest = np.argsort(known @ embedding[row])[-3:]
        pictures += [uri(splits["train"].images[each, ..., 0]) for each in nearest]
    return pictures


def draw(
    test: Split, probabilities: Array, robustness: dict[str, list[float]], embedding: Array
) -> list[str]:
    """Return the figures as PNG in base64."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    correct = predicted == test.labels
    history = pd.read_csv("history.csv")
    reduced = PCA(30, svd_solver="full").fit_transform(embedding)
    places = TSNE(init="pca", max_iter=500, random_state=0).fit_transform(reduced)
    figures = []

    def add() -> plt.Axes:
        figure, axis = plt.subplots(figsize=(4, 4), dpi=150, layout="constrained")
        figures.append(figure)
        return axis

    scores.ConfusionMatrixDisplay.from_predictions(test.labels, predicted, ax=add(), colorbar=False)
    recalls = scores.recall_score(test.labels, predicted, average=None)
    add().barh(CLASSES, recalls)
    bins = np.minimum((confidence * 15).astype(int), 14)
    used = np.unique(bins)
    axis = add()
    axis.plot([0, 1], [0, 1], ":")
    axis.plot(
        [confidence[bins == each].mean() for each in used],
        [correct[bins == each].mean() for each in used],
        "o-",
    )
    add().hist([confidence[correct], confidence[~correct]], 20, label=["correct", "wrong"])
    axis, other = add(), add()
    for number, name in enumerate(CLASSES):
        false, true, _ = scores.roc_curve(test.labels == number, probabilities[:, number])
        axis.plot(false, true, label=name)
        precision, recall, _ = scores.precision_recall_curve(test.labels == number, probabilities[:, number])
        other.plot(recall, precision, label=name)
    axis = add()
    for name, values in robustness.items():
        axis.plot(values, "o-", label=name)
    add().scatter(*places.T, c=test.labels, cmap="tab10", s=9)
    axis = add()
    history.plot(x="epoch", y=["train_loss", "val_loss", "train_accuracy", "val_accuracy"], ax=axis)
    pictures = []
    for number, figure in enumerate(figures):
        if figure.axes[0].get_legend_handles_labels()[0]:
            figure.axes[0].legend()
        figure.savefig(f"figure_{number}.png")
        plt.close(figure)
        pictures.append(base64.b64encode(Path(f"figure_{number}.png").read_bytes()).decode())
    return pictures


# Registry


def register(card: dict[str, float], splits: dict[str, Split], settings: dict[str, Any]) -> None:
    """Log the metrics and the reports, register the model, and describe the version."""
    mlflow.log_metrics({f"test/{name}": value for name, value in card.items()})
    for path in sorted(Path().iterdir()):
        if path.suffix in {".html", ".png", ".csv", ".json", ".txt"} or path.name == "predictions.parquet":
            mlflow.log_artifact(str(path))
    mlflow.log_input(mlflow.data.from_numpy(splits["train"].images, name="digits"), "training")
    example = splits["test"].images[:2]
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    outputs = dict(
        zip(("probabilities", "embedding", "maps"), session.run(None, {"images": example}), strict=True)
    )
    versions = {name: sys.modules[name].__version__ for name in ("mlflow", "numpy", "onnx", "onnxruntime")}
    logged = mlflow.onnx.log_model(
        onnx.load("model.onnx"),
        name="model",
        registered_model_name=settings["registry"]["name"],
        signature=mlflow.models.infer_signature({"images": example}, outputs),
        input_example={"images": example},
        pip_requirements=[f"{name}=={version}" for name, version in versions.items()],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    client, name, version = (
        mlflow.MlflowClient(),
        settings["registry"]["name"],
        logged.registered_model_version,
    )
    sha256 = hashlib.sha256(Path("model.onnx").read_bytes()).hexdigest()
    client.set_model_version_tag(name, version, "sha256", sha256)
    gate = json.loads(Path("gate.json").read_text())
    if all(gate.values()):
        client.set_registered_model_alias(name, "champion", version)
    rows = "\n".join(f"| {key} | {value:.4f} |" for key, value in card.items())
    text = f"# {name}\n\n{settings['dataset']['citation']}\n\n| metric | value |\n|---|---|\n{rows}\n"
    Path("model_card.md").write_text(text)
    client.update_model_version(name, version, text)
    mlflow.log_artifact("model_card.md")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), sys.argv[3])
