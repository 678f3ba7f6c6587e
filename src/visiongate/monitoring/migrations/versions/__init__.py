"""The migrations. Each file is one, names the one before it, and never changes once it is released."""
