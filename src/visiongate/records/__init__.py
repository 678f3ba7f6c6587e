"""The files that stages write: schema, reader and writer of each."""
