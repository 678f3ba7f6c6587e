"""The commands on experiments: invalid input, and experiments made as git commits, without running a pipeline."""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest

from clones import ROOT, call, init_dvc
from command_line import run_cli
from visiongate.adapters import dvc_retry
from visiongate.adapters.dvc import DvcError
from visiongate.adapters.git import Repository
from visiongate.experiments import queue as queue_module
from visiongate.experiments.cache import Cache
from visiongate.experiments.grid import Combination
from visiongate.experiments.listing import Experiment, ListingError, list_experiments
from visiongate.experiments.lookup import ExperimentNotFoundError, find_experiment
from visiongate.experiments.queue import Queue, QueueError
from visiongate.settings.composition import compose_params

HOSTILE = ["-x", "a b", "$(touch x)", "a'b", 'a"b', "a;b", "../a", "a\nb", "", "a~1", "a..b", "x.lock"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with settings and a pipeline that never ran."""
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "DVC_ROOT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages:\n  evaluate:\n    cmd: echo\n")
    call(tmp_path, "git", "init", "-q", "-b", "main")
    call(tmp_path, "git", "config", "user.name", "test")
    call(tmp_path, "git", "config", "user.email", "test@example.org")
    init_dvc(tmp_path)
    return tmp_path


@pytest.fixture
def committed(project: Path) -> Path:
    call(project, "git", "add", "-A")
    call(project, "git", "commit", "-qm", "Start")
    return project


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that fails and return its message."""
    capsys.readouterr()
    assert run_cli(*arguments) == 2
    return capsys.readouterr().err


COMMANDS = [
    ("experiments",),
    ("sweep", "model.lr=0.1"),
    ("adopt", "best", "--name=x"),
    ("branch", "best", "x"),
]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])
def test_repository_without_a_commit_is_an_error(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "git commit" in failure(capsys, *command)


@pytest.mark.usefixtures("committed")
def test_without_experiments_the_commands_name_what_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert "visiongate sweep" in failure(capsys, "experiments")
    assert "visiongate sweep" in failure(capsys, "adopt", "best", "--name=x")
    assert "gone: no such" in failure(capsys, "branch", "gone", "x")


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("text", HOSTILE)
def test_unknown_revision_is_an_error(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such git revision" in failure(capsys, "experiments", f"--rev={text}")
    assert not Path("x").exists()


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--list"),
        (["a=1", "--list=x"], "--list"),
        (["--list=no such"], "no such: No such file"),
        (["model.lr=1,abc"], "model.lr=abc"),
        (["model.lr=1", "--stage=no such"], "--stage no such.*evaluate"),
        (["model.lr=1", "--name=a b"], "--name a b"),
        (["training.seed=range(0,201)"], "200 combinations"),
    ],
)
def test_invalid_sweep_queues_nothing(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = " ".join(failure(capsys, "sweep", *arguments).split())
    assert re.search(named, message)
    assert not Path(".dvc/tmp/exps").exists()


@pytest.mark.usefixtures("committed")
def test_sweep_outside_of_the_root_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    Path("dvc.yaml").unlink()
    assert "dvc.yaml" in failure(capsys, "sweep", "model.lr=1")


def test_dry_run_lists_new_and_finished_experiments(
    committed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (committed / "dvc.yaml").open("a").write("# changed\n")
    (committed / "conf/untracked.yaml").write_text("a: 1\n")
    assert run_cli("sweep", "model.lr=0.1,0.2", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["model.lr=0.1", "model.lr=0.2"]
    make_experiment(committed, lines[0].split()[2])
    assert run_cli("sweep", "model.lr=0.1,0.2", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("has run")


# Finished experiments


def make_experiment(root: Path, name: str, *overrides: str) -> str:
    """Make a commit that DVC regards as an experiment that has run."""
    start = call(root, "git", "rev-parse", "HEAD").stdout.strip()
    tree = f"{start}^{{tree}}"
    if overrides:
        (root / "params.yaml").write_text(compose_params(Path("conf"), list(overrides)))
        call(root, "git", "add", "params.yaml")
        tree = call(root, "git", "write-tree").stdout.strip()
        call(root, "git", "reset", "-q", "--hard")
    made = call(root, "git", "commit-tree", tree, "-p", start, "-m", name).stdout.strip()
    call(root, "git", "update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", made)
    return made


def branches(root: Path) -> list[str]:
    return call(root, "git", "branch", "--format=%(refname:short)").stdout.split()


@pytest.mark.slow
def test_branch_is_made_completely_or_not_at_all(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_experiment(committed, "same")
    make_experiment(committed, "slow", "model.lr=0.001")
    assert run_cli("branch", "same", "as-it-is") == 0
    assert "git switch as-it-is" in capsys.readouterr().out
    assert "as-it-is: the branch exists" in failure(capsys, "branch", "slow", "as-it-is")
    assert "a b: git does not allow" in failure(capsys, "branch", "slow", "a b")
    assert "smoke.yaml" in failure(capsys, "branch", "slow", "smoke")
    assert branches(committed) == ["as-it-is", "main"]
    assert call(committed, "git", "worktree", "list").stdout.count("\n") == 1


@pytest.mark.slow
def test_parameters_that_conf_cannot_choose_make_no_branch_and_no_recipe(
    committed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    primary = committed / "conf/config.yaml"
    primary.write_text("".join(line for line in primary.open() if "- experiment:" not in line))
    call(committed, "git", "commit", "-qam", "No recipes")
    make_experiment(committed, "slow", "model.lr=0.001")
    assert "- experiment: NAME" in failure(capsys, "branch", "slow", "x")
    assert branches(committed) == ["main"]
    assert "experiment" in failure(capsys, "adopt", "slow", "--name=x")
    assert not (committed / "conf/experiment/x.yaml").exists()


@pytest.mark.slow
def test_experiment_is_found_by_name_and_commit(committed: Path) -> None:
    first = make_experiment(committed, "lr=1")
    call(committed, "git", "commit", "-qm", "More", "--allow-empty")
    repository = Repository(committed)
    assert find_experiment(repository, "lr=1").rev == first
    second = make_experiment(committed, "lr=1")
    assert find_experiment(repository, "lr=1").rev == second
    assert find_experiment(repository, first[:9]).rev == first
    call(committed, "git", "commit", "-qm", "Still more", "--allow-empty")
    with pytest.raises(ExperimentNotFoundError, match=f"ambiguous.*{first[:7]}"):
        find_experiment(repository, "lr=1")
    with pytest.raises(ExperimentNotFoundError, match=r"^lr: no such"):
        find_experiment(repository, "lr")


# The listing


@pytest.mark.parametrize("output", ["no JSON", "[{}]", '[{"rev": "COMMIT"}]'])
def test_unknown_format_of_the_listing_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setattr("visiongate.experiments.listing.run_dvc_with_retries", lambda *_: output)
    with pytest.raises(ListingError, match="unknown format"):
        list_experiments(tmp_path, ["COMMIT"])


def test_listing_is_parsed(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Repository(committed).commit("HEAD")
    log = committed / "log"
    log.write_text("\n".join(["first", "", *"abcde", "  last  "]))
    data = {
        "params": {"params.yaml": {"data": {"model": {"lr": 0.1, "options": {}}}}},
        "metrics": {
            "reports/metrics.json": {"data": {"accuracy": 0.5, "name": "text", "epochs": 1}},
            "reports/training.json": {"data": {"epochs": 3}},
            "reports/missing.json": {"error": "missing"},
        },
        "outs": {"reports/gate.json": {"hash": "0a"}, "models": {"hash": None}},
    }
    entry = {"rev": commit, "name": "main", "data": data}
    failed = {"rev": "1" * 40, "name": None, "data": None}
    experiments = [
        {"revs": [entry], "name": "try", "executor": None},
        {
            "revs": [failed],
            "name": "bad",
            "executor": {"state": "failed", "local": {"pid": 1, "log": str(log)}},
        },
    ]
    output = json.dumps([{**entry, "experiments": experiments}])
    monkeypatch.setattr("visiongate.experiments.listing.run_dvc_with_retries", lambda *_: output)
    (baseline,) = list_experiments(committed, [commit])
    done, bad = baseline.experiments
    assert baseline.commit.name == commit[:7]
    assert (done.name, done.state, done.params) == ("try", "done", {"model.lr": 0.1, "model.options": {}})
    assert done.metrics == {"accuracy": 0.5, "metrics.epochs": 1, "training.epochs": 3}
    assert done.outs == {"reports/gate.json": "0a"}
    assert (bad.state, bad.last_lines()) == ("failed", ["a", "b", "c", "d", "e", "last"])
    assert done.last_lines() == []


def test_file_in_a_cached_folder_is_read(tmp_path: Path) -> None:
    folder, inside = "a" * 32 + ".dir", "b" * 32
    for name, text in {folder: f'[{{"md5": "{inside}", "relpath": "plots/x.csv"}}]', inside: "1,2"}.items():
        path = tmp_path / "files/md5" / name[:2] / name[2:]
        path.parent.mkdir(parents=True)
        path.write_text(text)
    cache, outs = Cache(tmp_path), {"reports/all": folder}
    assert cache.read(outs, Path("reports/all/plots/x.csv")) == b"1,2"
    assert cache.read(outs, Path("reports/all/plots/y.csv")) is None
    assert cache.read({}, Path("reports/all/plots/x.csv")) is None


# The queue


def make_queue(directory: Path, jobs: int = 1) -> Queue:
    return Queue(directory, "0" * 40, "evaluate", jobs)


def test_interrupt_is_delayed_until_the_experiment_is_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def interrupt(arguments: tuple[str, ...], *_: object) -> str:
        signal.raise_signal(signal.SIGINT)
        commands.append(arguments)
        return ""

    monkeypatch.setattr(queue_module, "run_dvc_with_retries", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_queue(tmp_path, 2).add(Combination("a", ("x=1",)))
    assert commands == [("exp", "run", "--queue", "--pull", "--name=a", "--set-param=x=1", "evaluate")]


def test_running_experiment_is_killed_before_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []
    monkeypatch.setattr(
        queue_module, "run_dvc_with_retries", lambda arguments, *_: commands.append(arguments)
    )
    make_queue(tmp_path).remove(Experiment("a", "123", "0" * 40, "running", {}, {}, {}))
    assert commands == [("queue", "kill", "--force", "123"), ("queue", "remove", "123")]


@pytest.mark.parametrize(
    ("output", "workers"), [("Worker status: 1 active, 2 idle\n", 3), ("unknown format", 0)]
)
def test_workers_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, workers: int
) -> None:
    monkeypatch.setattr(queue_module, "run_dvc_with_retries", lambda *_: output)
    assert make_queue(tmp_path).count_workers() == workers


def test_workers_that_do_not_start_raise(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match="dvc queue start"):
        make_queue(tmp_path).start_workers()


@pytest.mark.parametrize(("message", "calls"), [("Unable to acquire lock", 3), ("no such stage", 1)])
def test_only_transient_failures_are_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, calls: int
) -> None:
    made = []

    def fail(*_: object) -> str:
        made.append(1)
        raise DvcError("it failed", message)

    monkeypatch.setattr(dvc_retry, "run_dvc", fail)
    monkeypatch.setattr(dvc_retry, "MAX_ATTEMPTS", 3)
    monkeypatch.setattr(dvc_retry, "DELAY_SECONDS", 0)
    with pytest.raises(DvcError, match="it failed"):
        dvc_retry.run_dvc_with_retries([], tmp_path)
    assert len(made) == calls
