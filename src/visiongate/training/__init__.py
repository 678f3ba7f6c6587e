"""Train a network or fit a baseline, calibrate it and export it."""
