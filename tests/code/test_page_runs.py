"""``reports/runs.js``: what the pages show about their run, without containing it."""

import json
from pathlib import Path

from clones import call
from visiongate.commands.page_runs import ASSIGNMENT, RUNS, record_pages


def write_page(folder: Path, name: str, digest: str) -> None:
    page = folder / "reports" / name / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f'<!doctype html>\n<html lang="en" data-digest="{digest}">\n')


def read_runs(folder: Path) -> dict[str, dict[str, str]]:
    text = (folder / RUNS).read_text(encoding="utf-8")
    assert text.startswith(ASSIGNMENT)
    assert text.endswith(";\n")
    found: dict[str, dict[str, str]] = json.loads(text.removeprefix(ASSIGNMENT)[:-2])
    return found


def test_pages_have_the_commit_of_their_run(tmp_path: Path) -> None:
    for command in (
        "git init -q",
        "git -c user.name=a -c user.email=a@b.c commit -q --allow-empty -m Start",
    ):
        call(tmp_path, *command.split())
    write_page(tmp_path, "evaluation", "ab12")
    (tmp_path / RUNS).write_text("damaged")

    record_pages(["evaluation", "optimize"], tmp_path)
    runs = read_runs(tmp_path)
    assert runs.keys() == {"evaluation"}
    assert runs["evaluation"]["digest"] == "ab12"
    commit = call(tmp_path, "git", "rev-parse", "HEAD").stdout[:7]
    assert runs["evaluation"]["text"].startswith(f"Commit {commit}, 20")

    write_page(tmp_path, "experiments", "cd34")
    record_pages(["experiments"], tmp_path)
    assert read_runs(tmp_path) == runs | {"experiments": read_runs(tmp_path)["experiments"]}


def test_a_folder_without_a_repository_has_no_commit(tmp_path: Path) -> None:
    write_page(tmp_path, "validation", "ef56")
    record_pages(["validation"], tmp_path)
    assert read_runs(tmp_path)["validation"]["text"].startswith("Commit unknown, ")
