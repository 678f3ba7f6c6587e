"""`visiongate pin` and `visiongate pr deploy`: one digest changes, in the work tree or in a pull request."""

import difflib
from dataclasses import replace
from pathlib import Path

import pytest

from clones import call
from command_line import run_cli
from github_imitation import READER, GitHub
from pull_requests import make_registration
from visiongate.adapters.github import GitHubError
from visiongate.commands.pull_request import deploy
from visiongate.delivery.image_pins import ImageReference, parse_reference, pin_digest
from visiongate.errors import DataError
from visiongate.records.registration import write_registration

NAME = "ghcr.io/team/visiongate/serve"
OLD, NEW, NEWER = (f"sha256:{digit * 64}" for digit in "012")
KUSTOMIZATION = f"""\
# What production runs.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base]
images:
  - name: visiongate-train
    newName: ghcr.io/team/visiongate/train
    digest: {OLD}
  # Changed by a delivery.
  - name: visiongate-serve
    newName: {NAME}
    digest: {OLD} # of zeros
patches: []
"""
FILE = "deploy/kubernetes/overlays/production/kustomization.yaml"
RUN = {
    "GITHUB_RUN_ID": "77",
    "GITHUB_SHA": "c" * 40,
    "GITHUB_WORKFLOW_REF": "team/flowers/.github/workflows/images.yml@refs/heads/main",
}


@pytest.fixture
def work_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work tree on main, with an overlay and a registered model; return the overlay's file."""
    monkeypatch.chdir(tmp_path)
    call(tmp_path, "git", "init", "-q", "-b", "main")
    for overlay in ("production", "staging"):
        path = Path(f"deploy/kubernetes/overlays/{overlay}/kustomization.yaml")
        path.parent.mkdir(parents=True)
        path.write_text(KUSTOMIZATION)
    registration = replace(make_registration("promoted", "better", "pets"), model_sha256="ab" * 32)
    write_registration(Path("reports/registration.json"), registration)
    return Path(FILE)


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


def test_one_line_changes(work_tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("pin", f"{NAME}@{NEW}") == 0
    assert capsys.readouterr().out == f"{FILE}: runs {NAME}@{NEW}\n"
    found = changed_lines(KUSTOMIZATION, work_tree.read_text())
    assert found == [f"-     digest: {OLD} # of zeros", f"+     digest: {NEW} # of zeros"]
    assert Path(FILE.replace("production", "staging")).read_text() == KUSTOMIZATION


def test_the_same_digest_changes_nothing(work_tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_cli("pin", f"{NAME}@{NEW}")
    before, made = work_tree.read_text(), work_tree.stat().st_mtime_ns
    assert run_cli("pin", f"{NAME}@{NEW}") == 0
    assert "already runs" in capsys.readouterr().out
    assert (work_tree.read_text(), work_tree.stat().st_mtime_ns) == (before, made)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([f"{NAME}:latest"], "not an image by digest"),
        ([f"{NAME}@{NEW[:-1]}"], "not an image by digest"),
        ([f"{NAME}@sha256:{'G' * 64}"], "not an image by digest"),
        ([f"{NAME}:v1@{NEW}"], "not an image by digest"),
        ([f"{NAME}@{NEW}\nnewTag: x"], "not an image by digest"),
        (
            [f"{NAME}@{NEW}", "--overlay=prod"],
            "no such overlay in deploy/kubernetes/overlays; choose one of production, staging",
        ),
        ([f"{NAME}@{NEW}", "--overlay=../production"], "no such overlay"),
        ([f"ghcr.io/other/visiongate/serve@{NEW}"], "runs no ghcr.io/other/visiongate/serve but"),
    ],
)
def test_a_wrong_image_or_overlay_changes_nothing(
    arguments: list[str], message: str, work_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("pin", *arguments) == 2
    assert message in capsys.readouterr().err
    assert work_tree.read_text() == KUSTOMIZATION


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images: [", "not YAML"),
        ("resources: []", "but none"),
        ("- a list", "but none"),
        (f"images: [{{name: visiongate-serve, newName: {NAME}, newTag: v1}}]", "has no `digest`"),
        ("images: [text]", "an image has no `digest`"),
    ],
)
def test_a_file_without_the_digest_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pin_digest(text, ImageReference(NAME, NEW), "kustomization.yaml")


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_stay(quote: str) -> None:
    text = KUSTOMIZATION.replace(f"{OLD} #", f"{quote}{OLD}{quote} #")
    after = pin_digest(text, ImageReference(NAME, NEW), "kustomization.yaml")
    assert f"digest: {quote}{NEW}{quote} # of zeros" in after
    assert after.count(NEW) == 1


