"""Where a served model comes from: a file, a folder, or a version of a registry."""
