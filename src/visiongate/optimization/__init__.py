"""Optimization: the hyperparameter search."""
