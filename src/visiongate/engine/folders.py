"""A folder for what a command passes to the pieces of its work, or gets from them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Make a folder that all nodes see, as it is in the working folder, and remove it after the block."""
    with tempfile.TemporaryDirectory(prefix=".engine-", dir=Path.cwd(), ignore_cleanup_errors=True) as folder:
        yield Path(folder)
