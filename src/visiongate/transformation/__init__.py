"""Transformation: render images into pixel arrays and assign splits."""
