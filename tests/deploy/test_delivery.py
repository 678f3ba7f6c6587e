"""The workflows that deliver: what stops an image, who may sign, and what the docs say about it."""

import fnmatch
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from clones import ROOT, call
from github_imitation import WRITER, GitHub, serve_github
from visiongate.adapters.mlflow.environment import processor_name
from visiongate.commands.champion_check import CPU_INFO
from visiongate.delivery.champion_check import COMPARED_LATENCY, ChampionCheck, MeasuredLatency
from visiongate.records.files import write_json
from visiongate.records.interval import Interval
from visiongate.records.registration import read_registration
from visiongate.records.verdict import GateVerdict
from workflow_runner import Runner, Step, machine

FOLDER = ROOT / ".github/workflows"
PAGE = (ROOT / "docs/delivery.md").read_text(encoding="utf-8")
PULL_REQUESTS = (ROOT / "docs/pull-requests.md").read_text(encoding="utf-8")
NAMES = ("images", "model-validation", "security")
DIGEST = f"sha256:{'3' * 64}"
SHA = "c" * 40
ISSUER = "https://token.actions.githubusercontent.com"


def read(name: str) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    return content


IMAGES = read("images")
JOBS: dict[str, dict[str, Any]] = IMAGES["jobs"]


def steps_of(job: dict[str, Any]) -> Iterator[str]:
    """Return what each step runs or uses."""
    yield from (step.get("run") or step["uses"] for step in job["steps"])


def ancestors(job: str) -> set[str]:
    """Return the jobs that a job waits for."""
    needs = JOBS[job].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*(ancestors(each) for each in direct))


# Rules


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yml")), ids=lambda path: path.stem)
def test_each_make_target_of_a_step_exists(path: Path) -> None:
    commands = [
        step["run"] for job in read(path.stem)["jobs"].values() for step in job["steps"] if "run" in step
    ]
    called = re.findall(r"\bmake (?:--silent )?(?:-C ([\w/]+) )?([a-z -]+)\b", "\n".join(commands))
    for folder, targets in called:
        makefile = (ROOT / folder / "Makefile").read_text(encoding="utf-8")
        for target in targets.split():
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make -C {folder or '.'} {target}"


@pytest.mark.parametrize("name", NAMES)
def test_each_file_that_a_workflow_names_exists(name: str) -> None:
    text = (FOLDER / f"{name}.yml").read_text(encoding="utf-8")
    # Made by a step.
    made = {"deploy/model"}
    named = set(re.findall(r"(?<![\w./-])((?:deploy|tests|src|docs|\.github)/[\w./-]*\w)", text)) - made
    assert [path for path in named if not (ROOT / path).exists()] == []
    for pattern in read(name)[True].get("push", {}).get("paths", []):
        assert list(ROOT.glob(pattern)), pattern


@pytest.mark.parametrize("name", NAMES)
def test_the_docs_name_each_job_right_secret_and_variable(name: str) -> None:
    text = (FOLDER / f"{name}.yml").read_text(encoding="utf-8")
    assert f"`{name}`" in PAGE
    assert f"| `{name}` |" in PULL_REQUESTS
    for job, body in read(name)["jobs"].items():
        assert f"`{job}`" in PAGE
        for right, level in body["permissions"].items():
            assert f"`{right}: {level}`" in PAGE, (job, right)
    for secret in re.findall(r"(?:secrets|vars)\.([A-Z_]+)", text):
        assert f"`{secret}`" in PAGE, secret


