"""The commands of the docs run: as they stand where that is cheap, as queued experiments, and one experiment whole.

Each command of a shell block in the docs has its place below. A new one is added to `IN_A_CLONE` where it runs offline in
seconds, to `REFUSED` where a clone cannot but refuse it, and else to `EXEMPT` with the reason. A sweep is composed and
checked, but not run, and `make try` is run with a setting that reaches less.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from clones import ROOT, call, clone_tree
from doc_commands import COMMANDS, files_to_write
from drawn_images import write_images
from visiongate.experiments.grid import Identity, plan_sweep, read_grid, read_list

# In this order, in a fresh clone.
IN_A_CLONE = (
    ". .venv/bin/activate",
    "make setup",
    "dvc pull",
    "dvc status",
    "dvc checkout",
    "dvc dag",
    "dvc metrics show",
    "dvc plots show",
    "dvc exp show --only-changed",
    "make gate",
    "make gate BASE=main",
    "make report",
    "make report BASE=main",
    "make report BASE=main LOG=run.log FAILED=1",
    "make repro",
    "dvc repro",
    "dvc repro train",
    "dvc repro evaluate",
    "dvc repro --pull --allow-missing",
    "make pull",
    "make push",
    "dvc repro optimize",
    "dvc repro --force --single-item validation",
    "make register",
    "make registry",
    "make trace",
    "make compare TOP=5 METRIC=test/accuracy",
    "make adopt",
    "make adopt NAME=small_and_fast",
    "make bench BENCH=promotion",
    "make sweep GRID='model=small_cnn,simple_cnn training.seed=range(0,3)' DRY=1",
    "dvc queue stop --kill",
    "make try SET='model.lr=1e-4'",
)
QUICKER = {"model.lr=1e-4": "registry.alpha=0.04"}  # of `make try`: the registration alone runs
SUPPOSED = {  # what the docs suppose to be there
    "run.log": "Running stage 'train':\n",
    "trials.txt": "model.lr=0.01,0.02  # one or the other\nmodel=simple_cnn\n",
}
SWEEPS = {  # with what each comes to
    "make sweep GRID='model.lr=0.005,0.01,0.02 training.label_smoothing=0,0.1'": 6,
    "make sweep GRID='model.lr=0.005,0.02 model=small_cnn,simple_cnn'": 4,
    "make sweep LIST=trials.txt JOBS=1": 3,
}
# Where the registry has a single version they cannot but say so.
REFUSED = {
    "make rollback TO=3": "there is no version 3",
    "make rollback WHY='slow on night pictures'": "there is no champion before version 1",
    "make trace VERSION=models:/digits-classifier/3 VERIFY=1": "there is no such version",
}
AFTER_AN_EXPERIMENT = (
    "make experiments",
    "make experiments ALL=1",
    "make adopt FROM=best NAME=better",
    "make branch FROM=best NAME=better-settings",
    "git add conf params.yaml dvc.lock reports",
    'git commit -m "Classify flowers"',
    "make experiments REV=HEAD~1",
    "git switch better-settings",
    "dvc exp remove sweep-1a2b3c4d",
    "dvc exp remove --all-commits",
)
EXEMPT = {
    'git commit -m "Share data by a bucket" .dvc/config': "follows what needs a bucket",
    "dvc exp apply wider": "follows what needs a remote of git's: test_sharing.py runs it",
    "dvc exp pull origin wider": "needs a remote of git's: test_sharing.py runs it",
    "dvc exp push origin wider": "needs a remote of git's: test_sharing.py runs it",
    "make remote URL=s3://bucket/path": "needs a bucket: test_remote.py runs it against a server on loopback",
    "make remote URL=s3://bucket/path ENDPOINT=https://minio.example.org:9000": "needs that server",
    "make remote-local DIR=/mnt/disk/visiongate": "needs that disk: test_remote.py runs it on a folder",
    "dvc queue start": "starts workers in the background, which would outlive the test",
    "make experiments METRIC=log_loss": "is as `make experiments`, which runs, with another column",
    "make report BASE=main LOG=run.log": "is as with FAILED=1, which runs",
    "make bench": "takes minutes",
    "make bench BENCH=data": "takes a quarter of an hour",
    "make bench BENCH=optimize": "takes minutes",
    "make bench BENCH=training": "takes a minute on a machine that does nothing else",
    "make mlflow": "serves until it is stopped",
    "make test": "is what runs this",
    "python benchmarks/data.py near_duplicates": "takes a minute on a machine that does nothing else",
}
WHOLE = "dvc exp run -S dataset=flowers -S experiment=smoke"  # the experiment that is run to its end
NAME = "sweep-1a2b3c4d"  # that the docs give an experiment
QUICK = (
    "transformation.size=16",
    "training.augmentation.shift=2",
    "training.epochs=1",
    "training.precision=fp32",
    "optimize.trials=1",
    "optimize.epochs=1",
    "optimize.confirm_seeds=0",
    "evaluation.bootstrap_samples=50",
    "evaluation.latency_runs=5",
    "evaluation.corruption_images=5",
)
PLACES = (
    "/path/to/flowers",
    "/path/to/images",
    "/data/flowers",
)  # where the docs suppose the reader's images
EXPERIMENTS = [command for command in COMMANDS if "dvc exp run" in command]
QUEUE = """
import json, sys
from dvc.cli import main
for words in json.load(sys.stdin):
    if main(words):
        sys.exit(f"refused: {words}")
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flowers of the docs: three classes in a folder."""
    folder = tmp_path_factory.mktemp("images") / "flowers"
    write_images(folder, {"daisy": 60, "rose": 60, "tulip": 60})
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone, with an environment that make takes for ready."""
    folder = clone_tree(tmp_path)
    call(folder, "git", "branch", "--move", "main")
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        (folder / ".venv" / entry.name).symlink_to(entry)
    (folder / ".venv/.ready").unlink(missing_ok=True)
    (folder / ".venv/.ready").touch()
    call(folder, "dvc", "pull", "--quiet")
    return folder


