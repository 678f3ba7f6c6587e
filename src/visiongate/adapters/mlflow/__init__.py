"""MLflow: its store, runs, model files and model registry."""
