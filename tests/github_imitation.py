"""An imitation of GitHub's REST API for comments, issues, checks, pull requests and commits, over TLS on loopback.

It follows GitHub's documentation: thirty items per page by default, a ``Link`` to the next page, a limit to the length of a
comment, and ``Resource not accessible by integration`` for a token without the right to write.
"""

import base64
import hashlib
import itertools
import json
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

SLUG = "team/flowers"
BOT = "github-actions[bot]"
MAX_CHARACTERS = 65_536
# The valid tokens.
WRITER, READER = "may-write", "may-read"
SIGN = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
NAMED = ["-addext", "subjectAltName=DNS:localhost"]
Answer = tuple[int, Any]


@dataclass
class GitHub:
    """The content of the repository, which tests read and change."""

    address: str = ""
    certificate: Path = Path()
    writers: dict[str, str] = field(default_factory=lambda: {WRITER: BOT})
    readers: set[str] = field(default_factory=lambda: {READER})
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    issues: list[dict[str, Any]] = field(default_factory=list)
    # The commit of each branch; the tree and the parents of each commit; the text of each path of a tree.
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, Any]] = field(default_factory=dict)
    trees: dict[str, dict[str, str]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    identifiers: Iterator[int] = field(default_factory=lambda: itertools.count(1000))

    def environment(self, token: str = WRITER) -> dict[str, str]:
        """Return the variables of a runner, with the address of this server."""
        return {
            "CML_REPO": f"{self.address}/{SLUG}",
            "GITHUB_API_URL": f"{self.address}/api/v3",
            "GITHUB_REPOSITORY": SLUG,
            "GITHUB_SERVER_URL": self.address,
            "GITHUB_TOKEN": token,
            "NODE_EXTRA_CA_CERTS": str(self.certificate),
            "REQUESTS_CA_BUNDLE": str(self.certificate),
        }

    def comment(self, number: int, body: str, author: str = "someone") -> dict[str, Any]:
        """Add a comment."""
        identifier = next(self.identifiers)
        url = f"{self.address}/{SLUG}/pull/{number}#issuecomment-{identifier}"
        found = {"id": identifier, "body": body, "user": {"login": author}, "html_url": url}
        self.comments.setdefault(number, []).append(found)
        return found

    def open_pull(self, number: int, sha: str, head: str, base: str = "main") -> dict[str, Any]:
        """Add a pull request; the head is OWNER:BRANCH."""
        owner, _, branch = head.partition(":")
        url = f"{self.address}/{SLUG}/pull/{number}"
        ends = {"head": {"sha": sha, "ref": branch, "label": head}, "base": {"ref": base}}
        found = {"number": number, "html_url": url, "state": "open", "user": {"login": owner}, **ends}
        self.pulls.append(found)
        return found

    def open_issue(self, title: str, body: str, author: str = "someone", **more: object) -> dict[str, Any]:
        """Add an issue."""
        number = len(self.issues) + 1
        url = f"{self.address}/{SLUG}/issues/{number}"
        found = {"number": number, "title": title, "body": body, "user": {"login": author}, "state": "open"}
        self.issues.append({**found, "html_url": url, **more})
        return self.issues[-1]

    def commit(self, branch: str, files: dict[str, str], parents: tuple[str, ...] = ()) -> str:
        """Add a commit with these files, and point a branch to it; return its hash."""
        tree = _hash(files)
        self.trees[tree] = dict(files)
        commit = {"tree": {"sha": tree}, "parents": list(parents), "message": ""}
        sha = _hash(commit)
        self.commits[sha] = commit
        self.branches[branch] = sha
        return sha

    def files(self, branch: str) -> dict[str, str]:
        """Return the files of a branch."""
        return self.trees[self.commits[self.branches[branch]]["tree"]["sha"]]

    def answer(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any], token: str
    ) -> Answer:
        """Return the response to a request; the path is relative to the repository."""
        self.requests.append(f"{method} {path}")
        if token not in self.writers and token not in self.readers:
            return 401, {"message": "Bad credentials"}
        if method != "GET" and token not in self.writers:
            return 403, {"message": "Resource not accessible by integration"}
        if len(body.get("body") or "") > MAX_CHARACTERS:
            return 422, {"message": "Validation Failed: body is too long (maximum is 65536 characters)"}
        for pattern, act in ROUTES.items():
            if found := re.fullmatch(pattern, f"{method} {path}"):
                return act(self, found, query, body, token)
        return 404, {"message": "Not Found"}

    def _find(self, identifier: int) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
        pairs = ((comments, each) for comments in self.comments.values() for each in comments)
        return next((pair for pair in pairs if pair[1]["id"] == identifier), None)

    def list_comments(self, found: re.Match[str], *_: object) -> Answer:
        return 200, self.comments.get(int(found[1]), [])

    def add_comment(self, found: re.Match[str], _query: object, body: dict[str, Any], token: str) -> Answer:
        return 201, self.comment(int(found[1]), body["body"], self.writers[token])

    def change_comment(
        self, found: re.Match[str], _query: object, body: dict[str, Any], _token: str
    ) -> Answer:
        pair = self._find(int(found[1]))
        if pair is None:
            return 404, {"message": "Not Found"}
        pair[1]["body"] = body["body"]
        return 200, pair[1]

    def delete_comment(self, found: re.Match[str], *_: object) -> Answer:
        pair = self._find(int(found[1]))
        if pair is None:
            return 404, {"message": "Not Found"}
        pair[0].remove(pair[1])
        return 204, None

    def list_pulls(self, _found: re.Match[str], query: dict[str, str], *_: object) -> Answer:
        head, base = query.get("head"), query.get("base")
        state = query.get("state", "open")
        listed = [pull for pull in self.pulls if state in {"all", pull["state"]}]
        found = [pull for pull in listed if head in {None, pull["head"]["label"]}]
        return 200, [pull for pull in found if base in {None, pull["base"]["ref"]}]

    def find_pull(self, found: re.Match[str], *_: object) -> Answer:
        pull = next((pull for pull in self.pulls if pull["number"] == int(found[1])), None)
        return (200, pull) if pull else (404, {"message": "Not Found"})

    def add_pull(self, _found: re.Match[str], _query: object, body: dict[str, Any], _token: str) -> Answer:
        pull = self.open_pull(len(self.pulls) + 1, "", f"team:{body['head']}", body["base"])
        pull |= {"title": body["title"], "body": body["body"]}
        return 201, pull

    def change_pull(self, found: re.Match[str], _query: object, body: dict[str, Any], _token: str) -> Answer:
        pull = next(pull for pull in self.pulls if pull["number"] == int(found[1]))
        pull.update(body)
        return 200, pull

    def list_issues(self, _found: re.Match[str], query: dict[str, str], *_: object) -> Answer:
        return 200, [issue for issue in self.issues if issue["state"] == query.get("state", "open")]

    def add_issue(self, _found: re.Match[str], _query: object, body: dict[str, Any], token: str) -> Answer:
        return 201, self.open_issue(body["title"], body["body"], self.writers[token])

    def change_issue(self, found: re.Match[str], _query: object, body: dict[str, Any], _token: str) -> Answer:
        issue = self.issues[int(found[1]) - 1]
        issue.update(body)
        return 200, issue

    def find_branch(self, found: re.Match[str], *_: object) -> Answer:
        sha = self.branches.get(found[1])
        return (200, _reference(found[1], sha)) if sha else (404, {"message": "Not Found"})

    def match_branches(self, found: re.Match[str], *_: object) -> Answer:
        return 200, [
            _reference(name, sha) for name, sha in self.branches.items() if name.startswith(found[1])
        ]

    def add_branch(self, _found: re.Match[str], _query: object, body: dict[str, Any], _token: str) -> Answer:
        name = body["ref"].removeprefix("refs/heads/")
        if name in self.branches:
            return 422, {"message": "Reference already exists"}
        self.branches[name] = body["sha"]
        return 201, _reference(name, body["sha"])

    def move_branch(self, found: re.Match[str], _query: object, body: dict[str, Any], _token: str) -> Answer:
        if not body.get("force") and self.branches[found[1]] not in self.commits[body["sha"]]["parents"]:
            return 422, {"message": "Update is not a fast forward"}
        self.branches[found[1]] = body["sha"]
        return 200, _reference(found[1], body["sha"])

    def find_commit(self, found: re.Match[str], *_: object) -> Answer:
        return 200, {"sha": found[1], **self.commits[found[1]]}

    def add_tree(self, _found: re.Match[str], _query: object, body: dict[str, Any], _token: str) -> Answer:
        files = {**self.trees[body["base_tree"]], **{each["path"]: each["content"] for each in body["tree"]}}
        sha = _hash(files)
        self.trees[sha] = files
        return 201, {"sha": sha}

    def add_commit(self, _found: re.Match[str], _query: object, body: dict[str, Any], _token: str) -> Answer:
        commit = {"tree": {"sha": body["tree"]}, "parents": body["parents"], "message": body["message"]}
        sha = _hash(commit)
        self.commits[sha] = commit
        return 201, {"sha": sha}

    def find_content(self, found: re.Match[str], query: dict[str, str], *_: object) -> Answer:
        text = self.trees[self.commits[query["ref"]]["tree"]["sha"]].get(found[1])
        if text is None:
            return 404, {"message": "Not Found"}
        # GitHub breaks the lines of base64.
        return 200, {"encoding": "base64", "content": base64.encodebytes(text.encode()).decode()}

    def send_event(self, _found: re.Match[str], _query: object, body: dict[str, Any], _token: str) -> Answer:
        self.events.append(body)
        return 204, None

    def add_check(self, _found: re.Match[str], _query: object, body: dict[str, Any], _token: str) -> Answer:
        self.checks.append(body)
        return 201, body


