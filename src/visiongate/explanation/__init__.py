"""Explanations of a prediction: where the model looked, and which training images it finds similar. Needs no torch."""
