"""Feedback in PostgreSQL and images in a bucket: read, and forgotten."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from logged_feedback import Visitors
from postgres import PostgresServer, needs_postgres, postgres_server
from visiongate.monitoring.collection import forget_image, read_feedback
from visiongate.monitoring.database import Database

pytestmark = [needs_postgres, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


def test_feedback_is_read_and_an_image_is_forgotten(server: PostgresServer, tmp_path: Path) -> None:
    address = server.address(server.new_database())
    visitors = Visitors(address, tmp_path / "images")
    name = visitors.tell(b"one", "3", "5", by="phone")
    visitors.say(visitors.send(b"two", "3", 0.9, asked=True), "3")
    visitors.say(visitors.send(None, "3"), "4")
    answered = visitors.send(b"one", "3")
    visitors.send(b"one", "3", shadow_of=answered)
    database = Database(address)
    found = read_feedback(database.engine)
    assert [(each.sha256, each.label, each.asked, each.given_by) for each in found.answers] == [
        (name, "5", False, "phone"),
        (hashlib.sha256(b"two").hexdigest(), "3", True, None),
    ]
    assert found.without_file == 1
    assert forget_image(database.engine, name) == 3
    assert [each.label for each in read_feedback(database.engine).answers] == ["3"]
    database.close()
