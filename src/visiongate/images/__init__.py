"""Images: the image table, decoding, and pixel arrays."""
