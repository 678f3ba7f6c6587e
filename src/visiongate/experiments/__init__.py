"""DVC experiments: sweeps in DVC's queue, a ranking, and experiments as recipes or branches."""
