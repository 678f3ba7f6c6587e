"""Say in one line what a Ray error means to the user."""

from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfDiskError,
    OutOfMemoryError,
    RayError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)

from visiongate.errors import EngineError

_AGAIN = "`dvc repro` runs the stage again"
_ADVICE: dict[type[RayError], str] = {
    OutOfMemoryError: "a node ran out of memory; raise engine.resources.*.memory_mb, so that fewer pieces share a node",
    OutOfDiskError: "the disk of a node's Ray folder is full; free some space there",
    WorkerCrashedError: "the workers of a piece were lost too often; see the logs of the cluster",
    NodeDiedError: "the nodes of a piece were lost too often; see the logs of the cluster",
    ObjectLostError: "the result of a piece was lost with its node",
    RuntimeEnvSetupError: "a node cannot start a worker; see the logs of the cluster",
}


def explain(error: RayError) -> EngineError:
    """Return what to do about an error of the cluster, not of the work."""
    for kind, advice in _ADVICE.items():
        if isinstance(error, kind):
            return EngineError(f"engine: {advice}; {_AGAIN}")
    return EngineError(f"engine: Ray failed: {' '.join(str(error).split())[:300]}; {_AGAIN}")
