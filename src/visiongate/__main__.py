"""``python -m visiongate`` is ``visiongate``."""

from visiongate.cli import main

main(prog_name="visiongate")
