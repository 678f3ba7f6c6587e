"""Run pieces of work as Ray's tasks, and return their results in order."""

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from visiongate.adapters.ray.cluster import count_slots, list_nodes
from visiongate.adapters.ray.faults import explain
from visiongate.adapters.ray.place import Place
from visiongate.errors import EngineError
from visiongate.settings.engine import Engine, Resources

logger = logging.getLogger(__name__)

Piece = TypeVar("Piece")
Result = TypeVar("Result")

# Of a piece whose worker or node was lost.
MAX_RETRIES = 10
# Results that wait for an earlier one, in rounds of the cluster: with more, memory would grow with one slow piece.
MAX_AHEAD = 8


class RayEngine:
    """Runs pieces on the nodes of the cluster that this process is connected to.

    Args:
        settings: The section ``engine``.
    """

    def __init__(self, settings: Engine) -> None:
        self._settings = settings

    def stream(
        self, function: Callable[[Piece], Result], pieces: Iterable[Piece], resources: Resources | None = None
    ) -> Iterator[Result]:
        """Apply a function to pieces in order: `engine.pieces.Engine.stream`."""
        chosen = resources or self._settings.resources.images
        task: Any = ray.remote(run_piece).options(
            num_cpus=chosen.cpus,
            num_gpus=chosen.gpus,
            memory=chosen.memory_mb * 2**20,
            max_retries=MAX_RETRIES,
            retry_exceptions=False,
            scheduling_strategy="SPREAD",
        )
        slots = self._find_slots(chosen)
        waiting = enumerate(pieces)
        running: dict[Any, int] = {}
        done: dict[int, Any] = {}
        first = 0
        place = Place(chosen.cpus)
        try:
            while True:
                while first in done:
                    yield _get(done.pop(first))
                    first += 1
                # Without running pieces, none is done: the next ones always start.
                free = min(slots, slots * MAX_AHEAD - len(done)) - len(running)
                for index, piece in islice(waiting, max(free, 0)):
                    running[task.remote(function, piece, place)] = index
                if not running:
                    return
                finished, _ = ray.wait(list(running), num_returns=1)
                done.update((running.pop(reference), reference) for reference in finished)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _find_slots(self, resources: Resources) -> int:
        """Return how many pieces run at the same time.

        Raises:
            EngineError: No node of the local cluster has the resources, so that Ray would wait forever.
        """
        found = count_slots(resources)
        if found:
            return self._settings.workers or found
        known = (name for name, value in self._settings.resources if value == resources)
        largest = max(list_nodes(), key=lambda node: node["Resources"].get("CPU", 0.0))["Resources"]
        line = (
            f"engine.resources.{next(known, 'images')}: cpus {resources.cpus:g}, gpus {resources.gpus:g} and memory_mb "
            f"{resources.memory_mb}: no node has as much; the largest has {largest.get('CPU', 0):g} CPUs, "
            f"{largest.get('GPU', 0):g} GPUs and {largest.get('memory', 0) / 2**20:.0f} MB"
        )
        if self._settings.address == "local":
            raise EngineError(f"{line}; lower the setting")
        logger.warning("%s; the work waits until an autoscaler adds one", line)
        return self._settings.workers or 1


def run_piece(function: Callable[[Piece], Result], piece: Piece, place: Place) -> Result:
    """Apply a function to a piece in a worker."""
    place.enter()
    return function(piece)


def _get(reference: Any) -> Any:  # noqa: ANN401 - any result
    try:
        return ray.get(reference)
    except RayTaskError as error:
        # The function's own error.
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except RayError as error:
        raise explain(error) from None
