"""Where work in pieces runs: in this process, or on a Ray cluster. The outputs do not depend on it."""
