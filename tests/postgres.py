"""A PostgreSQL server in a temporary folder, which tests may stop and start again."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL

# Characters that mean something in an address.
PASSWORD = "p@ss:w/o?r#d%41 &='\"\\ü"  # noqa: S105 - of a server that lives for seconds
START_SECONDS = 30.0
# Debian does not link them.
PROGRAMS = os.pathsep.join([os.environ.get("PATH", ""), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
needs_postgres = pytest.mark.skipif(
    not all(shutil.which(name, path=PROGRAMS) for name in ("initdb", "postgres")),
    reason="needs PostgreSQL's server: apt-get install postgresql",
)


class PostgresServer:
    """A server that belongs to a test."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._names = folder, count(1)
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Make the files of the server. It refuses to run as root."""
        (self._folder / "password").write_text(PASSWORD, encoding="utf-8")
        options = [f"--pwfile={self._folder}/password", "--auth=scram-sha-256", "--username=tester"]
        options += ["--encoding=UTF8", "--no-locale", "--no-sync"]
        if os.geteuid() == 0:
            for path in (self._folder, self._folder / "password"):
                shutil.chown(path, _user())
        self._run("initdb", f"--pgdata={self._folder}/data", *options).wait(START_SECONDS)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._process = self._run("postgres", f"-D{self._folder}/data", f"--port={self.port}", *options)
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.query("postgres", "SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < end, (self._folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Stop the server at once; connections are ended."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_SECONDS)
            self._process = None

    def new_database(self) -> str:
        """Return the name of a new, empty database."""
        name = f"log{next(self._names)}"
        self.query("postgres", f"CREATE DATABASE {name}")
        return name

    def query(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows, if it has any."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="tester",
            password=PASSWORD,
            dbname=database,
            autocommit=True,
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def address(self, database: str, password: str = PASSWORD) -> str:
        """Return SQLAlchemy's address of a database."""
        url = URL.create("postgresql+psycopg", "tester", password, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)

    def _run(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        path = shutil.which(program, path=PROGRAMS)
        assert path
        user = _user() if os.geteuid() == 0 else None
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [path, *options],
                cwd=self._folder,
                env={"LC_ALL": "C", "PATH": PROGRAMS},
                user=user,
                group=user,
                extra_groups=[] if user else None,
                stdout=log,
                stderr=log,
            )


def _user() -> str:
    """Return a user that has no rights. Debian's package makes one."""
    return "postgres"


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server."""
    # A folder of pytest can be entered by its owner only.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    folder.chmod(0o755)
    server = PostgresServer(folder)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
