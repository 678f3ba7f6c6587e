"""Airflow on this machine alone: ``python standalone.py init|up|down``, called by make.

Settings, database and logs are in ``.airflow``, the value of AIRFLOW_HOME.
"""

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from visiongate_dags.project import POOL

ROOT = Path(__file__).parents[2]
HOME = Path(os.environ.get("AIRFLOW_HOME") or ROOT / ".airflow")
PID, LOG = HOME / "standalone.pid", HOME / "standalone.log"
PASSWORDS = HOME / "simple_auth_manager_passwords.json.generated"
PORT = os.environ.get("PORT") or "8080"
# On a busy machine with two cores.
START_SECONDS = 300
# Longer than the guard of a stage gives it.
STOP_SECONDS = 20
PRIVATE = 0o600
CONFIG = """\
[core]
dags_folder = {dags}
load_examples = False
fernet_key = {fernet_key}
simple_auth_manager_users = admin:admin
parallelism = 4

[database]
sql_alchemy_conn = sqlite:///{database}

[api]
host = 127.0.0.1
workers = 1
secret_key = {secret_key}

[api_auth]
jwt_secret = {jwt_secret}

[usage_data_collection]
enabled = False
"""


def main(arguments: list[str]) -> int:
    """Run a command and return the exit status."""
    return {"init": init, "up": up, "down": down}[arguments[0]]()


def init() -> int:
    """Make the settings, the database, the pool and the password of ``admin``, which is printed once."""
    HOME.mkdir(exist_ok=True)
    config = HOME / "airflow.cfg"
    if not config.exists():
        _write_private(config, _make_config())
    for command in (
        ["db", "migrate"],
        ["pools", "set", POOL, "1", "Stages of the pipeline, one task at a time"],
    ):
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [*_airflow(), *command], env=_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(
                f"airflow {' '.join(command[:2])} failed: {(done.stderr or done.stdout)[-2000:]}",
                file=sys.stderr,
            )
            return 1
    if PASSWORDS.exists():
        print(f"Airflow is set up in {HOME}; the password of admin is in {PASSWORDS.name}")
        return 0
    password = secrets.token_urlsafe(16)
    _write_private(PASSWORDS, json.dumps({"admin": password}))
    print(
        f"Airflow is set up in {HOME}. Sign in as admin with the password {password}, which is not shown again"
    )
    return 0


def up() -> int:
    """Start Airflow in the background, and wait until it answers."""
    if _running() is not None:
        print(f"Airflow is running: {_address()}")
        return 0
    with LOG.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [*_airflow(), "standalone"],
            env=_environment(),
            cwd=HOME,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    PID.write_text(str(process.pid))
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        if _is_healthy():
            print(f"Airflow is running: {_address()} (user admin, password in {PASSWORDS})")
            return 0
        time.sleep(0.5)
    print(
        f"Airflow did not start; see {LOG}, and choose another port with PORT=8081 if {PORT} is taken",
        file=sys.stderr,
    )
    down()
    return 1


def down() -> int:
    """Stop Airflow and all that it started."""
    main_process = _running()
    if main_process is None:
        print("Airflow is not running")
        return 0
    processes = [main_process, *main_process.children(recursive=True)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=STOP_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=STOP_SECONDS)
    PID.unlink(missing_ok=True)
    print("Airflow has stopped")
    return 0


def _airflow() -> list[str]:
    return [sys.executable, "-m", "airflow"]


def _address() -> str:
    return f"http://localhost:{PORT}"


def _environment() -> Mapping[str, str]:
    # `airflow standalone` calls `airflow` by its name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    own = {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__API__PORT": PORT,
        "AIRFLOW__API__BASE_URL": _address(),
        "PATH": path,
    }
    return {**os.environ, **own}


def _running() -> psutil.Process | None:
    """Return the process of Airflow; None if it has ended, also if another process has its number now."""
    with suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(PID.read_text()))
        if process.create_time() <= PID.stat().st_mtime + 1 and "standalone" in process.cmdline():
            return process
    return None


def _is_healthy() -> bool:
    try:
        with urllib.request.urlopen(f"{_address()}/api/v2/monitor/health", timeout=5) as answer:  # noqa: S310 - http
            health = json.load(answer)
    except (OSError, ValueError):
        return False
    return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))


def _make_config() -> str:
    from cryptography.fernet import Fernet  # noqa: PLC0415 - once only

    # A percent sign starts an interpolation.
    dags, database = (str(path).replace("%", "%%") for path in (ROOT / "dags", HOME / "airflow.db"))
    return CONFIG.format(
        dags=dags,
        database=database,
        fernet_key=Fernet.generate_key().decode(),
        secret_key=secrets.token_urlsafe(32),
        jwt_secret=secrets.token_urlsafe(32),
    )


def _write_private(path: Path, text: str) -> None:
    path.touch(PRIVATE)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
