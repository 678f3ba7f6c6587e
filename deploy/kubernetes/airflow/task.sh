#!/bin/sh
# Run one task of image_training_pipeline_kubernetes. The first task brings the repository up to date.
set -eu
mkdir -p "$HOME" project
cd project
if [ "$1" = check_environment ]; then
    git init --quiet
    git config remote.origin.url "$REPOSITORY"
    git fetch --quiet --tags "$REPOSITORY" "$COMMIT"
    git checkout --quiet --force --detach FETCH_HEAD
fi
PYTHONPATH=dags exec python -m visiongate_dags.pod_task "$1"
