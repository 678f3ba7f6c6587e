"""Keep each thread that computes on a core of its own.

If other processes are busy, Linux may run all threads of this one on the same core. At each operation, they then wait for
each other for whole time slices.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# The OpenMP library of torch on Linux.
LIBRARY = "libgomp.so.1"


@contextmanager
def own_cores(threads: int) -> Iterator[None]:
    """Bind each thread of an OpenMP team to a core within the block, if there are as many usable cores as threads.

    Elsewhere than on Linux with GNU's OpenMP library, nothing is bound.

    Args:
        threads: Of the team, which includes the current thread.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    library = _find_library() if threads > 1 and threads == len(cores) else None
    if library is None:
        yield
        return
    run_in_team(library, threads, lambda index: os.sched_setaffinity(0, {cores[index]}))
    try:
        yield
    finally:
        run_in_team(library, threads, lambda _: os.sched_setaffinity(0, cores))


def run_in_team(library: ctypes.CDLL, threads: int, function: Callable[[int], object]) -> None:
    """Call a function with the index of the thread, in each thread of the team that torch's operations use."""
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: function(library.omp_get_thread_num()))
    library.GOMP_parallel(call, None, threads, 0)


def _find_library() -> ctypes.CDLL | None:
    """Return the library if this process has loaded it."""
    try:
        return ctypes.CDLL(LIBRARY, mode=os.RTLD_NOLOAD)
    except OSError:
        return None