def test_the_docs_name_no_setting_that_no_workflow_reads() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yml"))
    settings = re.findall(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \| (?:secret|variable)", PAGE, re.MULTILINE)
    assert settings
    for name in re.findall(r"`([A-Z_]+)`", " ".join(settings)):
        assert re.search(rf"(?:secrets|vars)\.{name}\b", text), name


def test_only_main_publishes() -> None:
    assert set(IMAGES[True]) == {"push", "workflow_dispatch"}
    assert IMAGES[True]["push"]["branches"] == ["main"]
    # All other jobs wait for this one.
    assert JOBS["model"]["if"] == "github.ref_name == github.event.repository.default_branch"
    assert all("model" in ancestors(job) for job in JOBS if job != "model")
    assert all("always" not in str(job.get("if")) for job in JOBS.values())


def test_an_image_is_tried_before_it_is_published_and_proposed() -> None:
    assert ancestors("publish") == {"model", "build", "cluster"}
    assert ancestors("propose") == {"model", "build", "cluster", "publish"}


def test_what_signs_runs_no_package_of_this_project() -> None:
    publish = list(steps_of(JOBS["publish"]))
    assert not [step for step in publish if re.search(r"make setup|pip|npm|python", step)]
    for job in ("build", "cluster"):
        assert JOBS[job]["permissions"] == {"contents": "read"}
    assert "id-token" not in JOBS["propose"]["permissions"]


def starts(path: str) -> bool:
    """Return whether a push that changes a file builds images."""
    return any(fnmatch.fnmatch(path, pattern) for pattern in IMAGES[True]["push"]["paths"])


def test_the_merge_of_a_proposal_builds_no_image() -> None:
    assert not starts("deploy/kubernetes/overlays/production/kustomization.yaml")
    assert not starts("docs/delivery.md")


def test_a_change_of_what_is_in_an_image_builds_it() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for name in line.split()
    }
    assert {"deploy/model", "src", "requirements-serve.lock"} <= copied
    # The model is exported from what dvc.lock names. The texts are not what runs, and the image with Airflow is not published.
    for path in (copied - {"deploy/model", "README.md", "LICENSE", "dags/requirements.lock"}) | {
        "deploy/Dockerfile",
        "dvc.lock",
    }:
        assert starts(path if (ROOT / path).is_file() else f"{path}/visiongate/cli.py"), path


def test_users_verify_what_the_workflow_signs() -> None:
    identity = "https://github.com/OWNER/REPOSITORY/.github/workflows/images.yml@refs/heads/main"
    assert f"--certificate-identity {identity} --certificate-oidc-issuer {ISSUER}" in PAGE
    verify = next(step for step in JOBS["publish"]["steps"] if step.get("name") == "Verify as a user does")
    assert verify["env"]["ISSUER"] == ISSUER
    assert verify["env"]["IDENTITY"] == "${{ github.server_url }}/${{ github.workflow_ref }}"


@pytest.mark.parametrize("job", ["code", "deployment"])
def test_results_reach_the_tab_security(job: str) -> None:
    body = read("security")["jobs"][job]
    assert [step for step in steps_of(body) if "codeql-action/analyze" in step or "upload-sarif" in step]


def test_dependabot_looks_for_packages_actions_and_base_images() -> None:
    content = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text(encoding="utf-8"))
    found = {(each["package-ecosystem"], each["directory"]) for each in content["updates"]}
    assert found == {
        ("pip", "/"),
        ("github-actions", "/"),
        ("docker", "/deploy"),
        ("docker-compose", "/deploy"),
    }


# The jobs, step by step, with imitations of the tools


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A runner whose tools only note how they were called, and fail on request."""
    clone, tools = tmp_path / "clone", tmp_path / "tools"
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / "deploy").mkdir()
    (tmp_path / "temporary").mkdir()
    tools.mkdir()
    for name in ("docker", "cosign", "gh", "kubectl", "make"):
        write_tool(tools / name, tmp_path)
    write_tool(clone / ".venv/bin/python", tmp_path)
    github = {
        "event": {"repository": {"default_branch": "main"}},
        "event_name": "push",
        "actor": "someone",
        "ref_name": "main",
        "repository_owner": "Team",
        "server_url": "https://github.com",
        "sha": SHA,
        "token": "token",
        "workflow_ref": "Team/flowers/.github/workflows/images.yml@refs/heads/main",
    }
    contexts = {"github": github, "vars": {}, "secrets": {}, "matrix": {"target": "serve"}}
    environment = machine(f"{tools}:/usr/bin:/bin", tmp_path) | {"GITHUB_REPOSITORY": "Team/flowers"}
    return Runner(clone, contexts, environment, tmp_path / "artifacts", tmp_path / "temporary")


def write_tool(path: Path, folder: Path) -> None:
    """Write a tool that notes its call, and fails if the call has the text of the file ``failing``."""
    path.write_text(
        f"""#!/bin/bash