ROUTES = {
    r"GET issues/(\d+)/comments": GitHub.list_comments,
    r"POST issues/(\d+)/comments": GitHub.add_comment,
    r"PATCH issues/comments/(\d+)": GitHub.change_comment,
    r"DELETE issues/comments/(\d+)": GitHub.delete_comment,
    r"GET pulls": GitHub.list_pulls,
    r"POST pulls": GitHub.add_pull,
    r"GET pulls/(\d+)": GitHub.find_pull,
    r"PATCH pulls/(\d+)": GitHub.change_pull,
    r"POST check-runs": GitHub.add_check,
    r"POST dispatches": GitHub.send_event,
    r"GET issues": GitHub.list_issues,
    r"POST issues": GitHub.add_issue,
    r"PATCH issues/(\d+)": GitHub.change_issue,
    r"GET git/ref/heads/(.+)": GitHub.find_branch,
    r"GET git/matching-refs/heads/(.+)": GitHub.match_branches,
    r"POST git/refs": GitHub.add_branch,
    r"PATCH git/refs/heads/(.+)": GitHub.move_branch,
    r"GET git/commits/(\w+)": GitHub.find_commit,
    r"POST git/trees": GitHub.add_tree,
    r"POST git/commits": GitHub.add_commit,
    r"GET contents/(.+)": GitHub.find_content,
}


