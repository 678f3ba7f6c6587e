"""What the commands on experiments say to what cannot be: before DVC is asked, and by DVC itself."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from visiongate.experiments.cached_outputs import Cache

from clones import ROOT, call
from command_line import run_cli
from visiongate.adapters import dvc_retry as patience
from visiongate.adapters.dvc import DvcError
from visiongate.adapters.git import GitError, Repository
from visiongate.commands import adopt, branch, experiments, sweep
from visiongate.experiments import queue as queueing
from visiongate.experiments.grid import Combination
from visiongate.experiments.listing import ListingError, list_experiments
from visiongate.experiments.lookup import NoExperimentError, find_experiment
from visiongate.experiments.queue import Queue, QueueError, Work
from visiongate.settings.composition import compose_params

Main = Callable[[list[str]], int]
HOSTILE = ["-x", "a b", "$(touch x)", "a'b", 'a"b', "a;b", "../a", "a\nb", "", "a~1", "a..b", "x.lock"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with settings and a pipeline, whose line never ran."""
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "DVC_ROOT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages:\n  evaluate:\n    cmd: echo\n")
    call(tmp_path, "git", "init", "-q", "-b", "main")
    call(tmp_path, "git", "config", "user.name", "test")
    call(tmp_path, "git", "config", "user.email", "test@example.org")
    call(tmp_path, "dvc", "init", "-q")
    return tmp_path


@pytest.fixture
def committed(project: Path) -> Path:
    call(project, "git", "add", "-A")
    call(project, "git", "commit", "-qm", "Start")
    return project


def said(main: Main, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 1
    return capsys.readouterr().err


COMMANDS: list[tuple[Main, list[str]]] = [
    (experiments.main, []),
    (sweep.main, ["--grid=model.lr=0.1"]),
    (adopt.main, ["--from=best", "--name=x"]),
    (branch.main, ["--from=best", "--name=x"]),
]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("main", "arguments"), COMMANDS, ids=["experiments", "sweep", "adopt", "branch"])
def test_without_a_commit_there_is_nothing_to_start_from(
    main: Main, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no commit yet, and an experiment starts from one: git add -A" in said(
        main, arguments, capsys
    )


def test_without_git_there_are_no_experiments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "not a git repository" in said(experiments.main, [], capsys)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git is not installed" in said(experiments.main, [], capsys)


