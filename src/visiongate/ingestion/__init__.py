"""Ingestion: read images from a folder, archive, URL, bucket or package into an image table."""