def _hash(value: object) -> str:
    return hashlib.sha1(repr(value).encode(), usedforsecurity=False).hexdigest()


def _reference(name: str, sha: str) -> dict[str, Any]:
    return {"ref": f"refs/heads/{name}", "object": {"sha": sha, "type": "commit"}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    github: GitHub

    def _serve(self) -> None:
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        token = (self.headers.get("Authorization") or "").rpartition(" ")[2]
        prefix = f"/api/v3/repos/{SLUG}/"
        if not address.path.startswith(prefix):
            return self._reply(404, {"message": "Not Found"}, None)
        status, content = self.github.answer(
            self.command, address.path.removeprefix(prefix), query, body, token
        )
        page, size = int(query.get("page", 1)), int(query.get("per_page", 30))
        link = None
        if isinstance(content, list):
            if len(content) > page * size:
                link = f'<{self.github.address}{address.path}?per_page={size}&page={page + 1}>; rel="next"'
            content = content[(page - 1) * size : page * size]
        return self._reply(status, content, link)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - the base class's names

    def _reply(self, status: int, content: object, link: str | None) -> None:
        payload = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(payload)))
        if link:
            self.send_header("Link", link)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serve_github(folder: Path) -> Iterator[GitHub]:
    """Serve the API until the block ends; the certificate is made in the folder."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [*SIGN, *NAMED, "-out", str(certificate), "-keyout", str(key)], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    github = GitHub(certificate=certificate)
    handler = type("Handler", (_Handler,), {"github": github})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    github.address = f"https://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