@pytest.mark.usefixtures("committed")
def test_without_an_experiment_there_is_nothing_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    told = (
        "no experiment has run yet: make sweep GRID='model.lr=0.01,0.02', or dvc exp run -S model.lr=0.02\n"
    )
    assert said(experiments.main, [], capsys) == f"experiments: {told}"
    assert said(adopt.main, ["--from=best", "--name=x"], capsys) == f"adopt: {told}"
    none = "FROM=gone: no such experiment; none starts from this commit; `make experiments ALL=1` lists all\n"
    assert said(branch.main, ["--from=gone", "--name=x"], capsys) == f"branch: {none}"
    assert "FROM names no experiment" in said(branch.main, ["--from=", "--name=x"], capsys)
    assert "NAME names no branch" in said(branch.main, ["--from=best", "--name="], capsys)


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("text", HOSTILE)
def test_a_revision_that_is_none_is_told(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"experiments: {text}: no such git revision here" in said(
        experiments.main, [f"--rev={text}"], capsys
    )
    assert not Path("x").exists()


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give either GRID='model.lr=0.01,0.02' or LIST=file"),
        (["--grid=a=1", "--list=x"], "give either GRID="),
        (["--grid="], "GRID is empty"),
        (["--list=no such"], "LIST=no such: No such file"),
        (["--grid=model.lr=1,abc"], "model.lr=abc: conf/: model.lr = 'abc': must be a number"),
        (["--grid=model.lr=1", "--jobs=0"], "JOBS=0: give 1 or more"),
        (["--grid=model.lr=1", "--stage=no such"], "STAGE=no such: no such stage; there are evaluate"),
        (["--grid=training.seed=range(0,201)"], "training.seed=range(0,201): more than 200 combinations"),
    ],
)
def test_a_sweep_that_cannot_be_is_told_before_anything_is_queued(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(sweep.main, arguments, capsys).startswith(f"sweep: {reason}")
    assert not Path(".dvc/tmp/exps").exists()


def test_a_name_that_cannot_be_is_told(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in HOSTILE:
        assert said(sweep.main, ["--grid=model.lr=1", f"--name={name}"], capsys).startswith(
            f"sweep: NAME={name}: "
        )
        assert said(adopt.main, ["--from=best", f"--name={name}"], capsys).startswith(f"adopt: NAME={name}: ")
    repository = Repository(committed)
    allowed = {name for name in HOSTILE if repository.is_branch_name(name)}
    assert allowed == {"a'b", 'a"b', "a;b"}  # odd, but git's to decide


@pytest.mark.usefixtures("committed")
def test_a_folder_without_a_line_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("dvc.yaml").unlink()
    assert "dvc.yaml: no such file" in said(sweep.main, ["--grid=model.lr=1"], capsys)


@pytest.mark.usefixtures("committed")
def test_an_interruption_tells_what_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "plan_sweep", interrupt)
    assert run_cli("sweep", "model.lr=1") == 130
    assert "`dvc queue stop --kill` ends it" in capsys.readouterr().err


def test_what_is_not_committed_and_what_git_does_not_know_is_named(committed: Path) -> None:
    (committed / "params.yaml").write_text("a: 1\n")
    (committed / "conf/a b.yaml").write_text("a: 1\n")
    (committed / "dvc.yaml").open("a").write("# more\n")
    repository = Repository(committed)
    names, text = repository.changes([Path("params.yaml")])
    assert (names, "+# more" in text, "a: 1" in text) == (["dvc.yaml"], True, False)
    assert repository.untracked(["conf"]) == ["conf/a b.yaml"]


# Experiments of several commits


def tried(root: Path, name: str, revision: str = "HEAD") -> str:
    """Make what DVC takes for an experiment that has run."""
    start = call(root, "git", "rev-parse", revision).stdout.strip()
    made = call(root, "git", "commit-tree", f"{start}^{{tree}}", "-p", start, "-m", name).stdout.strip()
    call(root, "git", "update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", made)
    return made


def tried_with(root: Path, name: str, *overrides: str) -> None:
    """Make an experiment with parameters of its own."""
    (root / "params.yaml").write_text(compose_params(Path("conf"), list(overrides)))
    call(root, "git", "add", "params.yaml")
    tree = call(root, "git", "write-tree").stdout.strip()
    start = call(root, "git", "rev-parse", "HEAD").stdout.strip()
    made = call(root, "git", "commit-tree", tree, "-p", start, "-m", name).stdout.strip()
    call(root, "git", "update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", made)
    call(root, "git", "reset", "-q", "--hard")


def branches(root: Path) -> list[str]:
    return call(root, "git", "branch", "--format=%(refname:short)").stdout.split()


def test_a_branch_is_made_whole_or_not_at_all(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tried_with(committed, "same")
    tried_with(committed, "slow", "model.lr=0.001")
    assert run_cli("branch", "same", "as-it-is") == 0
    assert capsys.readouterr().out.startswith("Branch as-it-is holds experiment same. Next:")
    assert "there is such a branch" in said(branch.main, ["--from=slow", "--name=as-it-is"], capsys)
    assert "git allows no branch of this name" in said(branch.main, ["--from=slow", "--name=a b"], capsys)
    assert "smoke.yaml: there is a recipe of this name" in said(
        branch.main, ["--from=slow", "--name=smoke"], capsys
    )
    assert branches(committed) == ["as-it-is", "main"]
    assert call(committed, "git", "worktree", "list").stdout.count("\n") == 1


def test_what_conf_cannot_choose_makes_no_branch_and_no_recipe(
    committed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    primary = committed / "conf/config.yaml"
    primary.write_text("".join(line for line in primary.open() if "- experiment:" not in line))
    call(committed, "git", "commit", "-qam", "No recipes")
    tried_with(committed, "slow", "model.lr=0.001")
    assert "`defaults` has no line `- experiment: null`" in said(
        branch.main, ["--from=slow", "--name=x"], capsys
    )
    assert branches(committed) == ["main"]
    assert "Could not override 'experiment'" in said(adopt.main, ["--from=slow", "--name=x"], capsys)
    assert not (committed / "conf/experiment/x.yaml").exists()


def test_an_experiment_is_found_by_name_or_commit_near_or_far(committed: Path) -> None:
    first = tried(committed, "lr=1")
    call(committed, "git", "commit", "-qm", "More", "--allow-empty")
    repository = Repository(committed)
    assert find_experiment(repository, "lr=1").rev == first
    second = tried(committed, "lr=1")
    assert find_experiment(repository, "lr=1").rev == second
    assert find_experiment(repository, first[:9]).rev == first
    call(committed, "git", "commit", "-qm", "More still", "--allow-empty")
    with pytest.raises(
        NoExperimentError, match="several experiments have this name; name the commit of one: "
    ):
        find_experiment(repository, "lr=1")
    tried(committed, "other")
    with pytest.raises(NoExperimentError, match=r"FROM=lr: no such experiment; there are other$"):
        find_experiment(repository, "lr")


def test_what_dvc_tells_in_another_form_is_told(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Repository(committed).commit("HEAD")
    for text in ("no JSON", "[{}]", f'[{{"rev": "{commit}"}}]'):
        monkeypatch.setattr("visiongate.experiments.listing.run_dvc", lambda *_, text=text: text)
        with pytest.raises(ListingError, match="dvc exp show --json: not understood"):
            list_experiments(committed, [commit])


# The queue


def test_a_queue_whose_workers_would_not_find_dvc_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin/python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    queue = Queue(Work(tmp_path, "", "evaluate", 2))
    with pytest.raises(QueueError, match="bin/dvc does not start, and DVC's queue calls it by name"):
        queue.check()
    (tmp_path / "dvc").write_text("#!/no/such/python\n")
    (tmp_path / "dvc").chmod(0o755)
    with pytest.raises(QueueError, match="make the environment anew"):
        queue.check()


def test_the_queue_s_state_is_read_and_what_goes_on_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = (
        "Task     Name      Created       Status\n"
        "fa24227  sweep-1   02:15 PM      Failed\n"
        "f0aaf35  sweep-1   Nov 20, 2026  Queued\n"
        "60c2ab9  sweep-2   02:15 PM      Success\n\n"
        "Worker status: 1 active, 2 idle\n"
    )
    monkeypatch.setattr(queueing, "insist_dvc", lambda *_: told)
    look = Queue(Work(tmp_path, "", "evaluate", 1)).look()
    assert {name: (entry.rev, entry.state) for name, entry in look.entries.items()} == {
        "sweep-1": ("f0aaf35", "Queued"),
        "sweep-2": ("60c2ab9", "Success"),
    }
    assert look.workers == 3
    monkeypatch.setattr(queueing, "insist_dvc", lambda *_: "something else")
    with pytest.raises(QueueError, match="it tells of no workers"):
        Queue(Work(tmp_path, "", "evaluate", 1)).look()


def test_queueing_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def dvc(*_: object) -> str:
        signal.raise_signal(signal.SIGINT)
        ended.append("whole")
        return ""

    monkeypatch.setattr(queueing, "insist_dvc", dvc)
    queue = Queue(Work(tmp_path, "", "evaluate", 1))
    with pytest.raises(KeyboardInterrupt):
        queue.put(Combination("a", ()))
    assert ended == ["whole"]


def test_a_worker_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match=r"^dvc queue start: .*not inside of a DVC repository"):
        Queue(Work(tmp_path, "", "evaluate", 1)).start()


def test_the_last_words_of_what_said_nothing_are_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise DvcError("no logs", "no logs")

    monkeypatch.setattr(queueing, "insist_dvc", refuse)
    logs = tmp_path / ".dvc/tmp/exps/celery"
    logs.mkdir(parents=True)
    (logs / "dvc-exp-worker-1.out").write_text("no module named celery\n")
    words = Queue(Work(tmp_path, "", "evaluate", 1)).last_words(queueing.Entry("a" * 7, "a", "Failed"))
    assert words[-1] == "no module named celery"


@pytest.mark.parametrize(("message", "calls"), [("Unable to acquire lock", 3), ("no such stage", 1)])
def test_only_what_passes_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, calls: int
) -> None:
    made = []

    def refuse(*_: object) -> str:
        made.append(1)
        raise DvcError("it failed", message)

    monkeypatch.setattr(patience, "run_dvc", refuse)
    monkeypatch.setattr(patience, "TRIES", 2)
    monkeypatch.setattr(patience.time, "sleep", lambda _: None)
    with pytest.raises(DvcError, match="it failed"):
        patience.insist_dvc([], tmp_path)
    assert len(made) == calls


def test_a_git_command_that_fails_is_told_in_a_line(committed: Path) -> None:
    with pytest.raises(GitError, match=r"^git worktree: "):
        Repository(committed).run("worktree", "remove", "nothing")


def test_the_cache_finds_files_in_folders(tmp_path: Path) -> None:
    folder, inside = "a" * 32 + ".dir", "b" * 32
    for name, text in {folder: f'[{{"md5": "{inside}", "relpath": "plots/x.csv"}}]', inside: "1,2"}.items():
        path = tmp_path / "files/md5" / name[:2] / name[2:]
        path.parent.mkdir(parents=True)
        path.write_text(text)
    cache = Cache(tmp_path)
    found = cache.find({"reports/all": folder}, Path("reports/all/plots/x.csv"))
    assert found is not None
    assert found.read_text() == "1,2"
    assert cache.find({"reports/all": folder}, Path("reports/all/plots/y.csv")) is None
    assert cache.find({}, Path("reports/all/plots/x.csv")) is None
