"""The versions of a model in memory: loading, batches, exchange and rollback."""
