"""The command line, called in this process."""

import pytest

from visiongate.cli import main


def run_cli(*arguments: str) -> int:
    """Run ``visiongate`` with these arguments and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        main.main(list(arguments), prog_name="visiongate")
    status = ended.value.code
    assert isinstance(status, int)
    return status