echo "{path.name} $*" >> {folder}/calls
[ -s {folder}/failing ] && [[ "{path.name} $*" == *"$(cat {folder}/failing)"* ]] && exit 1
case "{path.name} $*" in
*" push "*) repository=$(sed 's/.*REPOSITORY=\\([^ ]*\\).*/\\1/' <<< "$*"); echo "$repository@{DIGEST}" ;;
"docker save"*) touch "${{@: -1}}" ;;
*"deploy model"*) mkdir -p deploy/model && touch deploy/model/model.onnx ;;
esac
"""
    )
    path.chmod(0o755)


def run(runner: Runner, job: str, failing: str = "") -> dict[str, str]:
    """Run a job; return the outcome of each step."""
    (runner.temporary.parent / "failing").write_text(failing)
    runner.steps.clear()
    return {step.name: step.outcome for step in runner.run(FOLDER / "images.yml", job)}


def calls(runner: Runner) -> list[str]:
    return (runner.temporary.parent / "calls").read_text().splitlines()


def deliver(runner: Runner, failing: str = "") -> dict[str, Step]:
    """Run the jobs of an image in order, until one fails; return all steps."""
    done: dict[str, Step] = {}
    for job in ("model", "build", "cluster", "publish"):
        run(runner, job, failing)
        done |= {f"{job}: {step.name}": step for step in runner.steps}
        if runner.failed:
            break
    return done


def test_an_image_is_pushed_signed_and_attested_by_digest(runner: Runner) -> None:
    done = deliver(runner)
    assert {step.outcome for name, step in done.items()} <= {"success", "skipped"}
    image = f"ghcr.io/team/visiongate/serve@{DIGEST}"
    identity = "https://github.com/Team/flowers/.github/workflows/images.yml@refs/heads/main"
    signed = [call for call in calls(runner) if call.startswith(("cosign", "gh"))]
    assert signed == [
        f"cosign sign --yes {image}",
        f"cosign verify {image} --certificate-identity {identity} --certificate-oidc-issuer {ISSUER}",
        f"gh attestation verify oci://{image} --repo Team/flowers",
    ]
    outputs = runner.contexts["steps"]["push"]["outputs"]
    assert outputs == {
        "serve": image,
        "image": image,
        "name": "ghcr.io/team/visiongate/serve",
        "digest": DIGEST,
    }
    # The tag is the commit; the image is that of the job before.
    (push,) = [call for call in calls(runner) if " push " in call]
    assert f"TAG={SHA}" in push
    assert calls(runner)[calls(runner).index(push) - 1] == "docker load --input serve.tar"


def test_the_digest_is_that_of_the_repository(tmp_path: Path) -> None:
    repository = "ghcr.io/team/visiongate/serve"
    engine = tmp_path / "docker"
    # A store of containerd has a digest for each name.
    lines = f"visiongate@sha256:{'4' * 64}\\n{repository}@{DIGEST}\\n"
    engine.write_text(f"#!/bin/sh\necho \"$*\" >> {tmp_path}/calls\n[ $1 != image ] || printf '{lines}'\n")
    engine.chmod(0o755)
    command = [
        "make",
        "--silent",
        "-C",
        "deploy",
        "push",
        f"ENGINE={engine}",
        f"REPOSITORY={repository}",
        "TAG=v1",
    ]
    assert call(ROOT, *command).stdout == f"{repository}@{DIGEST}\n"
    assert (tmp_path / "calls").read_text().splitlines()[:2] == [
        f"tag visiongate:serve {repository}:v1",
        f"push --quiet {repository}:v1",
    ]
    engine.write_text("#!/bin/sh\n[ $1 != push ]\n")
    assert call(ROOT, *command, check=False).returncode != 0


def test_a_vulnerability_with_a_fix_stops_the_image(runner: Runner) -> None:
    runner.vulnerabilities = "CVE-2026-1 HIGH"
    done = deliver(runner)
    assert done["build: Scan for vulnerabilities that have a fix"].outcome == "failure"
    assert done["build: Keep the image"].outcome == "skipped"
    assert not (runner.artifacts / "image-serve").exists()
    assert not [call for call in calls(runner) if " push " in call]


@pytest.mark.parametrize(
    ("failing", "step"),
    [
        ("pytest tests/deploy/test_images.py", "build: Test"),
        (
            "kubectl --context kind-visiongate --namespace visiongate get hpa",
            "cluster: The autoscaler exists",
        ),
        ("smoke --url http://127.0.0.1:8080 --load 30", "cluster: Load"),
        (
            "smoke --url http://127.0.0.1:8080 --load 120",
            "cluster: Update under load, without a failed request",
        ),
        ("make -C deploy/kubernetes rollback", "cluster: Roll back under load, without a failed request"),
    ],
)
def test_an_image_that_fails_is_not_pushed(failing: str, step: str, runner: Runner) -> None:
    done = deliver(runner, failing)
    assert [name for name, each in done.items() if each.outcome == "failure"] == [step]
    assert not [call for call in calls(runner) if " push " in call or call.startswith("cosign")]


def test_an_image_that_cannot_be_verified_is_not_proposed(runner: Runner) -> None:
    deliver(runner)
    assert run(runner, "publish", "cosign verify")["Verify as a user does"] == "failure"
    assert "publish" in ancestors("propose")


def test_nothing_runs_on_another_branch(runner: Runner) -> None:
    runner.contexts["github"]["ref_name"] = "wider"
    assert run(runner, "model") == {}


def test_the_digest_of_the_image_is_proposed(runner: Runner) -> None:
    image = f"ghcr.io/team/visiongate/serve@{DIGEST}"
    runner.contexts["needs"] = {"publish": {"outputs": {"serve": image}}}
    assert set(run(runner, "propose").values()) == {"success"}
    assert calls(runner)[-1] == f"python -m visiongate pr deploy {image}"


def test_the_output_of_publish_is_that_of_serve() -> None:
    assert json.dumps(JOBS["publish"]["outputs"]) == '{"serve": "${{ steps.push.outputs.serve }}"}'
    assert "serve" in JOBS["publish"]["strategy"]["matrix"]["target"]


# The daily check, run from its YAML in a clone


@pytest.mark.slow
def test_the_committed_champion_is_judged_and_an_issue_reports_a_slowdown(
    committed_run: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(committed_run, clone, symlinks=True)
    prepare(clone)
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    write_earlier_check(clone)
    with serve_github(tmp_path) as github:
        steps = check_runner(clone, tmp_path, github).run(FOLDER / "model-validation.yml", "champion")
        outcomes = {step.name: step.outcome for step in steps}
        output = "\n".join(step.output for step in steps)
        assert [name for name, outcome in outcomes.items() if outcome == "failure"] == ["Judge"], output
        assert outcomes["Open, update or close the issue"] == "success"
        (issue,) = github.issues
    assert issue["title"] == "The champion falls short: slowdown"
    assert {path.name for path in (tmp_path / "artifacts/check").iterdir()} == {"check.json", "report.md"}
    changed = call(clone, "git", "status", "--porcelain").stdout
    assert changed == ""


def prepare(clone: Path) -> None:
    """Link the environment, and make it newer than the files that `make setup` compares it with."""
    with (clone / ".git/info/exclude").open("a") as file:
        file.write(".venv\n")
    (clone / ".venv").unlink(missing_ok=True)
    (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("requirements.lock", "pyproject.toml"):
        os.utime(clone / name, (0, 0))


def write_earlier_check(clone: Path) -> None:
    """Write the result of a check on a machine like this one, but much faster, as the cache restores it."""
    registration = read_registration(clone / "reports/registration.json")
    latency = MeasuredLatency(registration.model_sha256, dict.fromkeys(COMPARED_LATENCY, 0.001))
    latencies = {processor_name(CPU_INFO): latency}
    accuracy = Interval(1.0, 0.9, 1.0)
    check = ChampionCheck("earlier", registration.model_sha256, GateVerdict.of([]), accuracy, latencies)
    write_json(clone / "logs/check/check.json", asdict(check))


def check_runner(clone: Path, folder: Path, github: GitHub) -> Runner:
    context = {
        "event": {"repository": {"default_branch": "main"}},
        "event_name": "schedule",
        "run_id": "5",
        "token": WRITER,
        "workspace": str(clone),
    }
    contexts = {"github": context, "vars": {}, "secrets": {}}
    environment = {**machine(os.environ["PATH"], folder / "home"), **github.environment("")}
    environment |= {"GITHUB_RUN_ID": "5", "PYTHONPATH": str(clone / "src")}
    return Runner(clone, contexts, environment, folder / "artifacts", folder / "temporary")
