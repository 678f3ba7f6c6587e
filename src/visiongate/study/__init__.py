"""The stage ``study``: what the search depends on."""
