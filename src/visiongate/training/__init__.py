"""Batches, optimizers, precision and the loop."""
