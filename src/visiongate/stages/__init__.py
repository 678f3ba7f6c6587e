"""One thin file a stage: read, call the library, write."""
