"""How the prediction log's tables became what they are: one Alembic migration per change, applied when a database is opened."""
