"""Where images come from: what brings them here, and what reads them."""
