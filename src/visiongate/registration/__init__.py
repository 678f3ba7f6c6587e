"""Registration: the model registry, promotion, rollback and lineage."""
