"""S3's protocol on loopback, by moto, in a process of its own as a remote is."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_DEFAULT_REGION": "us-east-1",
    # A client without credentials would otherwise request some from the machine's cloud.
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def serve_s3(port: int = 0) -> Iterator[str]:
    """Serve, and yield the address; a port of 0 takes a free one."""
    with start_s3(port) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def start_s3(port: int = 0) -> subprocess.Popen[str]:
    """Start the server, whose first line of output is its address."""
    command = [sys.executable, __file__, str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def s3_client(endpoint: str) -> Any:  # noqa: ANN401 - boto3 makes its clients' classes while it runs
    """Return a client with credentials that the server takes."""
    import boto3  # noqa: PLC0415 - conftest.py imports this module, and most tests need no client

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    )


def _serve(port: int) -> None:
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - importing it takes a second, for this process alone

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
