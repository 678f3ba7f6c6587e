"""The manifests of the Ray cluster: rendered, held against schemas and rules, and broken one field at a time."""

import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

import connection_rules
import ray_rules
import workload_rules
from broken_ray_manifests import BROKEN_RAY
from clones import ROOT, call, make_two_commits
from manifest_cases import case_without_service
from manifest_schemas import VERSIONS, pods_of, schema_findings
from manifests import FOLDER, Document, change, render

NAMESPACE = "visiongate-ray"
# Of those of the other manifests, what also holds for pods that KubeRay makes.
COMMON = (
    *workload_rules.OF_ANY_PODS,
    connection_rules.has_the_fields_of_custom_resources,
    connection_rules.denies_what_no_policy_allows,
)
RULES = {rule.__name__: rule for rule in COMMON} | ray_rules.RULES
COMPONENT = "components:\n  - ../components/ray-gpu\n"
POOLS = ("cpu", "gpu")


@functools.cache
def rendered(pool: str) -> list[Document]:
    """Return the documents without or with the pool of GPUs."""
    if pool == "cpu":
        return render("ray")
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(shutil.copytree(FOLDER, Path(folder, "kubernetes")), "ray")
        with (copied / "kustomization.yaml").open("a") as file:
            file.write(COMPONENT)
        return render(str(copied))


def findings(documents: Sequence[Document]) -> list[str]:
    """What the rules and the schemas say."""
    found = [
        finding for rule in RULES.values() for finding in rule(case_without_service(NAMESPACE, documents))
    ]
    pods = pods_of(documents, "RayCluster", "RayJob")
    return found + schema_findings([*documents, *pods], VERSIONS[-1])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pool", POOLS)
def test_the_manifests_hold_the_rule(pool: str, rule: str) -> None:
    assert list(RULES[rule](case_without_service(NAMESPACE, rendered(pool)))) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_and_pods_are_valid_in_supported_versions(version: str) -> None:
    documents = rendered("gpu")
    pods = pods_of(documents, "RayCluster", "RayJob")

    assert len(pods) == 4
    assert schema_findings([*documents, *pods], version) == []


@pytest.mark.parametrize(
    ("name", "path", "value", "finding"), [(name, *row) for name, rows in BROKEN_RAY.items() for row in rows]
)
def test_a_broken_field_is_found(name: str, path: str, value: object, finding: str) -> None:
    assert finding in "\n".join(findings(change(rendered("gpu"), name, path, value)))


def test_each_rule_finds_something() -> None:
    broken = [
        change(rendered("gpu"), name, path, value)
        for name, rows in BROKEN_RAY.items()
        for path, value, _ in rows
    ]
    cases = [case_without_service(NAMESPACE, documents) for documents in broken]

    assert [name for name, rule in RULES.items() if not any(list(rule(case)) for case in cases)] == []


def test_the_pool_of_gpus_adds_workers_and_changes_no_other() -> None:
    [one], [other] = ([found for found in rendered(pool) if found["kind"] == "RayCluster"] for pool in POOLS)
    *groups, gpu = other["spec"].pop("workerGroupSpecs")

    assert groups == one["spec"].pop("workerGroupSpecs")
    assert one == other
    assert workload_rules.DIGEST.fullmatch(gpu["template"]["spec"]["containers"][0]["image"])


def test_the_job_clones_one_commit_into_the_workspace_and_runs_its_code(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    commit = make_two_commits(origin)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python").write_text('#!/bin/sh\necho "$PYTHONPATH $(ls src) $*"\n')
    (programs / "python").chmod(0o755)
    work = tmp_path / "work"
    script = tmp_path / "run.sh"
    script.write_text((FOLDER / "ray/run.sh").read_text().replace("/work/", f"{work}/"))
    environment = {
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        "HOME": f"{work}/home",
        "REPOSITORY": str(origin),
        "COMMIT": commit,
    }

    for _ in range(2):
        command = ["sh", str(script)]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        place = f"{work}/{commit}/src code.py -m"
        assert result.stdout.splitlines() == [
            f"{place} dvc cache dir --quiet --local {work}/cache",
            f"{place} visiongate repro --minimal --config /etc/visiongate/settings.yaml",
            f"{place} visiongate remote push",
        ]
    assert call(work / commit, "git", "rev-parse", "HEAD").stdout.strip() == commit


def test_the_image_of_the_cluster_has_the_packages_of_its_lock() -> None:
    lock = (ROOT / "deploy/ray.lock").read_text(encoding="utf-8")
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")

    # Jobs and probes need the dashboard, which is in the extra `default`.
    assert {"ray", "aiohttp-cors", "opencensus"} <= set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    [stage] = re.findall(r"^FROM torch AS train\n(.*?)(?=^FROM)", dockerfile, re.MULTILINE | re.DOTALL)
    assert "ARG EXTRAS\nCOPY deploy/ray.lock /build/\n" in stage
    assert '"/build/${EXTRAS}.lock"' in stage
    text = (FOLDER / "ray/kustomization.yaml").read_text(encoding="utf-8")
    assert "make -C deploy image TARGET=train EXTRAS=ray" in text
    assert yaml.safe_load(text)["images"][0]["name"] == "visiongate-train"
