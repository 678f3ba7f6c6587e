"""One module per baseline; ``model.name`` is the module's name."""
