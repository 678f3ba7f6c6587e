"""The inference service: a model of the registry, or a file, behind HTTP. Needs neither torch nor MLflow."""
