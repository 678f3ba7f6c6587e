#!/bin/sh
# Run the pipeline at one commit, and share its outputs through the DVC remote.
set -eu

# A clone of one commit, which may be of any branch.
git init --quiet clone
cd clone
git fetch --quiet --depth 1 "$REPOSITORY" "$COMMIT"
git checkout --quiet FETCH_HEAD

# The code of the commit, not that of the image.
export PYTHONPATH="$PWD/src"
python -m visiongate repro --minimal
python -m visiongate remote push
# At the same commit, `visiongate repro` now fetches these files instead of running a stage.
git status --short
