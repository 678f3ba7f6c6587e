"""Correct labels, and choose what to label next, by embeddings. Needs no torch."""
