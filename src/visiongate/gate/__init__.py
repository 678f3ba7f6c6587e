"""The quality gate: rules that a model must pass."""
