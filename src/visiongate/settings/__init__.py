"""The settings: their schema, their composition from ``conf/``, and their error messages."""
