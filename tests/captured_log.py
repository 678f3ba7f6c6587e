"""What the service logs, in the tests' process."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from visiongate.serving.web.request_log import configure_log
from visiongate.settings.serving import Serving


@contextmanager
def captured(settings: Serving | None = None) -> Iterator[io.StringIO]:
    """What the service logs."""
    names = ("", "visiongate", "uvicorn")
    before = {name: (list(logging.getLogger(name).handlers), logging.getLogger(name).level) for name in names}
    propagates = logging.getLogger("visiongate").propagate
    stream = io.StringIO()
    configure_log(settings or Serving(), stream)
    try:
        yield stream
    finally:
        for handler in logging.getLogger().handlers:
            handler.flush()
        logging.captureWarnings(capture=False)
        logging.getLogger("visiongate").propagate = propagates
        for name, (handlers, level) in before.items():
            logging.getLogger(name).handlers = handlers
            logging.getLogger(name).setLevel(level)
