"""Validation: check the raw images with a Great Expectations suite."""
