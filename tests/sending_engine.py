"""An engine in this process that sends pieces and results as if to other processes."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from visiongate.settings.engine import Resources


class SendingEngine:
    """Fails where Ray would: at what cannot be sent."""

    def stream(
        self, function: Callable[[Any], Any], pieces: Iterable[Any], resources: Resources | None = None
    ) -> Iterator[Any]:
        """Apply a function to pieces in order."""
        assert resources is None
        for piece in pieces:
            there, sent = pickle.loads(pickle.dumps((function, piece)))  # noqa: S301 - its own
            yield pickle.loads(pickle.dumps(there(sent)))  # noqa: S301
