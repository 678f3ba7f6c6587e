"""Keep both threads that compute on a core of their own.

If other processes are busy, Linux may run both threads of this one on the same core. At each operation, they then wait for
each other for whole time slices.
"""

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

# The OpenMP library of torch on Linux.
LIBRARY = "libgomp.so.1"
# Some operations of oneDNN take fewer threads than a larger team has. The library then ends the others, and starts new ones for
# the next operation. These would inherit the single core of the current thread.
TEAM = 2


@contextmanager
def own_cores(threads: int) -> Iterator[None]:
    """Bind each thread of an OpenMP team of two to a core within the block, if there are two usable cores.

    Other teams are not bound, nor is any team without Linux and GNU's OpenMP library.

    Args:
        threads: Of the team, which includes the current thread.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    library = _find_library() if threads == len(cores) == TEAM else None
    if library is None:
        yield
        return
    run_in_team(library, threads, lambda index: _bind(cores[index : index + 1]))
    try:
        yield
    finally:
        run_in_team(library, threads, lambda _: _bind(cores))


def run_in_team(library: ctypes.CDLL, threads: int, function: Callable[[int], object]) -> None:
    """Call a function with the index of the thread, in each thread of the team that torch's operations use."""
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: function(library.omp_get_thread_num()))
    library.GOMP_parallel(call, None, threads, 0)


def _bind(cores: Iterable[int]) -> None:
    """Let the current thread use some cores only, unless the system forbids it or has withdrawn them in the meantime."""
    with suppress(OSError):
        os.sched_setaffinity(0, cores)


def _find_library() -> ctypes.CDLL | None:
    """Return the library if this process has loaded it."""
    try:
        return ctypes.CDLL(LIBRARY, mode=os.RTLD_NOLOAD)
    except OSError:
        return None
