"""From a source's bytes to pixel arrays."""
