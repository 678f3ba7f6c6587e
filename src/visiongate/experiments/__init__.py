"""DVC's experiments: planned from a grid, run by its queue, read back, ranked, and made into recipes or branches."""
