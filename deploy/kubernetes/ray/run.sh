#!/bin/sh
# Run the pipeline at one commit on the Ray cluster, and share its outputs through the DVC remote.
set -eu

# A workspace for each commit, on the volume that all nodes share: a job that is repeated continues there.
mkdir -p "$HOME" "/work/$COMMIT"
cd "/work/$COMMIT"
git init --quiet
git fetch --quiet --depth 1 "$REPOSITORY" "$COMMIT"
git checkout --quiet --force FETCH_HEAD
# The code of the commit, not that of the image.
export PYTHONPATH="$PWD/src"
python -m dvc cache dir --quiet --local /work/cache

python -m visiongate repro --minimal --config /etc/visiongate/settings.yaml
python -m visiongate remote push
# At the same commit, `visiongate repro` now fetches these files instead of running a stage.
git status --short
