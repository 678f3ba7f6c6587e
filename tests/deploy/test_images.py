"""The image of the service: what is in it, what it may do, and how it starts and ends. Skipped without podman and docker."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from filelock import FileLock

from clones import ROOT
from command_line import run_cli
from containers import Clients, Container, Engine, container, find_engine
from waiting import wait_until

IMAGE, EDITED = "visiongate:tested", "visiongate:edited"
TARGETS = ("serve", "evaluate", "train", "airflow", "develop")
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
# Of the uncompressed image, with the model of the digits.
MAX_BYTES = 350_000_000
ENTRY = re.compile(r"^([a-zA-Z0-9._-]+)==([^\s;]+)", re.MULTILINE)
# What the builder of the service reads, besides the model.
CONTEXT = ("src", "deploy", "*.lock", "pyproject.toml", "README.md", "LICENSE", ".dockerignore")
# Which lock each of those in `deploy` has its versions from.
ORIGINS = {
    "airflow.lock": "requirements.lock",
    "build.lock": "requirements.lock",
    "develop.lock": "requirements.lock",
    "ray.lock": "requirements.lock",
    "signing.lock": "requirements.lock",
    "torch-cpu.lock": "requirements-production.lock",
}


# What the build checks


def _load_check_model() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_model", ROOT / "deploy/check_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"model")
    sha256 = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4"
    (folder / "served.json").write_text(json.dumps({"name": "digits", "version": "3", "sha256": sha256}))
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits", "3", "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4"), None),
        (("", "", ""), None),
        (("cats", "", ""), "the name digits, not cats"),
        (("digits", "4", ""), "the version 3, not 4"),
        (("digits", "3", "0" * 64), f"not {'0' * 64}"),
    ],
)
def test_the_build_fails_for_another_model(
    exported: Path, arguments: tuple[str, ...], message: str | None
) -> None:
    command = ["python3", str(ROOT / "deploy/check_model.py"), str(exported), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == (0 if message is None else 1)
    assert (message or "") in result.stderr


def test_the_build_fails_for_a_swapped_file(exported: Path) -> None:
    (exported / "model.onnx").write_bytes(b"another")
    [difference] = _load_check_model().find_differences(exported, {})
    assert "model.onnx has the sha256" in difference


def test_the_build_fails_for_another_reference(exported: Path) -> None:
    described = json.loads((exported / "served.json").read_text())
    (exported / "reference.npz").write_bytes(b"reference")
    find_differences = _load_check_model().find_differences
    assert find_differences(exported, {}) == []
    for sha256, count in ((hashlib.sha256(b"reference").hexdigest(), 0), ("0" * 64, 1)):
        (exported / "served.json").write_text(json.dumps({**described, "reference_sha256": sha256}))
        differences = find_differences(exported, {})
        assert [text for text in differences if "reference.npz has the sha256" in text] == differences
        assert len(differences) == count


@pytest.mark.parametrize("lock", ORIGINS)
def test_the_locks_of_the_images_have_the_versions_of_the_project(lock: str) -> None:
    theirs: dict[str, set[str]] = {}
    for name, version in ENTRY.findall((ROOT / ORIGINS[lock]).read_text()):
        theirs.setdefault(name, set()).add(version)
    ours = ENTRY.findall((ROOT / "deploy" / lock).read_text())
    assert ours
    # A lock may have what the project's has not, such as JupyterLab.
    differences = [
        (name, version)
        for name, version in ours
        if name in theirs and version.partition("+")[0] not in theirs[name]
    ]
    assert not differences, f"deploy/{lock} is out of date: make -C deploy lock"


def test_each_package_of_a_lock_has_a_hash() -> None:
    for lock in (ROOT / "deploy").glob("*.lock"):
        text = lock.read_text()
        entries = [each for each in re.split(r"\n(?=\S)", text) if ENTRY.match(each)]
        assert len(entries) == len(ENTRY.findall(text)) > 0
        assert all("--hash=sha256:" in each for each in entries), lock


def test_the_dockerfile_has_no_finding_of_hadolint() -> None:
    hadolint = ROOT / ".venv/bin/hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint is not installed: make setup")
    result = subprocess.run(
        [hadolint, ROOT / "deploy/Dockerfile"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def find_faults(dockerfile: str) -> list[str]:
    """Return what is wrong with the Dockerfile, as far as its text shows it."""
    text = re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ")
    faults = []
    if not re.search(r"^ARG PYTHON_IMAGE=\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE):
        faults.append("the base has no digest")
    stages = {
        name: (origin, body)
        for origin, name, body in re.findall(
            r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM|\Z)", text, re.MULTILINE | re.DOTALL
        )
    }
    faults += [
        f"{name}: from {origin}"
        for name, (origin, _) in stages.items()
        if origin not in {*stages, "scratch", "${PYTHON_IMAGE}"}
    ]
    faults += [
        f"{name}: runs as root or by a name"
        for name in TARGETS
        if re.findall(r"^USER (\S+)$", stages[name][1], re.MULTILINE)[-1:] != ["10001:10001"]
    ]
    faults += [
        f"installs without hashes: {command}"
        for command in re.findall(r"-m pip [^&\n]*", text)
        if "--require-hashes" not in command and "--no-index" not in command
    ]
    return faults


def test_the_dockerfile_keeps_its_promises() -> None:
    assert find_faults(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("@sha256:", "@sha256:0", "the base has no digest"),
        ("FROM ${PYTHON_IMAGE} AS python", "FROM python:3.11 AS python", "python: from python:3.11"),
        ("USER 10001:10001\nWORKDIR", "USER root\nWORKDIR", "serve: runs as root or by a name"),
        (
            'USER 10001:10001\nCMD ["python", "-m", "visiongate"',
            'CMD ["python", "-m", "visiongate"',
            "train: runs as root",
        ),
        (
            "--require-hashes --no-deps --only-binary :all: --requirement build",
            "--requirement build",
            "installs without hashes",
        ),
    ],
)
def test_a_broken_promise_of_the_dockerfile_is_found(old: str, new: str, fault: str) -> None:
    assert old in DOCKERFILE
    assert any(each.startswith(fault) for each in find_faults(DOCKERFILE.replace(old, new, 1)))


# The image


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(find_engine())


@pytest.fixture(scope="module")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of `make -C deploy image`, or the one that VISIONGATE_IMAGE names."""
    if given := os.environ.get("VISIONGATE_IMAGE"):
        return given
    if "CI" in os.environ:
        pytest.skip("the workflow images builds the image, and names it in VISIONGATE_IMAGE")
    # The builds of other test processes take their layers from the first.
    with FileLock(tmp_path_factory.getbasetemp().parent / "image.lock"):
        built = engine.build(ROOT, IMAGE)
    assert built.returncode == 0, built.stderr
    return IMAGE


