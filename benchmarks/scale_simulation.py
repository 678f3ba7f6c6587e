"""Simulate a stage on many nodes, from the times of its pieces on one. `benchmarks/scale.py` calls this."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SEED = 0


@dataclass(frozen=True, slots=True)
class StageTimes:
    """A stage on one node.

    Attributes:
        images: Number of images.
        total: Seconds of the stage.
        streams: Seconds of the pieces of each stream; the next stream starts when all pieces of one are done.
    """

    images: int
    total: float
    streams: Sequence[Sequence[float]]

    @property
    def serial(self) -> float:
        """The seconds outside of the pieces, which no worker shortens."""
        return self.total - sum(map(sum, self.streams))


@dataclass(frozen=True, slots=True)
class Forecast:
    """A stage on several nodes, in seconds.

    Attributes:
        total: From its start to its end.
        efficiency: What share of the nodes' time is work: the time on one node, divided by nodes × `total`.
        losses: Seconds by cause.
    """

    total: float
    efficiency: float
    losses: Mapping[str, float]


def forecast(
    small: StageTimes, large: StageTimes, images: int, nodes: int, dispatch: Callable[[int], float]
) -> Forecast:
    """Forecast a stage with more images on more nodes.

    The seconds outside of the pieces grow with the images as they did between the two measurements. Pieces are drawn from the
    measured ones, as many as the images fill. The shared file system and the network are taken to be as fast as here.

    Args:
        small: A measurement with few images.
        large: A measurement with more.
        images: In the forecast.
        nodes: Each runs one piece at a time.
        dispatch: Returns the driver's seconds for each piece, by the number of running pieces.
    """
    slope = max(0.0, (large.serial - small.serial) / (large.images - small.images))
    serial = max(0.0, large.serial + slope * (images - large.images))
    generator = np.random.default_rng(SEED)
    work = spread = dispatched = 0.0
    for times in large.streams:
        count = max(1, round(len(times) * images / large.images))
        drawn = generator.choice(np.asarray(times), count)
        seconds = dispatch(min(nodes, count))
        spread += schedule(drawn, nodes, 0) - drawn.sum() / nodes
        dispatched += schedule(drawn, nodes, seconds) - schedule(drawn, nodes, 0)
        work += drawn.sum()
    total = serial + work / nodes + spread + dispatched
    losses = {
        "serial part": serial * (1 - 1 / nodes),
        "last pieces": spread,
        "dispatch": dispatched,
    }
    return Forecast(total, (serial + work) / (nodes * total), losses)


def schedule(times: Iterable[float], nodes: int, dispatch: float) -> float:
    """Return when the last piece is done, if the driver gives each piece in turn to the first free node.

    Args:
        times: Seconds of the pieces, in their order.
        nodes: Each runs one piece at a time.
        dispatch: Seconds of the driver for each piece.
    """
    free, driver = [0.0] * nodes, 0.0
    for seconds in times:
        driver = max(driver, heapq.heappop(free)) + dispatch
        heapq.heappush(free, driver + seconds)
    return max(free)