def test_a_registry_may_have_a_port() -> None:
    assert str(parse_reference(f"localhost:5000/serve@{NEW}")) == f"localhost:5000/serve@{NEW}"


# The pull request


@pytest.fixture
def github(server: GitHub, work_tree: Path, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """GitHub as the workflow `images` sees it, with an overlay on main."""
    for kept in (server.pulls, server.branches, server.commits, server.trees, server.requests):
        kept.clear()
    for name, value in {**server.environment(), **RUN}.items():
        monkeypatch.setenv(name, value)
    server.commit("main", {FILE: KUSTOMIZATION, "README.md": "Read me"})
    # What is checked out may be older than main.
    work_tree.write_text("images: []")
    return server


def merge(github: GitHub) -> None:
    github.branches["main"] = github.branches["deploy-production"]
    github.pulls[-1]["state"] = "closed"


def test_a_pull_request_changes_one_line_of_one_file(
    github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("pr", "deploy", f"{NAME}@{NEW}") == 0

    (pull,) = github.pulls
    assert capsys.readouterr().out.strip() == pull["html_url"]
    assert (pull["head"]["ref"], pull["base"]["ref"]) == ("deploy-production", "main")
    assert pull["title"] == f"Deploy pets version 2 to production: image {'1' * 12}"
    address = f"{github.address}/team/flowers"
    for text in (
        f"{NAME}@{NEW}",
        "`pets` version 2",
        "ab" * 32,
        f"{address}/actions/runs/77",
        "c" * 40,
        f"--certificate-identity {address}/.github/workflows/images.yml@refs/heads/main",
        f"gh attestation verify oci://{NAME}@{NEW} --repo team/flowers",
    ):
        assert text in pull["body"]
    files = github.files("deploy-production")
    assert files["README.md"] == "Read me"
    assert len(changed_lines(KUSTOMIZATION, files[FILE])) == 2
    assert github.commits[github.branches["deploy-production"]]["parents"] == [github.branches["main"]]


def test_a_later_image_reuses_branch_and_pull_request(github: GitHub) -> None:
    run_cli("pr", "deploy", f"{NAME}@{NEW}")
    github.commit("main", {FILE: KUSTOMIZATION, "README.md": "Read this"}, (github.branches["main"],))
    assert run_cli("pr", "deploy", f"{NAME}@{NEWER}") == 0

    (pull,) = github.pulls
    assert "image 222222222222" in pull["title"]
    assert NEWER in pull["body"]
    # On top of main, without the earlier image.
    files = github.files("deploy-production")
    assert (files["README.md"], OLD in files[FILE], NEW in files[FILE]) == ("Read this", True, False)
    assert NEWER in files[FILE]


def test_a_merged_proposal_is_followed_by_another_pull_request(github: GitHub) -> None:
    run_cli("pr", "deploy", f"{NAME}@{NEW}")
    merge(github)
    assert run_cli("pr", "deploy", f"{NAME}@{NEWER}") == 0
    assert [pull["state"] for pull in github.pulls] == ["closed", "open"]


def test_what_production_runs_is_not_proposed(github: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    run_cli("pr", "deploy", f"{NAME}@{NEW}")
    merge(github)
    assert run_cli("pr", "deploy", f"{NAME}@{NEW}") == 0
    assert "Not proposed: production already runs" in capsys.readouterr().out
    assert len(github.pulls) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([f"{NAME}:latest"], "not an image by digest"),
        ([f"{NAME}@{NEW}", "--overlay=prod"], "no such overlay"),
        ([f"ghcr.io/other/visiongate/serve@{NEW}"], "set `newName` of the image to it once"),
    ],
)
def test_a_wrong_image_is_not_proposed(
    arguments: list[str], message: str, github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("pr", "deploy", *arguments) == 2
    assert message in capsys.readouterr().err
    assert (github.pulls, list(github.branches)) == ([], ["main"])


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("GITHUB_TOKEN", READER, "Resource not accessible by integration"),
        ("GITHUB_RUN_ID", "", "GITHUB_RUN_ID: not set"),
    ],
)
def test_a_proposal_needs_a_run_that_may_write(
    variable: str, value: str, message: str, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(GitHubError, match=message):
        deploy(f"{NAME}@{NEW}", "production")
    assert (github.pulls, list(github.branches)) == ([], ["main"])


def test_a_folder_in_the_place_of_the_file_is_an_error(
    github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    github.commit("main", {"README.md": "Read me"})
    assert run_cli("pr", "deploy", f"{NAME}@{NEW}") == 2
    assert "404" in capsys.readouterr().err
