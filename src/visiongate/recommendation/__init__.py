"""The stage ``recommend``: compare the best settings of the search with the current ones."""
