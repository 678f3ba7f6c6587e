"""What a pull request is told: a pure function of the metrics, parameters and verdicts of two revisions."""
