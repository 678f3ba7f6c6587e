"""DVC remotes that a team shares: set, verify, push and pull."""
