"""The summary of a run, and its way to Slack and e-mail, by Airflow's providers and real connections on loopback."""

import json
import logging
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from visiongate_dags.notifications import send
from visiongate_dags.summary import RunSummary

STATES = {"train_model": "success", "evaluate_model": "success", "register_model": "success"}
EVALUATION = {"metrics": {"accuracy": 0.95, "images": 179}, "gate_passed": True, "gate_failed": []}
REGISTRATION = {
    "name": "digits-classifier",
    "version": "3",
    "decision": "promoted",
    "reason": "better",
    "mlflow_run": "ab12",
    "branch": "airflow/one",
}
SUMMARY = RunSummary(
    "image_training_pipeline", "one", STATES, "/runs/one", EVALUATION, REGISTRATION, "/runs/one/report.md"
)


class Mailbox(socketserver.StreamRequestHandler):
    """Takes e-mail by SMTP."""

    received: list[bytes]

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            if line.upper().startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                self.received.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")


class Hook(BaseHTTPRequestHandler):
    """Takes messages as Slack's webhook does."""

    received: list[bytes]

    def do_POST(self) -> None:
        self.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def served(server: socketserver.TCPServer) -> Iterator[int]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with server:
        yield server.server_address[1]
        server.shutdown()


def test_the_summary_says_what_became_of_the_model() -> None:
    text = SUMMARY.format()
    assert text.splitlines()[0] == "image_training_pipeline: digits-classifier version 3 promoted"
    for part in (
        "accuracy 0.95, images 179",
        "Gate: passed",
        "MLflow run: ab12",
        "Branch: airflow/one",
        "/runs/one",
    ):
        assert part in text


def test_the_summary_of_a_failed_run_names_the_task_and_the_rule() -> None:
    states = {"evaluate_model": "failed", "register_model": "upstream_failed"}
    evaluation = {**EVALUATION, "gate_failed": ["accuracy: accuracy = 0.95, required >= 0.99"]}
    summary = RunSummary("image_training_pipeline", "one", states, "/runs/one", evaluation)
    assert summary.title == "image_training_pipeline: failed at evaluate_model"
    assert "Gate: failed: accuracy: accuracy = 0.95, required >= 0.99" in summary.format()


def test_without_connections_the_summary_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        send(SUMMARY, ["a@example.org"])
    assert SUMMARY.format() in caplog.text
    assert "the connection visiongate_smtp is not set" in caplog.text


def test_the_summary_is_sent_to_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    Hook.received = []
    with served(ThreadingHTTPServer(("127.0.0.1", 0), Hook)) as port:
        connection = {"conn_type": "slackwebhook", "password": f"http://127.0.0.1:{port}/services/T/B/x"}
        monkeypatch.setenv("AIRFLOW_CONN_VISIONGATE_SLACK", json.dumps(connection))
        send(SUMMARY, ())
    assert [json.loads(each)["text"] for each in Hook.received] == [SUMMARY.format()]


def test_the_summary_is_sent_by_email(monkeypatch: pytest.MonkeyPatch) -> None:
    Mailbox.received = []
    with served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox)) as port:
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.org"}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_VISIONGATE_SMTP", json.dumps(connection))
        send(SUMMARY, ["a@example.org", "b@example.org"])
    (message,) = map(message_from_bytes, Mailbox.received)
    assert (message["To"], message["Subject"]) == ("a@example.org, b@example.org", SUMMARY.title)
    content = b"".join(part.get_payload(decode=True) or b"" for part in message.walk())
    assert b"digits-classifier version 3" in content
