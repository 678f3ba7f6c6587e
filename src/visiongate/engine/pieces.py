"""Apply a function to pieces of work on the engine that the settings choose.

A piece is cut by the data, never by the number of workers. Its function writes to places that the piece names, and returns
something small. So the outputs are the same bytes on every engine, and a piece may run twice.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from visiongate.settings.engine import Engine as EngineSettings
from visiongate.settings.engine import Resources

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Engine(Protocol):
    """What applies a function to pieces of work."""

    def stream(
        self, function: Callable[[Piece], Result], pieces: Iterable[Piece], resources: Resources | None = None
    ) -> Iterator[Result]:
        """Apply a function to pieces, and yield the results in the pieces' order.

        Args:
            function: A function of a module, or a partial of one. Other processes import it, in the same working folder.
            pieces: Read as they are needed. Each is small: names of files, not their content.
            resources: What Ray reserves for each piece; by default ``engine.resources.images``.

        Raises:
            EngineError: The engine cannot run a piece. An error that the function raises is raised at its piece's position.
        """


class LocalEngine:
    """Runs the pieces in this process, one after another. Each may use all cores."""

    def stream(
        self,
        function: Callable[[Piece], Result],
        pieces: Iterable[Piece],
        resources: Resources | None = None,  # noqa: ARG002 - of the protocol
    ) -> Iterator[Result]:
        """Apply a function to pieces in order: `Engine.stream`."""
        return map(function, pieces)


@contextmanager
def open_engine(settings: EngineSettings) -> Iterator[Engine]:
    """Provide the engine within the block.

    Raises:
        EngineError: Ray is not installed, the cluster cannot be reached, or a node differs from this machine.
    """
    if settings.kind == "local":
        yield LocalEngine()
        return
    from visiongate.adapters.ray.cluster import connect  # noqa: PLC0415 - not without a cluster

    with connect(settings):
        # Ray takes a second to import, and may not be installed, which `connect` explains.
        from visiongate.adapters.ray.pieces import RayEngine  # noqa: PLC0415

        yield RayEngine(settings)
