"""Image classification in which every step is a reproducible DVC stage."""

import os

# Torch's threads spin while they wait for each other, by default for milliseconds. Where another process wants the core too, a
# step of a small network then takes twenty times as long. It is read when torch is loaded, so it is set before.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