@pytest.fixture(scope="module")
def service(engine: Engine, image: str) -> Iterator[Container]:
    """A running service with the model of the image, and a volume for its log."""
    with container(engine, image, "--volume=/var/lib/visiongate") as running:
        running.wait()
        yield running


@pytest.mark.slow
def test_the_image_is_small_and_says_what_it_is(
    engine: Engine, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    described = engine.inspect("image", image)
    with capsys.disabled():
        print(f"\n{image}: {described['Size'] / 1e6:.0f} MB")
    assert described["Size"] <= MAX_BYTES
    configuration = described["Config"]
    assert configuration["User"] == "10001:10001"
    assert (configuration["Entrypoint"], configuration["Cmd"]) == (["visiongate"], ["serve"])
    assert "/health/ready" in str(configuration.get("Healthcheck") or described.get("Healthcheck"))
    labels = configuration["Labels"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["org.opencontainers.image.revision"])
    served = json.loads((ROOT / "deploy/model/served.json").read_text())
    assert labels["visiongate.model.sha256"] == served["sha256"]
    assert labels["visiongate.model.version"] == served["version"]


@pytest.mark.slow
def test_the_health_check_of_the_image_asks_the_service(
    engine: Engine, image: str, service: Container
) -> None:
    described = engine.inspect("image", image)
    check = described["Config"].get("Healthcheck") or described["Healthcheck"]
    kind, *command = check["Test"]
    assert kind == "CMD"
    assert engine.call("exec", service.name, *command).returncode == 0
    elsewhere = engine.call("exec", "--env=PORT=1", service.name, *command, check=False)
    assert elsewhere.returncode != 0


@pytest.mark.slow
def test_the_image_has_nothing_to_build_or_train_with(service: Container) -> None:
    programs = "gcc cc make pip pip3 git curl wget"
    assert service.shell(f"for name in {programs}; do command -v $name; done")[1] == ""
    modules = ("torch", "pip", "setuptools", "mlflow", "pandas", "ensurepip")
    code = f"import importlib.util as u; print([name for name in {modules} if u.find_spec(name)])"
    assert service.python(code) == "[]"


@pytest.mark.slow
def test_the_service_has_no_rights(service: Container) -> None:
    assert service.python("import os; print(os.getuid(), os.getgid())") == "10001 10001"
    status = dict(
        line.split(":\t", 1) for line in service.shell("cat /proc/1/status")[1].splitlines() if ":\t" in line
    )
    assert {status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    for path in ("/", "/etc", "/opt/visiongate", "/models", "/usr/local/bin"):
        code, output = service.shell(f"touch {path}/written")
        assert code != 0, path
        assert "Read-only file system" in output
    assert service.shell("touch /var/lib/visiongate/written /tmp/written")[0] == 0
    assert service.shell("find / -xdev -type f -perm /6000 2> /dev/null")[1] == ""
    for attack in ("chown 0 /tmp/written", "mount -t tmpfs none /mnt", "kill -9 1; test ! -d /proc/1"):
        assert service.shell(attack)[0] != 0, attack


@pytest.mark.slow
def test_the_service_answers_under_its_limits(service: Container, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("smoke", "--url", service.url) == 0
    with Clients(service.url, 4) as clients:
        wait_until(lambda: clients.results.total() >= 200, 60)
    assert set(clients.results) == {200}
    assert "FAILED" not in capsys.readouterr().out


@pytest.mark.slow
def test_sigterm_under_load_loses_no_request(
    engine: Engine, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with container(engine, image, "--volume=/var/lib/visiongate") as running:
        seconds = running.wait()
        with Clients(running.url, 4) as clients:
            wait_until(lambda: clients.results.total() >= 50, 60)
            status, stopped = running.stop()
        assert status == 0, running.log
        assert set(clients.results) == {200}
        assert stopped < 30
        running.restart()
        again = running.wait()
        assert run_cli("smoke", "--url", running.url) == 0
    with capsys.disabled():
        print(
            f"\nready after {seconds:.1f} s, after a restart {again:.1f} s; stopped in {stopped:.1f} s under load"
        )


@pytest.mark.slow
def test_sigterm_ends_the_service_while_it_starts(engine: Engine, image: str) -> None:
    with container(engine, image) as running:
        # The kernel ignores the signal as long as the interpreter itself starts, some tenths of a second.
        wait_until(lambda: running.handles(signal.SIGTERM), 10)
        status, seconds = running.stop()
    # The service ends with 0, what comes before it as other programs do.
    assert status in {0, 143}
    assert seconds < 10


def _swap(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")


def _lose_description(folder: Path) -> None:
    (folder / "served.json").unlink()


def _redescribe(folder: Path) -> None:
    path = folder / "served.json"
    path.write_text(re.sub(r'"sha256": "[0-9a-f]{4}', '"sha256": "0000', path.read_text()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_swap, "its file has the sha256"),
        (_redescribe, "its file has the sha256"),
        (_lose_description, "served.json: No such file or directory"),
    ],
)
def test_a_mounted_model_is_served_unless_it_was_swapped(
    engine: Engine, image: str, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "mounted"
    shutil.copytree(ROOT / "deploy/model", folder)
    tmp_path.chmod(0o755)
    if damage is _swap:
        with container(engine, image, f"--volume={folder}:/models:ro") as running:
            running.wait()
    damage(folder)
    with container(engine, image, f"--volume={folder}:/models:ro") as running:
        running.wait_for_log(message)
        assert (
            running.python(
                "import os, urllib.request as r, urllib.error as e\n"
                "try: r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health/ready')\n"
                "except e.HTTPError as error: print(error.code)"
            )
            == "503"
        )


@pytest.mark.slow
def test_a_key_without_the_extra_is_refused(engine: Engine, image: str) -> None:
    with container(engine, image, VISIONGATE_SERVING__SIGNATURE__KEY="/models/key.pub") as running:
        wait_until(lambda: not running.is_running, 30)
        assert running.status == 2
        assert "build the image with EXTRAS=signing" in running.log


@pytest.mark.slow
@pytest.mark.usefixtures("image")
def test_an_edit_rebuilds_only_the_layers_after_it(engine: Engine, tmp_path: Path) -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *CONTEXT]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "deploy/model", tmp_path / "deploy/model")

    def layers() -> list[str]:
        result = engine.build(tmp_path, EDITED)
        assert result.returncode == 0, result.stderr
        built: list[str] = engine.inspect("image", EDITED)["RootFS"]["Layers"]
        return built

    # From the last: the model, the code, the packages.
    before = layers()
    (tmp_path / "deploy/model/model.onnx.sig").write_text("{}")
    after = layers()
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]
    with (tmp_path / "src/visiongate/cli.py").open("a") as file:
        file.write("# edited\n")
    edited = layers()
    assert edited[:-2] == before[:-2]
    assert edited[-2] != before[-2]
    engine.call("image", "rm", "--force", EDITED)
