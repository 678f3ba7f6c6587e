"""HTTP around the routes: connections, limits, keys, problems and the log."""
