"""What was predicted, and how well. Pure functions over arrays, and the log that they read."""
