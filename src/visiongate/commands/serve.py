"""``visiongate serve``: the inference service."""

import logging
import os
import socket

from visiongate import paths
from visiongate.errors import SettingsError
from visiongate.records.drift_reference import REFERENCE_FILE
from visiongate.serving.application import build_application
from visiongate.serving.sources.addresses import Places
from visiongate.serving.sources.work_tree import WorkTree
from visiongate.serving.startup import build_service
from visiongate.serving.web.request_log import configure_log
from visiongate.serving.web.server import serve
from visiongate.settings.serving_environment import load_serving

WORK_TREE = WorkTree(
    paths.MODEL_ONNX, paths.METRICS, paths.REGISTRATION, paths.MODEL_CARD, paths.EVALUATION / REFERENCE_FILE
)
logger = logging.getLogger(__name__)


def run(model: str | None, host: str | None, port: int | None, fd: int | None) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        VisiongateError: A setting is invalid, a file does not exist, or the port is in use.
    """
    options = {"serving.model": model, "serving.host": host, "serving.port": port}
    given = {name: value for name, value in options.items() if value is not None}
    deployment = load_serving(paths.PARAMS, os.environ, given)
    configure_log(deployment.serving)
    service, keeper = build_service(Places(deployment, WORK_TREE))
    listener = _inherit(fd) if fd is not None else _listen(deployment.serving.host, deployment.serving.port)
    logger.info("Listening on %s", url_of(*listener.getsockname()[:2]))
    # With an inherited socket, the process before goes on until this one is ready.
    serve(build_application(service, keeper, waits=fd is not None), service, listener)
    return 0


def url_of(host: str, port: int) -> str:
    """Return the address of a service; an IPv6 address is in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _inherit(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError as error:
        raise SettingsError(f"--fd {fd}: {error.strerror}; name an open, listening socket") from None


def _listen(host: str, port: int) -> socket.socket:
    """Open the socket before anything is loaded, so that a port in use is an error at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"serving.host = {host}, serving.port = {port}: {error.strerror}; choose another with --host or --port"
        ) from None
