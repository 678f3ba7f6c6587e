"""External systems, each behind one module with its own errors: DVC, git, GitHub, MLflow."""
