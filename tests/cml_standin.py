"""A stand-in for CML's client 0.20.6, with the same arguments and requests.

Like the client, it reads the first thirty comments, and updates the last one with the watermark, by any author.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests


def main() -> int:
    if sys.argv[1:] == ["--version"]:
        print("0.20.6")
        return 0
    commands = {"comment update": comment_update, "check create": check_create, "pr create": pr_create}
    try:
        print(commands[" ".join(sys.argv[1:3])](sys.argv[3:]))
    except requests.HTTPError as error:
        print(json.dumps({"level": "error", "message": error.response.json()["message"]}), file=sys.stderr)
        return 1
    return 0


def call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - any JSON
    server, _, slug = os.environ["CML_REPO"].partition("://")[2].partition("/")
    url = f"https://{server}/api/v3/repos/{slug}/{path}"
    headers = {"Authorization": f"token {os.environ['GITHUB_TOKEN']}"}
    answer = requests.request(method, url, json=body, headers=headers, timeout=10)
    answer.raise_for_status()
    return answer.json()


def comment_update(arguments: list[str]) -> str:
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--watermark-title", required=True)
    parser.add_argument("--publish", choices=["false"], required=True)
    parser.add_argument("report", type=Path)
    options = parser.parse_args(arguments)
    number = options.target.removeprefix("pr/")
    title = f'"CML watermark {options.watermark_title}"'
    mark = f"![](https://cml.dev/watermark.png#{os.environ['GITHUB_SHA']} {title})"
    body = f"{options.report.read_text(encoding='utf-8')}\n\n{mark}"
    known = [each for each in call("GET", f"issues/{number}/comments") if title in each["body"]]
    if known:
        return str(call("PATCH", f"issues/comments/{known[-1]['id']}", {"body": body})["html_url"])
    return str(call("POST", f"issues/{number}/comments", {"body": body})["html_url"])


def check_create(arguments: list[str]) -> str:
    parser = argparse.ArgumentParser()
    for option in ("--title", "--head-sha", "--conclusion"):
        parser.add_argument(option, required=True)
    parser.add_argument("report", type=Path)
    options = parser.parse_args(arguments)
    output = {"title": options.title, "summary": options.report.read_text(encoding="utf-8")}
    body = {"name": options.title, "head_sha": options.head_sha, "conclusion": options.conclusion}
    call("POST", "check-runs", {**body, "output": output})
    return ""


def pr_create(arguments: list[str]) -> str:
    parser = argparse.ArgumentParser()
    for option in (
        "--title",
        "--message",
        "--body",
        "--branch",
        "--target-branch",
        "--user-name",
        "--user-email",
    ):
        parser.add_argument(option, required=True)
    parser.add_argument("globs", nargs="*")
    options = parser.parse_args(arguments)
    changed = git("diff", "--name-only", "HEAD", "--", *options.globs).split()
    identity = ("-c", f"user.name={options.user_name}", "-c", f"user.email={options.user_email}")
    git("checkout", "-q", "-b", options.branch)
    git("add", *changed)
    git(*identity, "commit", "-q", "-m", options.message)
    git("push", "-q", "origin", options.branch)
    body = {
        "title": options.title,
        "body": options.body,
        "head": options.branch,
        "base": options.target_branch,
    }
    return str(call("POST", "pulls", body)["html_url"])


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
