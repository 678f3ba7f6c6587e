"""The registry's commands: list, compare, roll back, trace and rebuild registered models."""
