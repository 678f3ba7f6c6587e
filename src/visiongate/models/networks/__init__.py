"""One module per network; ``model.name`` is the module's name."""
