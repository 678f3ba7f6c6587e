"""Image classification in which every step is a reproducible DVC stage."""
