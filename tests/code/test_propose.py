"""`visiongate pr propose`: only a promoted model is proposed in a pull request."""

from pathlib import Path

import pytest

from clones import call, init_dvc
from command_line import run_cli
from github_imitation import SLUG, WRITER, GitHub
from pull_requests import make_registration
from visiongate.errors import DataError
from visiongate.records.registration import Action, write_registration
from visiongate.review.proposals import propose_model

LOCK = "schema: '2.0'\nstages:\n  train:\n    outs:\n    - path: models/model.onnx\n      md5: {}\n"


@pytest.fixture
def clone(server: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of the team's repository in a workflow, without pull requests."""
    server.pulls.clear()
    origin, folder = tmp_path / "origin.git", tmp_path / "clone"
    call(tmp_path, "git", "init", "-q", "--bare", "-b", "main", str(origin))
    call(tmp_path, "git", "clone", "-q", str(origin), str(folder))
    monkeypatch.chdir(folder)
    call(folder, "git", "config", "user.name", "test")
    call(folder, "git", "config", "user.email", "test@example.org")
    init_dvc(folder)
    write_run("1" * 32, "promoted")
    Path("notes.txt").write_text("kept")
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "The tree")
    call(folder, "git", "push", "-q", "origin", "HEAD:main")
    sha = call(folder, "git", "rev-parse", "HEAD").stdout.strip()
    # The client pushes to GitHub with the token. The address is redirected to the bare repository.
    address = f"https://token:{WRITER}@{server.address.removeprefix('https://')}/{SLUG}.git"
    redirect = {"COUNT": "1", "KEY_0": f"url.{origin}.insteadOf", "VALUE_0": address}
    known = {f"GIT_CONFIG_{key}": value for key, value in redirect.items()}
    event = {"GITHUB_SHA": sha, "GITHUB_REF": "refs/heads/main", "GITHUB_EVENT_NAME": "schedule"}
    for name, value in {**server.environment(), **known, **event, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    return folder


def write_run(model: str, decision: Action) -> None:
    Path("reports").mkdir(exist_ok=True)
    Path("dvc.lock").write_text(LOCK.format(model))
    Path("params.yaml").write_text("model: {}\n")
    write_registration(Path("reports/registration.json"), make_registration(decision, "12 errors fixed"))


@pytest.mark.usefixtures("client")
def test_a_promoted_model_is_proposed(
    clone: Path, server: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run("2" * 32, "promoted")
    Path("notes.txt").write_text("changed by something else")
    assert run_cli("pr", "propose") == 0
    (pull,) = server.pulls
    assert capsys.readouterr().out.strip() == pull["html_url"]
    assert (pull["head"]["ref"], pull["base"]["ref"]) == ("retrain-222222222222", "main")
    pushed = call(clone, "git", "diff", "--name-only", "origin/main", "origin/retrain-222222222222").stdout
    assert pushed.split() == ["dvc.lock"]
    assert Path("notes.txt").read_text() == "changed by something else"


def collect_labels(clone: Path) -> list[str]:
    """Change the tables as `visiongate collect` and `dvc add` do; return their names."""
    Path("data").mkdir()
    tables = ["data/collected.csv", "data/collected.dvc", "data/corrections.csv"]
    Path(tables[0]).write_text("sha256,label\n")
    call(clone, "git", "add", "data")
    call(clone, "git", "commit", "-qm", "A table without rows")
    call(clone, "git", "push", "-q", "origin", "HEAD:main")
    for table in tables:
        Path(table).write_text("collected\n")
    return tables


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("decision", ["promoted", "registered"])
def test_a_model_that_collected_labels_taught_is_proposed_with_them(
    clone: Path, server: GitHub, decision: Action
) -> None:
    tables = collect_labels(clone)
    write_run("2" * 32, decision)
    assert run_cli("pr", "propose") == 0
    (pull,) = server.pulls
    assert ("visiongate rollout --apply" in pull["body"]) == (decision == "registered")
    assert f"the registry {decision} the model" in pull["body"]
    pushed = call(clone, "git", "diff", "--name-only", "origin/main", "origin/retrain-222222222222").stdout
    assert [*tables, "dvc.lock"] == [name for name in pushed.split() if not name.startswith("reports")]


def test_a_rejected_model_is_not_proposed_whatever_taught_it(clone: Path, server: GitHub) -> None:
    collect_labels(clone)
    write_run("2" * 32, "rejected")
    assert run_cli("pr", "propose") == 0
    assert not server.pulls


@pytest.mark.slow
@pytest.mark.usefixtures("client")
def test_the_store_in_the_repository_is_part_of_the_pull_request(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(clone, "dvc", "remote", "add", "-q", "--default", "store", ".dvc/store")
    call(clone, "git", "commit", "-qam", "Keep the data in the repository")
    call(clone, "git", "push", "-q", "origin", "HEAD:main")
    Path("models").mkdir()
    Path("models/model.onnx").write_text("another model")
    call(clone, "dvc", "stage", "add", "-q", "-n", "train", "-o", "models/model.onnx", "true")
    Path("dvc.lock").unlink()
    call(clone, "dvc", "commit", "-q", "--force")
    call(clone, "git", "add", "dvc.yaml", "models/.gitignore")
    monkeypatch.setenv("GITHUB_SHA", call(clone, "git", "rev-parse", "HEAD~1").stdout.strip())
    with pytest.raises(DataError, match="limit"):
        propose_model(max_store_bytes=3)
    assert run_cli("pr", "propose") == 0
    branch = call(clone, "git", "branch", "--show-current").stdout.strip()
    colleague = clone.parent / "colleague"
    call(clone, "git", "clone", "-q", "-b", branch, str(clone.parent / "origin.git"), str(colleague))
    call(colleague, "dvc", "pull", "-q")
    assert (colleague / "models/model.onnx").read_text() == "another model"


@pytest.mark.usefixtures("client")
def test_git_settings_do_not_change(clone: Path, tmp_path: Path) -> None:
    before = (clone / ".git/config").read_text()
    write_run("2" * 32, "promoted")
    assert run_cli("pr", "propose") == 0
    assert (clone / ".git/config").read_text() == before
    assert not (tmp_path / ".gitconfig").exists()


@pytest.mark.usefixtures("client", "clone")
def test_a_second_call_opens_no_second_pull_request(server: GitHub) -> None:
    write_run("2" * 32, "promoted")
    run_cli("pr", "propose")
    run_cli("pr", "propose")
    assert len(server.pulls) == 1


@pytest.mark.parametrize("decision", ["rejected", "registered"])
@pytest.mark.usefixtures("clone")
def test_a_model_that_was_not_promoted_is_not_proposed(
    decision: Action, server: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run("2" * 32, decision)
    assert run_cli("pr", "propose") == 0
    assert capsys.readouterr().out.startswith(f"Not proposed: {decision}, 12 errors fixed")
    assert not server.pulls


@pytest.mark.usefixtures("clone")
def test_the_committed_model_is_not_proposed(server: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("pr", "propose") == 0
    assert "Not proposed" in capsys.readouterr().out
    assert not server.pulls


@pytest.mark.usefixtures("clone")
def test_a_run_without_a_registration_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("2" * 32, "promoted")
    Path("reports/registration.json").unlink()
    assert run_cli("pr", "propose") == 2
    assert "reports/registration.json" in capsys.readouterr().err


@pytest.mark.usefixtures("clone")
def test_a_clone_without_a_lock_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    Path("dvc.lock").unlink()
    assert run_cli("pr", "propose") == 2
    assert "dvc.lock" in capsys.readouterr().err