def write_files(clone: Path, images: Path) -> None:
    """Write what the docs have the reader write."""
    for path, content in files_to_write().items():
        (clone / path).write_text(put_in_place(content, images), encoding="utf-8")
    call(clone, "git", "add", "--all")
    call(clone, "git", "commit", "--quiet", "--message", "What the docs say")


def put_in_place(text: str, images: Path) -> str:
    for place in PLACES:
        text = text.replace(place, str(images))
    return text


def run(clone: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell does."""
    return call(clone, "sh", "-c", command, check=False, COLUMNS="200")


def test_each_command_of_the_docs_has_its_place() -> None:
    placed = {*IN_A_CLONE, *SWEEPS, *REFUSED, *AFTER_AN_EXPERIMENT, *EXEMPT, *EXPERIMENTS}
    unknown = [command for command in COMMANDS if command not in placed]
    assert not unknown, (
        f"the docs have commands that {Path(__file__).name} does not run; see its top: {unknown}"
    )
    gone = sorted(placed - set(COMMANDS))
    assert not gone, f"{Path(__file__).name} has commands that the docs no longer have: {gone}"
    assert WHOLE in EXPERIMENTS
    print("\n".join(f"not run: {command}: {reason}" for command, reason in EXEMPT.items()))


def test_the_commands_run_in_a_clone(clone: Path) -> None:
    for name, content in SUPPOSED.items():
        (clone / name).write_text(content, encoding="utf-8")
    for command in IN_A_CLONE:
        runs_well(clone, make_quicker(command))
    for command, reason in REFUSED.items():
        result = run(clone, command)
        assert result.returncode != 0, command
        assert reason in result.stderr, f"{command}\n{result.stdout}{result.stderr}"


def runs_well(clone: Path, command: str) -> str:
    result = run(clone, command)
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    assert "Traceback" not in result.stderr, f"{command}\n{result.stderr}"
    return result.stdout


def make_quicker(command: str) -> str:
    for setting, other in QUICKER.items():
        command = command.replace(setting, other)
    return command


@pytest.mark.parametrize("command", SWEEPS)
def test_a_sweep_composes(command: str, tmp_path: Path) -> None:
    for name, content in SUPPOSED.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    given = dict(word.split("=", 1) for word in shlex.split(command)[2:])
    lines = read_grid(given["GRID"]) if "GRID" in given else read_list(tmp_path / given["LIST"])
    planned = plan_sweep(lines, ROOT / "conf", Identity("sweep", "HEAD", "evaluate", ""), most=10)
    assert len(planned) == SWEEPS[command]


def test_the_experiments_are_accepted(clone: Path, images: Path) -> None:
    """DVC composes each and puts it into its queue, which is all but the run itself; in one process, to import DVC once."""
    write_files(clone, images)
    words = [shlex.split(put_in_place(command, images)) for command in EXPERIMENTS]
    queued = [["exp", "run", "--queue", *tail(command)] for command in words]
    result = subprocess.run(
        [sys.executable, "-c", QUEUE],
        cwd=clone,
        input=json.dumps(queued),
        env={key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("Queued experiment") == len(EXPERIMENTS)


def tail(words: list[str]) -> list[str]:
    """Return what follows `dvc exp run`, without what says where it runs."""
    start = words.index("run") + 1
    return [word for word in words[start:] if word not in {"--temp", "--queue"}]


def test_an_experiment_on_the_data_set_of_the_docs_runs_to_its_end(clone: Path, images: Path) -> None:
    write_files(clone, images)
    told = runs_well(clone, " ".join([WHOLE, f"--name {NAME}", *(f"-S {override}" for override in QUICK)]))
    assert "flowers: 180 images in 3 classes" in told
    assert json.loads((clone / "reports/registration.json").read_text())["name"]
    told = {command: runs_well(clone, command) for command in AFTER_AN_EXPERIMENT}
    assert all(
        NAME in told[command] for command in AFTER_AN_EXPERIMENT if command.startswith("make experiments")
    )
    assert (clone / "conf/experiment/better_settings.yaml").exists()
